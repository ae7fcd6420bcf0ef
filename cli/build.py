"""The part of trk-export that builds TensorRT plans into the bundle it wrote."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from re import fullmatch

from ..engine.bundle import Bundle
from ..engine.manifest import Manifest
from ..errors import BackendError, UsageError
from .tables import say


def check_engine(engine: str | None, capabilities: tuple[str, ...], out: Path | None) -> None:
    """Raise UsageError where plans can't be built as asked, BackendError where TensorRT is missing: before the work."""
    if capabilities and not engine:
        raise UsageError("--cc says what plans are built for: it goes with --engine tensorrt")
    for capability in capabilities:
        if not fullmatch(r"\d{1,2}\.\d|current", capability):
            raise UsageError(f"--cc is a compute capability such as 8.6, or current, not {capability!r}")
    if engine and out is not None and out.suffix == ".trk":
        raise UsageError(f"plans lie in a bundle's folder, and {out} is a file: give --out a name without .trk")
    if engine:
        from ..engine.plans.library import load

        load()


def export_for_engine(
    write: Callable[[str], Manifest], forms: Sequence[str], bundle: Path, capabilities: tuple[str, ...]
) -> Manifest:
    """Write the bundle with its correlations in the first of `forms` that its plans build in; return its manifest.

    `write` writes it in one form. Raises BackendError where plans build in none of them.
    """
    for number, form in enumerate(forms, start=1):
        manifest = write(form)
        try:
            build_plans(bundle, capabilities)
            break
        except BackendError as error:
            if number == len(forms):
                raise
            say(f"{error}: writing correlations as {forms[number]}")
    return manifest


def build_plans(bundle: Path, capabilities: tuple[str, ...]) -> None:
    """Build the plans of all graphs of `bundle`, a folder, with the TensorRT that is installed.

    TensorRT-RTX builds on any machine, for `capabilities` or its default; full TensorRT for the GPU at hand.
    """
    from ..engine.cuda.calls import Cuda
    from ..engine.plans.build import CURRENT
    from ..engine.plans.bundle_plans import gpu_of, plans
    from ..engine.plans.library import load

    library = load()
    anywhere = library.flavour == "rtx" and CURRENT not in capabilities
    gpu = gpu_of(capabilities) if anywhere else str(Cuda())
    made = plans(Bundle(bundle), library, gpu, capabilities, say=lambda line: say(line, "dim"))
    sizes = ", ".join(f"{name} {len(plan) / 1e6:.1f} MB" for name, plan in made.items())
    say(f"plans by {library.title} for {gpu}: {sizes}")
