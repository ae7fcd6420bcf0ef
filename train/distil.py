"""What a student learns from a teacher: features where both have them, and maps, soft.

Source: knowledge distillation (Hinton et al. 2015); quality focal loss (Li et al., NeurIPS 2020, eq. 2) for a score
that is a share; GIoU (Rezatofighi et al., CVPR 2019).
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..models.network import SiameseNet
from ..models.proposals import ProposalStep
from ..models.row import Row
from .losses import giou
from .pairs import PairBatch, pixels
from .teacher import Featured, Teacher

SCORE_WEIGHT, SIDES_WEIGHT, OVERLAP_WEIGHT, FEATURE_WEIGHT = 15.0, 5.0, 2.0, 1.0
TEMPLATE_SHARE = 0.25
"""Of the loss of features: a template crop has a quarter of a search crop's cells."""
SEEN = 0.1
"""Score of the teacher from which its boxes are a lesson."""

Parts = dict[str, Tensor]
Maps = Sequence[Tensor]
MapLoss = Callable[[Maps, Maps, Tensor], Parts]
"""Maps of student and teacher and whether each pair shows the same target, [N], to the parts of the loss."""


class FeatureLoss:
    """Squared error of a student's features, over the variance that the teacher's have in each channel.

    `sample`: the crops that this variance is measured on.
    """

    def __init__(self, teacher: Teacher, sample: PairBatch):
        self.teacher = teacher
        _, x = crops(sample, teacher.row, teacher.device)
        with torch.no_grad():
            self.variance = teacher.featured.features(x).float().var((0, 2, 3)).reshape(1, -1, 1, 1)

    def __call__(self, net: Featured, batch: PairBatch) -> Parts:
        """Return the loss: 1 is what the mean of the features would have, 0 the teacher's features themselves."""
        pair = crops(batch, self.teacher.row, self.teacher.device)
        with torch.no_grad():
            theirs = [self.teacher.featured.features(part) for part in pair]
        return {"loss": self.of([net.features(part) for part in pair], theirs)}

    def of(self, ours: Maps, theirs: Maps) -> Tensor:
        """Return the loss of features [N, C, H, W] of template and search crops."""
        z, x = (
            ((one.float() - other.float()).square() / self.variance).mean()
            for one, other in zip(ours, theirs, strict=True)
        )
        return TEMPLATE_SHARE * z + (1.0 - TEMPLATE_SHARE) * x


class PairLoss:
    """A student's maps of pairs of crops towards the teacher's; any student and teacher of one step."""

    def __init__(self, teacher: Teacher, student: Row):
        self.teacher, self.student, self.of = teacher, student, map_loss(student)

    def __call__(self, net: SiameseNet, batch: PairBatch) -> Parts:
        """Return the loss."""
        teacher, device = self.teacher, next(net.parameters()).device
        z, x = crops(batch, teacher.row, teacher.device)
        with torch.no_grad():
            goal = teacher.net.search(x, *teacher.net.kernels(z, batch.size.to(teacher.device)))
        z, x = crops(batch, self.student, device)
        ours = net.search(x, *net.kernels(z, batch.size.to(device)))
        return self.of(ours, [part.to(device) for part in goal], batch.present.to(device))


class WholeLoss:
    """The maps and the features of a student whose features have the form of the teacher's.

    `apart`: the trunk learns from the features alone and the heads from the maps, on features as they come.
    """

    def __init__(self, teacher: Teacher, student: Row, features: FeatureLoss, *, apart: bool = False):
        self.teacher, self.of, self.features, self.apart = teacher, map_loss(student), features, apart

    def __call__(self, net: Featured, batch: PairBatch) -> Parts:
        """Return the loss."""
        teacher = self.teacher
        pair = crops(batch, teacher.row, teacher.device)
        with torch.no_grad():
            theirs = [teacher.featured.features(part) for part in pair]
            goal = teacher.featured.maps(theirs[1], theirs[0])
        ours = [net.features(part) for part in pair]
        z, x = (part.detach() for part in ours) if self.apart else ours
        parts = self.of(net.maps(x, z), goal, batch.present.to(teacher.device))
        feature = self.features.of(ours, theirs)
        return {**parts, "loss": parts["loss"] + FEATURE_WEIGHT * feature, "features": feature.detach()}


def crops(batch: PairBatch, row: Row, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return template and search crops in the colours of `row`, float."""
    return pixels(batch.z, row.channels, device), pixels(batch.x, row.channels, device)


def map_loss(row: Row) -> MapLoss:
    """Return the loss of maps of the kind that `row` has."""
    names = row.build().map_names
    if names == ("score", "size", "offset"):
        return centre_maps
    if names == ("score",):
        return score_map
    copies = 1
    if isinstance(step := row.step(1, row.searches[0].size), ProposalStep):
        copies = step.decode.copies
    scores, boxes = names.index("cls"), len(names) - 1

    def loss(ours: Maps, theirs: Maps, present: Tensor) -> Parts:
        return proposal_maps(
            (_shares(ours[scores], copies), ours[boxes]), (_shares(theirs[scores], copies), theirs[boxes]), present
        )

    return loss


def _shares(cls: Tensor, copies: int) -> Tensor:
    """Return the probability of a target, [N, copies, S, S], of one logit or of a pair, background before target."""
    if cls.shape[1] == copies:
        return cls.float().sigmoid()
    background, target = cls[:, :copies].float(), cls[:, copies:].float()
    return (target - background).sigmoid()


def centre_maps(ours: Maps, theirs: Maps, present: Tensor) -> Parts:
    """Return the loss of score [N, 1, S, S], size [N, 2, S, S] (shares of the crop) and offset [N, 2, S, S] (cells).

    Where a target is not `present` the score to learn is 0, whatever the teacher thinks it sees.
    """
    score, size, offset = (part.float() for part in ours)
    goal, goal_size, goal_offset = (part.float() for part in theirs)
    found, weight = _score_loss(score, goal, present)
    shift = (offset - goal_offset) / score.shape[-1]
    # Left, top, right and bottom as seen from the teacher's centre.
    sides = torch.cat([size / 2 - shift, size / 2 + shift], 1)
    wanted = torch.cat([goal_size / 2, goal_size / 2], 1)
    general, _ = giou(*(part.permute(0, 2, 3, 1).reshape(-1, 4) for part in (sides, wanted)))
    overlap = ((1.0 - general) * weight.reshape(-1)).sum()
    apart = ((sides - wanted).abs().sum(1, keepdim=True) * weight).sum()
    loss = SCORE_WEIGHT * found + SIDES_WEIGHT * apart + OVERLAP_WEIGHT * overlap
    return {"loss": loss, "cls": found.detach(), "sides": apart.detach(), "loc": overlap.detach()}


def proposal_maps(ours: Maps, theirs: Maps, present: Tensor) -> Parts:
    """Return the loss of probabilities [N, K, S, S] and boxes [N, 4 K, S, S], as the family writes them."""
    (score, boxes), (goal, wanted) = ([part.float() for part in pair] for pair in (ours, theirs))
    found, weight = _score_loss(score.clamp(1e-4, 1 - 1e-4), goal, present)
    n, copies, side, _ = score.shape
    boxes, wanted = (part.reshape(n, 4, copies, side, side) for part in (boxes, wanted))
    apart = F.smooth_l1_loss(boxes, wanted, reduction="none").sum(1)
    scale = (wanted.abs().mean() + 1e-3).detach()
    box = (apart * weight).sum() / scale
    return {"loss": SCORE_WEIGHT * found + box, "cls": found.detach(), "loc": box.detach()}


def score_map(ours: Maps, theirs: Maps, present: Tensor) -> Parts:
    """Return the loss of one map of logits [N, 1, S, S]."""
    goal = theirs[0].float().sigmoid() * present.reshape(-1, 1, 1, 1)
    return {"loss": F.binary_cross_entropy_with_logits(ours[0].float(), goal)}


def _score_loss(score: Tensor, goal: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
    """Return the loss of a score towards the teacher's, and how much the box of each cell counts, in all 1."""
    goal = goal * present.reshape(-1, 1, 1, 1)
    # torch's own binary cross entropy refuses to run under autocast on CUDA, whatever its inputs.
    cross = -(goal * score.log() + (1.0 - goal) * (1.0 - score).log())
    error = cross * (score - goal).detach().square()
    found = error.sum((1, 2, 3)).mean() / (goal.sum((1, 2, 3)).mean() + 1e-3)
    weight = goal * (goal > SEEN)
    return found, weight / (weight.sum() + 1e-3)
