"""Accuracy of a network on clips, as the user gets it: exported, run by the engine, mean overlap."""

import json
import os
from collections.abc import Mapping
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor, nn

from ..bench.datasets import folder as plain
from ..bench.datasets.varied import original, varied
from ..bench.ope import run, sequences
from ..bench.store import write_text
from ..engine.manifest import Weights
from ..engine.tracker import Tracker
from ..errors import SourceError
from ..export.bundle import export_bundle
from ..models.network import SiameseNet
from ..models.registry import find
from ..models.row import Row
from .checkpoint import load, save

TRAINING = Weights(origin="checkpoint", licence="those of the training data", notice="a checkpoint in training")
KEPT = 5
"""Snapshots that a run keeps: the best."""
SNAPSHOTS, VALIDATION = "snapshots", "validation.csv"


def accuracies(
    row: Row,
    net: SiameseNet,
    folder: Path,
    params: Mapping[str, float] | None = None,
    threads: int | None = 1,
    runs: int = 1,
) -> dict[str, float]:
    """Return the mean overlap of `net` on each sequence of `folder`, each run `runs` times."""
    with TemporaryDirectory() as temporary:
        bundle = Path(temporary) / "bundle"
        export_bundle(row, bundle, net, TRAINING, params=params)
        tracker = Tracker(bundle, threads=threads)
        found: dict[str, list[float]] = {}
        for path in sequences(folder):
            for variant in varied(plain.read(path), runs):
                found.setdefault(original(variant.name), []).append(run(tracker, variant).mean_overlap)
        return {name: float(np.mean(values)) for name, values in found.items()}


class Validation:
    """Snapshots of a run, each judged in a process of its own while the run goes on; the best KEPT stay.

    A snapshot that was not judged when the run was killed is judged when it goes on.
    """

    def __init__(self, out: Path, row: Row, folder: Path, runs: int):
        sequences(folder)  # raises where there is none
        self.out, self.row, self.folder, self.runs = out, row, folder, runs
        self.best: dict[int, float] = {}
        """Accuracy of each snapshot that is kept, by its step."""
        self._judged: set[int] = set()
        self._process: BaseProcess | None = None
        self._step = 0
        self._read()

    def submit(self, step: int, net: nn.Module) -> None:
        """Keep the parameters of `net` and begin to judge them, when those before are judged."""
        self.collect(wait=True)
        if step not in self._judged:
            save(self._snapshot(step), {"net": net.state_dict(), "step": step})
            self._start(step)

    def collect(self, *, wait: bool = False) -> None:
        """Take in what has been judged; with `wait`, all that is being judged and all that was left unjudged."""
        if self._process is not None and (wait or not self._process.is_alive()):
            self._take()
        if wait:
            snapshots = sorted(int(path.stem) for path in (self.out / SNAPSHOTS).glob("*.pt"))
            for step in snapshots:
                if step not in self._judged:
                    self._start(step)
                    self._take()

    def best_state(self) -> dict[str, Tensor] | None:
        """Return the parameters of the best snapshot, None where none was judged."""
        if not self.best:
            return None
        state: dict[str, Tensor] = load(self._snapshot(max(self.best, key=lambda step: self.best[step])))["net"]
        return state

    def _snapshot(self, step: int) -> Path:
        (self.out / SNAPSHOTS).mkdir(parents=True, exist_ok=True)
        return self.out / SNAPSHOTS / f"{step:08d}.pt"

    def _start(self, step: int) -> None:
        self._step = step
        snapshot = self._snapshot(step)
        arguments = (self.row.model, self.row.variant, snapshot, self.folder, self.runs, snapshot.with_suffix(".json"))
        self._process = get_context("spawn").Process(target=_judge, args=arguments)
        self._process.start()

    def _take(self) -> None:
        """Wait for the judgement that was begun last and write it down."""
        assert self._process is not None
        self._process.join()
        self._process = None
        result = self._snapshot(self._step).with_suffix(".json")
        try:
            found: dict[str, float] = json.loads(result.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise SourceError(f"{self._snapshot(self._step)} could not be judged on {self.folder}: see above") from None
        mean = float(np.mean(list(found.values())))
        path = self.out / VALIDATION
        head = "" if path.exists() else "step,accuracy," + ",".join(found) + "\n"
        values = ",".join(f"{value:.4f}" for value in found.values())
        with path.open("a", encoding="utf-8") as stream:
            stream.write(f"{head}{self._step},{mean:.4f},{values}\n")
        result.unlink()
        self._judged.add(self._step)
        self.best[self._step] = mean
        self._prune()

    def _prune(self) -> None:
        kept = sorted(self.best, key=lambda step: self.best[step], reverse=True)[:KEPT]
        for step in set(self.best) - set(kept):
            self._snapshot(step).unlink(missing_ok=True)
            del self.best[step]

    def _read(self) -> None:
        path = self.out / VALIDATION
        if path.exists():
            for line in path.read_text(encoding="utf-8").splitlines()[1:]:
                step, accuracy = line.split(",")[:2]
                self._judged.add(int(step))
                if self._snapshot(int(step)).exists():
                    self.best[int(step)] = float(accuracy)


def _judge(model: str, variant: str, snapshot: Path, folder: Path, runs: int, result: Path) -> None:
    if hasattr(os, "nice"):
        os.nice(5)
    torch.set_num_threads(1)
    row = find(model, variant)
    net = row.build()
    net.load_state_dict(load(snapshot)["net"])
    write_text(result, json.dumps(accuracies(row, net, folder, runs=runs)) + "\n")
