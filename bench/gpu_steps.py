"""The steps of a session on a GPU, as commands that anybody can run alone."""

import json
import os
from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..engine.backends import BACKENDS
from ..errors import UsageError
from .whole import AHEAD, CROPS, DEVICE, HOST

MODELS = (
    "siamrpnpp:mobilenetv2",
    "siamrpnpp:alexnet",
    "siamrpnpp:resnet50",
    "siamfc:alexnet",
    "siamdw_rpn:res22",
    "nanotrack:v3",
)
"""Those with a target on a GPU, and the smallest, which launches decide."""
CROWD = "siamrpnpp:mobilenetv2"
"""The one that many targets are followed with."""
COMPILED = ("siamrpnpp:mobilenetv2", "siamrpnpp:resnet50")
"""Those that torch.compile, which takes a minute each, is tried on."""
TARGETS = (32,)
PRECISIONS = ("fp32", "fp16")
MODULES = {"trk-export": "trk.cli.export", "trk-bench": "trk.cli.bench"}


@dataclass(frozen=True)
class Step:
    """One command."""

    name: str
    words: list[str]
    """As a user types it."""
    seconds: float
    """After so many it is stopped."""
    file: Path | None = None
    """What it writes."""
    lines: int = 12
    """Of what it prints, so many are kept."""

    @property
    def arguments(self) -> list[str]:
        """What Python has to be given, wherever its scripts are installed."""
        if self.words[0] == "python":
            return self.words[1:]
        return ["-c", f"from {MODULES[self.words[0]]} import main; main()", *self.words[1:]]


@dataclass(frozen=True)
class Setup:
    """What a session is about."""

    out: Path
    bundles: Path
    device: str
    backends: tuple[str, ...]
    models: tuple[str, ...]
    precisions: tuple[str, ...]
    small: bool

    @classmethod
    def of(cls, options: Namespace) -> "Setup":
        """Return the setup that the options of a command ask for. Raises UsageError."""
        usable = [name for name in BACKENDS if name != "openvino"]
        asked = options.backend or (usable if options.device == "cuda" else ["onnxruntime", "torch"])
        for name in asked:
            if name not in usable:
                raise UsageError(f"--backend {name} runs on no GPU: choose of {', '.join(usable)}")
        for name in options.model or ():
            if name.count(":") != 1:
                raise UsageError(f"--model {name}: name it MODEL:VARIANT, as trk-export --list does")
        bundles = options.bundles or options.out / "bundles"
        models = tuple(dict.fromkeys(options.model or MODELS))
        # FP16 is no use on a CPU.
        precisions = tuple(dict.fromkeys(options.precision or PRECISIONS[: 2 if options.device == "cuda" else 1]))
        return cls(options.out, bundles, options.device, tuple(dict.fromkeys(asked)), models, precisions, options.small)

    @property
    def exports_at_once(self) -> int:
        """How many bundles are exported side by side."""
        return max(1, min(4, (os.cpu_count() or 1) // 4))

    def bundle(self, model: str, precision: str) -> Path:
        """Return where the bundle of a model lies."""
        return self.bundles / f"{model.replace(':', '-')}-{precision}.trk"

    def file(self, name: str) -> Path:
        """Return where a step's figures lie."""
        return self.out / f"gpu-{name}.json"


def exports(setup: Setup) -> Iterator[Step]:
    """Yield the exports of bundles that are not there yet, the quick ones first; weights are random ones."""
    for model in setup.models:
        for precision in setup.precisions:
            path = setup.bundle(model, precision)
            if path.exists():
                continue
            name, _, variant = model.partition(":")
            words = ["trk-export", "--model", name, "--variant", variant, "--random", "--precision", precision]
            words += ["--whole-frame"]
            if model == CROWD:
                words += [word for count in TARGETS for word in ("--targets", str(count))]
            yield Step(f"export-{path.stem}", [*words, "--out", str(path)], 300.0, path, 3)


def numerics(setup: Setup) -> Iterator[Step]:
    """Yield the comparisons with the CPU, one for each backend and precision."""
    for precision in setup.precisions:
        for backend in setup.backends:
            name = f"numerics-{precision}-{backend}"
            words = ["python", "-m", "trk.bench.gpu_numerics", "--backend", backend, "--device", setup.device]
            words += [word for model in setup.models for word in ("--bundle", str(setup.bundle(model, precision)))]
            words += [word for crop in CROPS for word in ("--crop", crop)]
            words += ["--frames", "4" if setup.small else "20", "--json", str(setup.file(name))]
            yield Step(name, words, 180.0, setup.file(name), 30)


def backends_that_load(setup: Setup) -> tuple[str, ...]:
    """Return the backends that ran a bundle when numerics were compared."""
    ran = {row["backend"] for row in _rows(setup) if "why" not in row}
    return tuple(name for name in setup.backends if name in ran)


def crops_that_run(setup: Setup, model: str, backends: Sequence[str]) -> list[str]:
    """Return where crops of a model can be cut with every one of `backends`, as numerics found; else the host."""
    names = {setup.bundle(model, precision).name for precision in setup.precisions}
    found = []
    for crop in CROPS:
        mine = [row for row in _rows(setup) if row["bundle"] in names and row["whole_frame"] == (crop != HOST)]
        mine = [row for row in mine if row["backend"] in backends]
        if len(mine) == len(names) * len(backends) and not any("why" in row for row in mine):
            found.append(crop)
    return found or [HOST]


def _rows(setup: Setup) -> list[dict[str, Any]]:
    """Return all that numerics have found so far."""
    rows: list[dict[str, Any]] = []
    for step in numerics(setup):
        if step.file is not None and step.file.is_file():
            rows += json.loads(step.file.read_text(encoding="utf-8"))["numerics"]
    return rows


def speeds(setup: Setup, backends: Sequence[str]) -> Iterator[Step]:
    """Yield a comparison for each model, then many targets, then torch.compile. Nothing without `backends`."""
    if not backends:
        return
    for model in setup.models:
        bundles = [setup.bundle(model, precision) for precision in setup.precisions]
        crops = crops_that_run(setup, model, backends)
        crops += [AHEAD] if DEVICE in crops else []
        words = _bench(setup, bundles, backends) + [word for crop in crops for word in ("--crop", crop)]
        yield _speed(setup, model.replace(":", "-"), [*words, "--against", "upstream-style"])
    if CROWD in setup.models:
        bundles = [setup.bundle(CROWD, precision) for precision in setup.precisions]
        counts = [word for count in (1, *TARGETS) for word in ("--targets", str(count))]
        yield _speed(setup, f"targets-{CROWD.replace(':', '-')}", [*_bench(setup, bundles, backends), *counts])
    for model in COMPILED:
        if model in setup.models and not setup.small:
            words = _bench(
                setup, [setup.bundle(model, setup.precisions[0])], ["torch"] if "torch" in backends else backends
            )
            ways = ["--against", "upstream-no-grad", "--against", "upstream-compile"]
            yield _speed(setup, f"compile-{model.replace(':', '-')}", [*words, *ways])


def _bench(setup: Setup, bundles: Sequence[Path], backends: Sequence[str]) -> list[str]:
    words = ["trk-bench", "--device", setup.device]
    words += [word for bundle in bundles for word in ("--bundle", str(bundle))]
    words += [word for name in backends for word in ("--backend", name)]
    small = ["--frames", "4", "--warmup", "1", "--rounds", "1", "--starts", "0"]
    return words + (small if setup.small else ["--frames", "60", "--warmup", "20", "--rounds", "5", "--starts", "1"])


def _speed(setup: Setup, name: str, words: list[str]) -> Step:
    file = setup.file(f"speed-{name}")
    written = ["--json", str(file), "--markdown", str(file.with_suffix(".md"))]
    return Step(f"speed-{name}", [*words, *written], 240.0, file, 40)


def profiles(setup: Setup) -> Iterator[Step]:
    """Yield the profile of all bundles of the first precision and, on a GPU, of the second."""
    for precision in setup.precisions:
        file = setup.file(f"profile-{precision}")
        words = ["python", "-m", "trk.bench.gpu_profile", "--device", setup.device]
        words += [word for model in setup.models for word in ("--bundle", str(setup.bundle(model, precision)))]
        words += ["--json", str(file), *(["--small"] if setup.small else [])]
        yield Step(f"profile-{precision}", words, 180.0, file, 60)
