"""The loss of networks that find a target's centre in a map and read its size there: LightFC.

Source: LiYunfengLYF/LightFC:lib/train/actors (its terms and their weights, but for its overlap, WIoU, which is GIoU
here); the focal loss and its Gaussians are CornerNet's (Law and Deng, ECCV 2018, sec. 3.2), narrower where the target
is small.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from .losses import giou

SCORE_WEIGHT, SIDES_WEIGHT, OVERLAP_WEIGHT = 1.0, 5.0, 2.0
SPREAD = 1 / 6
"""Standard deviation of a target's Gaussian as a share of its shorter side, half a cell at least."""


def centre_loss(maps: Iterable[Tensor], target: Tensor, present: Tensor, search_size: int) -> dict[str, Tensor]:
    """Return the loss of maps score [N, 1, S, S], sizes [N, 2, S, S] and offset [N, 2, S, S], as LightFC gives them.

    target: [N, 4], cx, cy from the middle of the search crop of `search_size`, w, h; present: [N], whether it is there.
    The box is judged in the cell that holds the true centre.
    """
    score, sizes, offset = maps
    side = score.shape[-1]
    stride = search_size / side
    place = target[:, :2] / stride + side / 2
    cell = place.floor().clamp(0, side - 1)
    heat = _heat(cell, target[:, 2:] / stride, side) * present.reshape(-1, 1, 1)
    classes = focal(score[:, 0], heat)
    index = (cell[:, 1] * side + cell[:, 0]).long().reshape(-1, 1, 1).expand(-1, 2, 1)
    size, shift = (maps.flatten(2).gather(2, index)[present, :, 0] for maps in (sizes, offset))
    centre, wanted = (cell[present] + shift - side / 2) * stride, target[present]
    ours = torch.cat([size * search_size / 2 - centre, size * search_size / 2 + centre], 1)
    theirs = torch.cat([wanted[:, 2:] / 2 - wanted[:, :2], wanted[:, 2:] / 2 + wanted[:, :2]], 1)
    general, _ = giou(ours, theirs)
    count = max(1, len(wanted))
    overlap, sides = (1.0 - general).sum() / count, (ours - theirs).abs().sum() / (4 * count * search_size)
    loss = SCORE_WEIGHT * classes + OVERLAP_WEIGHT * overlap + SIDES_WEIGHT * sides
    return {"loss": loss, "cls": classes.detach(), "loc": overlap.detach()}


def focal(score: Tensor, heat: Tensor) -> Tensor:
    """Return the focal loss of `score` towards `heat`, both [N, S, S] and 0..1: a cell of heat 1 is positive, the
    others are negative, less so the warmer they are. Divided by the number of positives."""
    positive = heat == 1
    right = (1 - score).square() * score.clamp(min=1e-6).log() * positive
    wrong = (1 - heat) ** 4 * score.square() * (1 - score).clamp(min=1e-6).log() * ~positive
    return -(right + wrong).sum() / positive.sum().clamp(min=1)


def _heat(cell: Tensor, size: Tensor, side: int) -> Tensor:
    """Return Gaussians [N, S, S] around `cell` [N, 2], 1 there, of targets of `size` [N, 2], both in cells."""
    steps = torch.arange(side, dtype=torch.float32, device=cell.device)
    x, y = (axis.reshape(-1, 1) - steps for axis in cell.unbind(1))
    spread = (size.amin(1) * SPREAD).clamp(min=0.5).reshape(-1, 1, 1)
    distance = y.square()[:, :, None] + x.square()[:, None, :]
    return torch.exp(-distance / (2 * spread.square()))
