"""The plans of a bundle: taken from its cache, built where they are missing or of no use here."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ..bundle import Bundle
from .build import CURRENT, Options, build
from .cache import Say, find, keep, key_of, place, write_whole
from .library import Library

DEFAULT_TARGETS = "8.0, 8.6, 8.9, 12.0 and later"
"""What a TensorRT-RTX plan without named targets runs on, by its documentation."""


def targets_for(capability: str) -> tuple[str, ...]:
    """Return what a plan of TensorRT-RTX has to be built for to run on a GPU of this compute capability."""
    is_default = capability in DEFAULT_TARGETS.split(", ") or float(capability) >= 12
    return () if is_default else (CURRENT,)


def gpu_of(capabilities: Sequence[str]) -> str:
    """Return what the side-car of a TensorRT-RTX plan says of the GPUs it is for."""
    return f"compute capability {', '.join(capabilities) or DEFAULT_TARGETS}"


def plans(
    bundle: Bundle,
    library: Library,
    gpu: str,
    capabilities: tuple[str, ...] = (),
    folder: Path | None = None,
    device: str = "",
    say: Say = lambda _: None,
) -> dict[str, bytes]:
    """Return the plan of each graph of `bundle` by its file name, building what the cache lacks.

    `gpu` names what the plans are for; `device` is the compute capability of the GPU in this machine, for which a plan
    that names it among others will do. `say` gets the reason why one is built. A plan for another GPU, version,
    precision or export is left alone and never used. Raises BackendError.
    """
    folder = folder or place(bundle)
    timings = folder / f"timing-{library.flavour}-{library.version}-{_plain(gpu)}.cache"
    found: dict[str, bytes] = {}
    for graph in bundle.manifest.graphs:
        key = key_of(bundle, graph.file, library.flavour, library.version, gpu, ",".join(capabilities))
        plan, why = find(folder, key, device)
        if plan is None:
            say(f"building the plan of {graph.file} with {library.title} for {gpu}: {why}")
            cached = None
            if library.has_timing_cache():
                cached = timings.read_bytes() if timings.is_file() else b""
            options = Options(bundle.manifest.precision, capabilities, cached)
            external = {name: bundle.read(name) for name in graph.external}
            built = build(library, bundle.read(graph.file), options, graph.file, external)
            plan = built.plan
            keep(folder, key, plan)
            if built.timing_cache is not None:
                with suppress(OSError):  # it saves time, and is made again
                    write_whole(timings, built.timing_cache)
        found[graph.file] = plan
    return found


def _plain(text: str) -> str:
    return "".join(character if character.isalnum() else "_" for character in text)
