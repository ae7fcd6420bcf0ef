"""Losses of the families: what is minimised, on maps as the networks give them."""

import torch
import torch.nn.functional as F
from torch import Tensor


def quality_focal(logits: Tensor, quality: Tensor, weight: Tensor) -> Tensor:
    """Return the focal loss towards a soft target: `quality` in 0..1, `weight` of each cell, all [N, ...].

    Summed over cells, divided by the sum of the qualities' cells (at least 1 a pair).
    Source: generalised focal loss, eq. 3 (beta 2).
    """
    predicted = logits.sigmoid()
    cross = F.binary_cross_entropy_with_logits(logits, quality, reduction="none")
    loss = (predicted - quality).square() * cross * weight
    return loss.sum() / (quality > 0).sum().clamp(min=logits.shape[0])


def giou(distances: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Return generalised overlap and overlap [M] of boxes given as left, top, right, bottom [M, 4] from one point.

    Distances of the truth may be negative: the point need not lie in the box. Source: GIoU, algorithm 1.
    """
    ours, theirs = distances, truth
    shared = (torch.minimum(ours[:, :2], theirs[:, :2]) + torch.minimum(ours[:, 2:], theirs[:, 2:])).clamp(min=0)
    hull = torch.maximum(ours[:, :2], theirs[:, :2]) + torch.maximum(ours[:, 2:], theirs[:, 2:])
    inter = shared.prod(1)
    union = (ours[:, :2] + ours[:, 2:]).prod(1) + (theirs[:, :2] + theirs[:, 2:]).prod(1) - inter
    overlap = inter / union.clamp(min=1e-6)
    area = hull.prod(1).clamp(min=1e-6)
    return overlap - (area - union) / area, overlap


def balanced_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return half the mean loss of positives (1) and half that of negatives (0); -1 is left out.

    logits: [M, 2], background before target. Source: STVIR/pysot:pysot/models/loss.py.
    """
    loss = F.cross_entropy(logits, labels.clamp(min=0), reduction="none")
    positive, negative = (labels == 1).float(), (labels == 0).float()
    return 0.5 * (loss * positive).sum() / positive.sum().clamp(min=1) + 0.5 * (
        loss * negative
    ).sum() / negative.sum().clamp(min=1)


def weighted_smooth_l1(deltas: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """Return the smooth L1 loss of `deltas` [N, 4, ...], summed with `weight` [N, ...], by pair. Source: SiamRPN."""
    loss = F.smooth_l1_loss(deltas, truth, reduction="none").sum(1)
    return (loss * weight).sum() / deltas.shape[0]


def balanced_logistic(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the logistic loss of score maps, positives and negatives weighing half each. Source: SiamFC sec. 2.2."""
    positive, negative = (labels == 1).float(), (labels == 0).float()
    loss = F.binary_cross_entropy_with_logits(logits, positive, reduction="none")
    weight = 0.5 * positive / positive.sum().clamp(min=1) + 0.5 * negative / negative.sum().clamp(min=1)
    return (loss * weight).sum()
