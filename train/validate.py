"""Accuracy of a network on clips, as the user gets it: exported, run by the engine, mean overlap."""

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from torch import nn

from ..bench.ope import run_sequence, sequences
from ..engine.manifest import Weights
from ..engine.tracker import Tracker
from ..export.bundle import export_bundle
from ..models.network import SiameseNet
from ..models.row import Row

TRAINING = Weights(origin="checkpoint", licence="those of the training data", notice="a checkpoint in training")


def accuracies(
    row: Row, net: SiameseNet, folder: Path, params: Mapping[str, float] | None = None, threads: int | None = 1
) -> dict[str, float]:
    """Return the mean overlap of `net` on each sequence of `folder`."""
    with TemporaryDirectory() as temporary:
        bundle = Path(temporary) / "bundle"
        export_bundle(row, bundle, net, TRAINING, params=params)
        tracker = Tracker(bundle, threads=threads)
        return {path.name: run_sequence(tracker, path).mean_overlap for path in sequences(folder)}


def validator(row: Row, folder: Path) -> Callable[[nn.Module], float]:
    """Return what `loop.Run` calls: the mean over the sequences of `folder`."""

    def validate(net: nn.Module) -> float:
        assert isinstance(net, SiameseNet)
        return float(np.mean(list(accuracies(row, net, folder).values())))

    return validate
