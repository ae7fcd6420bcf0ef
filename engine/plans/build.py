"""An ONNX graph becomes a TensorRT plan, in any flavour."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from ...errors import BackendError
from .library import Library

CURRENT = "current"
"""In the place of a compute capability: that of the GPU in this machine."""


class Options(NamedTuple):
    """How a plan is built."""

    precision: str
    """What the manifest says of the graph."""
    capabilities: tuple[str, ...] = ()
    """Compute capabilities, such as "8.6", that TensorRT-RTX builds for, or CURRENT: the GPU in this machine.

    None: its default, 8.0 and later.
    """
    timing_cache: bytes | None = None
    """What an earlier build of the same version on the same GPU learned; None keeps none."""


class Built(NamedTuple):
    """A plan, and the timing cache after it (None where the flavour has none)."""

    plan: bytes
    timing_cache: bytes | None


def build(
    library: Library,
    model: bytes,
    options: Options,
    what: str = "graph",
    external: Mapping[str, bytes] | None = None,
) -> Built:
    """Return the plan of the ONNX graph `model`. Raises BackendError with TensorRT's own reason.

    `external`: files that hold weights of it, by the name the graph has for them.

    FP32 graphs are built without TF32, whose ten bits are not FP32. FP16 graphs bring their types; TensorRT 8.6, which
    has no such network, is set to obey them.
    """
    library.forget()
    builder = library.make("Builder", "start its builder (is there a GPU, and its driver?)")
    network = library.need(builder.create_network(library.network_flags()), "make a network")
    parser = library.make("OnnxParser", "start its parser", network)
    if not _parsed(parser, model, external or {}):
        reason = parser.get_error(0).desc() if parser.num_errors else library.last_words()
        raise BackendError(f"{library.title} can't read the {what}: {' '.join(reason.split())}")
    config = library.need(builder.create_builder_config(), "make a builder configuration")
    _set_types(library, config, options.precision)
    _set_targets(library, config, options.capabilities)
    kept = _set_timing_cache(library, config, options.timing_cache)
    plan = library.need(builder.build_serialized_network(network, config), f"build the {what}")
    timings = kept.serialize() if kept else None
    return Built(bytes(plan), None if timings is None else bytes(timings))


def _parsed(parser: Any, model: bytes, external: Mapping[str, bytes]) -> bool:
    if not external:
        return bool(parser.parse(model))
    # TensorRT reads such weights from files only; a bundle's were checked, and may be in a zip.
    with TemporaryDirectory() as folder:
        for name, data in external.items():
            Path(folder, name).write_bytes(data)
        path = Path(folder, "graph.onnx")
        path.write_bytes(model)
        return bool(parser.parse_from_file(str(path)))


def _set_types(library: Library, config: Any, precision: str) -> None:
    flags = library.module.BuilderFlag
    if precision == "fp32":
        config.clear_flag(flags.TF32)
    elif not library.strongly_typed:
        config.set_flag(flags.FP16)
        config.set_flag(flags.OBEY_PRECISION_CONSTRAINTS)


def _set_targets(library: Library, config: Any, capabilities: Sequence[str]) -> None:
    if not capabilities:
        return
    if library.flavour != "rtx":
        raise BackendError(
            f"{library.title} builds for the GPU it runs on: leave the compute capability out, or "
            "install tensorrt-rtx-cu13"
        )
    known = library.module.ComputeCapability
    config.num_compute_capabilities = len(capabilities)
    for number, capability in enumerate(capabilities):
        name = "CURRENT" if capability == CURRENT else f"SM{capability.replace('.', '')}"
        target = getattr(known, name, None)
        if target is None:
            there = sorted(
                (name[2:-1] + "." + name[-1] for name in dir(known) if name.startswith("SM")),
                key=lambda name: tuple(map(int, name.split("."))),
            )
            raise BackendError(
                f"{library.title} has no target for compute capability {capability}: it has {', '.join(there)}"
            )
        library.need(config.set_compute_capability(target, number) is not False, f"build for {capability}")


def _set_timing_cache(library: Library, config: Any, data: bytes | None) -> Any:
    if data is None or not library.has_timing_cache():
        return None
    kept = config.create_timing_cache(data)
    if kept is None or not config.set_timing_cache(kept, False):
        # Of another version or GPU: begin an empty one.
        kept = library.need(config.create_timing_cache(b""), "begin a timing cache")
        library.need(config.set_timing_cache(kept, False), "take an empty timing cache")
    return kept
