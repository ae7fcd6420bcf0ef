"""A run with a teacher: what its batches and its loss are, stage by stage.

trunk: the student's features towards the teacher's. heads: the heads towards the teacher's maps, on features that are
kept. both: trunk and heads at once, each by its own loss. whole: everything by both losses, or by the maps alone where
the features have other forms.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ..errors import UsageError
from ..models.light import Trunk
from ..models.lightfc import LightFC
from ..models.network import SiameseNet
from ..models.row import Row
from ..models.slimfc import SlimFC
from ..weights.shipped import shipped_weights
from .distil import FeatureLoss, PairLoss, WholeLoss, crops
from .feature_pairs import FeaturePairBatches, HeadLoss, write_feature_pairs
from .loop import Batches, Loss
from .pairs import PairBatches
from .parts import IMAGENET, read_parts
from .start import start_slimfc
from .teacher import Featured, Teacher

SAMPLE = 1 << 40
"""Number of a batch that no run reaches, by which features are scaled."""

Report = Callable[[int, int], None]


def taught(
    row: Row, net: SiameseNet, teacher: Teacher, batches: PairBatches, options: dict[str, Any], report: Report
) -> tuple[Batches, Loss]:
    """Return the batches and the loss of a stage. Raises UsageError where student and teacher can't have it."""
    stage = options["stage"]
    if stage == "whole" and not _alike(net, teacher, batches):
        return batches, PairLoss(teacher, row)
    if not isinstance(net, Featured):
        raise UsageError(f"--stage {stage} wants a model with features of its own: {row.name} has none, leave it out")
    if stage == "heads":
        _keep(net, teacher, batches, options, report)
        for name, parameter in net.named_parameters():
            parameter.requires_grad_(not name.startswith("trunk."))
        return FeaturePairBatches(options["cache"], options["batch"], options["seed"]), HeadLoss(teacher, row)
    if not _alike(net, teacher, batches):
        raise UsageError(f"--stage {stage}: the features of {row.name} and {teacher.row.name} have other forms")
    features = FeatureLoss(teacher, batches.make(SAMPLE))
    if stage == "trunk":
        return batches, features
    return batches, WholeLoss(teacher, row, features, apart=stage == "both")


def start(net: SiameseNet, teacher: Teacher, batches: PairBatches, report: Report) -> None:
    """Begin a student that has a way to begin from its teacher; others keep what they were built with."""
    if isinstance(net, SlimFC) and isinstance(teacher.net, LightFC):
        imagenet = Trunk()
        imagenet.load_state_dict(read_parts(shipped_weights(IMAGENET).path, "trunk."))
        start_slimfc(net.to(teacher.device), imagenet.to(teacher.device), teacher, batches.next, report)
        batches.count = 0


def _alike(net: SiameseNet, teacher: Teacher, batches: PairBatches) -> bool:
    """Whether both have features, of one form."""
    if not (isinstance(net, Featured) and isinstance(teacher.net, Featured)):
        return False
    _, x = crops(batches.make(SAMPLE), teacher.row, teacher.device)
    with torch.no_grad():
        return net.features(x[:1]).shape == teacher.net.features(x[:1]).shape


def _keep(net: Featured, teacher: Teacher, batches: PairBatches, options: dict[str, Any], report: Report) -> None:
    """Write the features that are kept, where they aren't yet: the student's own, too, once its trunk is trained."""
    folder: Path | None = options["cache"]
    if folder is None:
        raise UsageError("--stage heads learns from features that are kept: name a folder for them as --cache")
    if not folder.exists():
        write_feature_pairs(folder, teacher, net if options["init"] else None, batches, options["pairs"], report)
