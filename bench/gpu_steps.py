"""The steps of a session on a GPU, as commands that anybody can run alone."""

import json
import os
from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from ..engine.backends import BACKENDS
from ..engine.bundle import Bundle
from ..errors import BundleError, UsageError
from ..weights.shipped import default_bundle
from .speed_entries import DEVICE, HOST

MODELS = (
    "siamrpnpp:alexnet",
    "siamfc:alexnet",
    "siamrpnpp:mobilenetv2",
    "nanotrack:v3",
    "siamrpnpp:resnet50",
    "siamdw_rpn:res22",
)
"""Those with a target on a GPU, in the order in which they are measured."""
QUICK_TO_EXPORT = ("nanotrack:v3", "siamfc:alexnet", "siamrpnpp:alexnet", "siamdw_rpn:res22")
"""Half a minute at most; others take two."""
GATE = "siamrpnpp:alexnet"
"""The one that has to track before anything else is done, and is measured in FP32, too."""
CROWD = "siamrpnpp:mobilenetv2"
"""The one that many targets are followed with."""
COMPILED = ("siamrpnpp:mobilenetv2", "siamrpnpp:resnet50")
"""Those that torch.compile, which takes a minute each, is tried on."""
TARGETS, FEW = 32, 3
"""Followed at once; and to try the command."""
PRECISIONS = ("fp32", "fp16")
MODULES = {"trk-export": "trk.cli.export", "trk-bench": "trk.cli.bench"}


class Work(NamedTuple):
    """A bundle that is measured."""

    model: str
    """MODEL:VARIANT."""
    precision: str

    @property
    def name(self) -> str:
        """As files and steps are called."""
        return f"{self.model.replace(':', '-')}-{self.precision}"


@dataclass(frozen=True)
class Step:
    """One command."""

    name: str
    words: list[str]
    """As a user types it. Empty: there is nothing to run, and `notes` say why."""
    seconds: float
    """After so many it is stopped."""
    file: Path | None = None
    """What it writes."""
    lines: int = 12
    """Of what it prints, so many are kept in the index. The log keeps all."""
    needs: tuple[Work, ...] = ()
    """Bundles that have to be there."""
    notes: tuple[str, ...] = ()
    """What it leaves out of what was asked for."""
    least: float = 20.0
    """With fewer seconds left it is not begun."""

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
    works: tuple[Work, ...]
    late: tuple[Work, ...]
    """Measured when all else is."""
    small: bool

    @classmethod
    def of(cls, options: Namespace) -> "Setup":
        """Return the setup that the options of a command ask for. Raises UsageError."""
        usable = [name for name in BACKENDS if name != "openvino"]
        # The runtime that is most sure to be at hand comes first: it is the one that has to pass the gate.
        asked = options.backend or sorted(usable, key=lambda name: name != "torch")
        for name in asked:
            if name not in usable:
                raise UsageError(f"--backend {name} runs on no GPU: choose of {', '.join(usable)}")
        for name in options.model or ():
            if name.count(":") != 1:
                raise UsageError(f"--model {name}: name it MODEL:VARIANT, as trk-export --list does")
        models = tuple(dict.fromkeys(options.model or MODELS))
        precisions = tuple(dict.fromkeys(options.precision or ["fp16"]))
        works = tuple(Work(model, precision) for precision in precisions for model in models)
        late = (Work(GATE, "fp32"),) if options.precision is None and GATE in models else ()
        bundles = options.bundles or options.out / "bundles"
        return cls(options.out, bundles, options.device, tuple(dict.fromkeys(asked)), works, late, options.small)

    @property
    def places(self) -> tuple[str, ...]:
        """Where frames lie."""
        return (HOST, DEVICE) if self.device == "cuda" else (HOST,)

    @property
    def exports_at_once(self) -> int:
        """How many bundles are exported side by side."""
        return max(1, min(4, (os.cpu_count() or 1) // 4))

    def bundle(self, work: Work) -> Path:
        """Return where a bundle lies."""
        return self.bundles / f"{work.name}.trk"

    def there(self, work: Work) -> bool:
        """Whether a bundle is there."""
        return self.bundle(work).exists()

    def file(self, name: str) -> Path:
        """Return where a step's figures lie."""
        return self.out / f"gpu-{name}.json"

    @property
    def crowd(self) -> Work | None:
        """The bundle that many targets are followed with, if its model is measured."""
        return next((work for work in reversed(self.works) if work.model == CROWD), None)


def exports(setup: Setup) -> Iterator[Step]:
    """Yield the exports of bundles that are not there yet, the quick ones first; weights are random ones."""
    order = sorted((*setup.works, *setup.late), key=lambda work: work.model not in QUICK_TO_EXPORT)
    for work in order:
        if setup.there(work):
            continue
        path, (name, _, variant) = setup.bundle(work), work.model.partition(":")
        words = ["trk-export", "--model", name, "--variant", variant, "--random", "--precision", work.precision]
        words += ["--targets", str(TARGETS)] if work == setup.crowd else []
        yield Step(f"export-{work.name}", [*words, "--out", str(path)], 300.0, path, 3)


def smoke(setup: Setup) -> Step:
    """Return the gate: five frames of one model, which have to be tracked as on the CPU, more or less."""
    gate = next((work for work in setup.works if work.model == GATE and setup.there(work)), None)
    path = default_bundle() if gate is None else setup.bundle(gate)
    words = ["python", "-m", "trk.bench.gpu_numerics", "--gate", "--device", setup.device]
    words += ["--backend", setup.backends[0], "--bundle", str(path), "--frames", "5"]
    return Step("smoke", words, 90.0, lines=200)


def limits(setup: Setup) -> Step:
    """Return the measurement of what the device can do at best."""
    file = setup.file("limits")
    words = ["python", "-m", "trk.bench.gpu_limits", "--device", setup.device, "--json", str(file)]
    return Step("limits", words + (["--small"] if setup.small else []), 60.0, file, 30)


def numerics(setup: Setup, works: Sequence[Work], number: int = 1) -> Iterator[Step]:
    """Yield the comparisons of `works` with the CPU, one for each precision and backend.

    `number`: which of the session's batches. The first brings the bundle that ships: no random weights.
    """
    for precision in dict.fromkeys(work.precision for work in works):
        mine = tuple(work for work in works if work.precision == precision)
        for backend in setup.backends:
            name = f"numerics-{backend}-{precision}" + (f"-{number}" if number > 1 else "")
            words = ["python", "-m", "trk.bench.gpu_numerics", "--backend", backend, "--device", setup.device]
            words += [word for work in mine for word in ("--bundle", str(setup.bundle(work)))]
            words += ["--bundle", str(default_bundle())] if setup.works[0] in mine else []
            words += [word for place in setup.places for word in ("--frames-on", place)]
            words += ["--frames", "4" if setup.small else "20", "--json", str(setup.file(name))]
            yield Step(name, words, 150.0, setup.file(name), 30, mine)


def rows(setup: Setup) -> list[dict[str, Any]]:
    """Return all that numerics have found so far; what was found again replaces what was before."""
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for path in sorted(setup.out.glob("gpu-numerics-*.json"), key=lambda path: path.stat().st_mtime):
        for row in json.loads(path.read_text(encoding="utf-8"))["numerics"]:
            found[row["bundle"], row["backend"], row["frames_on"]] = row
    return list(found.values())


def speeds(setup: Setup, works: Sequence[Work]) -> Iterator[Step]:
    """Yield a comparison with upstream for each of `works`, in the ways that numerics have seen it run."""
    for work in works:
        yield _speed(setup, work.name, work, ["--against", "upstream-style"])


def crowd(setup: Setup) -> Iterator[Step]:
    """Yield the measurement of many targets at once. Upstream follows one: many take it as many times as long."""
    work = setup.crowd
    if work is not None:
        count = FEW if setup.small else TARGETS
        words = ["--targets", "1", "--targets", str(count), "--against", "upstream-style"]
        step = _speed(setup, f"targets-{work.name}", work, words)
        yield replace(step, notes=(*step.notes, *_lacking(setup.bundle(work), count)))


def _lacking(path: Path, targets: int) -> list[str]:
    """Return a line where the bundle at `path` has no graph for so many targets at once."""
    try:
        bundle = Bundle(path)
    except BundleError:  # told where it is used
        return []
    bundle.close()
    if all(targets in {batch.targets for batch in search.batches} for search in bundle.manifest.searches):
        return []
    return [f"without a graph for {targets} targets at once: the bundle was exported without --targets {targets}"]


def compiled(setup: Setup) -> Iterator[Step]:
    """Yield comparisons with upstream's networks under torch.compile."""
    for work in setup.works:
        if work.model in COMPILED and not setup.small:
            words = ["--against", "upstream-no-grad", "--against", "upstream-compile"]
            yield replace(_speed(setup, f"compile-{work.name}", work, words), seconds=240.0, least=90.0)


def _speed(setup: Setup, name: str, work: Work, more: Sequence[str]) -> Step:
    file = setup.file(f"speed-{name}")
    backends, places, notes = _ways(setup, setup.bundle(work).name)
    words = ["trk-bench", "--device", setup.device, "--bundle", str(setup.bundle(work))]
    words += [word for backend in backends for word in ("--backend", backend)]
    words += [word for place in places for word in ("--frames-on", place)]
    small = ["--frames", "4", "--warmup", "1", "--rounds", "1"]
    words += small if setup.small else ["--frames", "100", "--warmup", "20", "--rounds", "5"]
    words += ["--starts", "0", *more, "--json", str(file), "--markdown", str(file.with_suffix(".md"))]
    return Step(f"speed-{name}", words if backends and places else [], 100.0, file, 40, (work,), notes)


def _ways(setup: Setup, bundle: str) -> tuple[list[str], list[str], tuple[str, ...]]:
    """Return backends and places of frames that ran `bundle` when numerics were compared, and what is left out.

    One that failed there could take all others of its process with it. Where nothing was compared all are named.
    """
    found = [row for row in rows(setup) if row["bundle"] == bundle]
    if not found:
        return list(setup.backends), list(setup.places), ()
    failed = {(row["backend"], row["frames_on"]): row["why"] for row in found if "why" in row}
    ran = {(row["backend"], row["frames_on"]) for row in found} - set(failed)
    backends = [backend for backend in setup.backends if any((backend, place) in ran for place in setup.places)]
    places = [place for place in setup.places if all((backend, place) in ran for backend in backends)]
    notes: dict[str, str] = {}
    for (backend, place), why in failed.items():
        what = f"frames on the {place}: {backend}" if backend in backends else backend
        notes.setdefault(what, f"without {what}: {why}")
    return backends, places, tuple(notes.values())


def profiles(setup: Setup) -> Iterator[Step]:
    """Yield the profile of all bundles of a precision."""
    for precision in dict.fromkeys(work.precision for work in setup.works):
        mine = [work for work in setup.works if work.precision == precision]
        there = [work for work in mine if setup.there(work)] or mine
        file = setup.file(f"profile-{precision}")
        words = ["python", "-m", "trk.bench.gpu_profile", "--device", setup.device]
        words += [word for work in there for word in ("--bundle", str(setup.bundle(work)))]
        words += ["--limits", str(setup.file("limits")), "--json", str(file), *(["--small"] if setup.small else [])]
        notes = tuple(f"without {work.name}: no bundle" for work in mine if work not in there)
        yield Step(f"profile-{precision}", words, 120.0, file, 60, tuple(there), notes)


def planned(setup: Setup) -> Iterator[Step]:
    """Yield all steps of a session, in its order, as they look where every bundle is there."""
    yield from (*exports(setup), smoke(setup), limits(setup))
    yield from (*numerics(setup, setup.works), *speeds(setup, setup.works), *crowd(setup), *profiles(setup))
    yield from (*numerics(setup, setup.late), *speeds(setup, setup.late), *compiled(setup))
