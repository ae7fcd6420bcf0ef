"""The loss of every row of the registry, told by its maps and its family's step: nothing is named twice."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from ..models.lightfc import CentreStep
from ..models.network import SiameseNet
from ..models.proposals import AnchorDecode, ProposalStep
from ..models.row import Row
from ..models.scales import ScaleStep
from .centre import centre_loss
from .labels import IGNORED, POSITIVE, anchor_labels, anchors, point_truth, score_labels
from .light import maps_loss
from .losses import balanced_cross_entropy, balanced_logistic, giou, weighted_smooth_l1
from .pairs import PairBatch, pixels

LOC_WEIGHT = 1.2
"""Source: STVIR/pysot (LOC_WEIGHT 1.2, CLS_WEIGHT 1)."""

Parts = dict[str, Tensor]


def family_loss(row: Row) -> Callable[[SiameseNet, PairBatch], Parts]:
    """Return the loss of `row` on image pairs: anchors, points, score maps, centres, or quality and box."""
    steps: dict[tuple[int, int], nn.Module] = {}

    def loss(net: SiameseNet, batch: PairBatch) -> Parts:
        device = next(net.parameters()).device
        z, x = (pixels(crops, row.channels, device) for crops in (batch.z, batch.x))
        kernels = net.kernels(z, batch.size.to(device))
        maps = dict(zip(net.map_names, net.search(x, *kernels), strict=True))
        side = next(iter(maps.values())).shape[-1]
        key = (side, x.shape[-1])
        step = steps.setdefault(key, row.step(*key))
        if isinstance(step, CentreStep):
            return centre_loss(maps.values(), batch.target.to(device), batch.present.to(device), x.shape[-1])
        if "score" in maps:
            return _score(maps["score"], batch, step)
        if "cos" in maps:
            return maps_loss(maps["cls"], maps["loc"], batch.target.to(device), batch.present.to(device))
        assert isinstance(step, ProposalStep)
        cls, loc = maps.values()
        if isinstance(step.decode, AnchorDecode):
            return _anchors(cls, loc, batch, step.decode)
        return _points(cls, loc, batch, step)

    return loss


def _score(score: Tensor, batch: PairBatch, step: nn.Module) -> Parts:
    assert isinstance(step, ScaleStep)
    side = score.shape[-1]
    stride = round(step.pixels * step.fine / side)
    labels = np.stack([score_labels(side, stride, target) for target in batch.target.numpy()])
    labels[~batch.present.numpy()] = 0
    loss = balanced_logistic(score[:, 0], torch.from_numpy(labels).to(score.device))
    return {"loss": loss}


def _anchors(cls: Tensor, loc: Tensor, batch: PairBatch, decode: AnchorDecode) -> Parts:
    rng = np.random.default_rng(batch.seed)
    side, count = cls.shape[-1], decode.copies
    grid = anchors(decode, side)
    found = [
        anchor_labels(grid, target, rng, absent=not present)
        for target, present in zip(batch.target.numpy(), batch.present.tolist(), strict=True)
    ]
    labels, deltas, weights = (torch.from_numpy(np.stack(part)).to(cls.device) for part in zip(*found, strict=True))
    logits = _pairs(cls, count)
    classes = balanced_cross_entropy(logits, labels.reshape(-1))
    box = weighted_smooth_l1(loc.reshape(len(loc), 4, count, side, side), deltas, weights)
    return {"loss": classes + LOC_WEIGHT * box, "cls": classes.detach(), "loc": box.detach()}


def _points(cls: Tensor, loc: Tensor, batch: PairBatch, step: ProposalStep) -> Parts:
    side = cls.shape[-1]
    x = step.decode.x
    truth, labels = point_truth(side, round(float(x[1] - x[0])), batch.target.to(cls.device))
    labels[~batch.present.to(cls.device)] = 0
    generator = np.random.default_rng(batch.seed)
    labels = _at_most(labels, generator)
    positive = labels == POSITIVE
    classes = balanced_cross_entropy(_pairs(cls, 1), labels.reshape(-1))
    ours, theirs = (maps.permute(0, 2, 3, 1)[positive] for maps in (loc, truth))
    _, overlap = giou(ours, theirs)
    box = (1.0 - overlap).mean() if len(overlap) else loc.sum() * 0.0
    return {"loss": classes + box, "cls": classes.detach(), "loc": box.detach()}


def _pairs(cls: Tensor, count: int) -> Tensor:
    """Return logits [M, 2], background before target, in the order sample, anchor, row, column."""
    if cls.shape[1] == count:
        flat = cls.reshape(-1)
        return torch.stack([torch.zeros_like(flat), flat], 1)
    return cls.reshape(len(cls), 2, -1).transpose(1, 2).reshape(-1, 2)


def _at_most(labels: Tensor, rng: np.random.Generator) -> Tensor:
    """Keep at most 16 positives and 48 negatives a pair; the rest is ignored."""
    kept = torch.full_like(labels, IGNORED)
    for number, one in enumerate(labels):
        for value, most in ((POSITIVE, 16), (0, 48)):
            found = np.flatnonzero(one.cpu().numpy() == value)
            chosen = found if len(found) <= most else rng.choice(found, most, replace=False)
            kept[number].view(-1)[torch.from_numpy(chosen).to(labels.device)] = value
    return kept
