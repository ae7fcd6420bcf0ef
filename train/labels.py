"""What the cells of a map should say for a target at a known place: anchors, points, score maps."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..models.proposals import AnchorDecode, grid

POSITIVE, NEGATIVE, IGNORED = 1, 0, -1
MAX_POSITIVE = 16
TOTAL = 64
HIGH, LOW = 0.6, 0.3


def anchors(decode: AnchorDecode, side: int) -> NDArray[np.float32]:
    """Return the anchors of a decoder [K, side, side, 4] as cx, cy from the crop's middle, w, h, in crop pixels."""
    values = torch.stack([decode.x, decode.y, decode.w, decode.h], -1)
    return np.asarray(values.reshape(-1, side, side, 4).numpy(), np.float32)


def overlaps(anchor: NDArray[np.float32], target: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the intersection over union [...] of boxes cx, cy, w, h [..., 4] and one target [4]."""
    low = np.maximum(anchor[..., :2] - anchor[..., 2:] / 2, target[:2] - target[2:] / 2)
    high = np.minimum(anchor[..., :2] + anchor[..., 2:] / 2, target[:2] + target[2:] / 2)
    shared = np.clip(high - low, 0, None).prod(-1)
    return np.asarray(shared / (anchor[..., 2:].prod(-1) + target[2:].prod() - shared), np.float32)


def anchor_labels(
    anchor: NDArray[np.float32], target: NDArray[np.float32], rng: np.random.Generator, *, absent: bool = False
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
    """Return labels [K, S, S], deltas [4, K, S, S] and their weights [K, S, S] for one search crop.

    Positive from an overlap of 0.6 on, at most 16; negative below 0.3, 64 together; the rest is ignored. With `absent`,
    the target is of another crop: 16 negatives in the 7 x 7 cells around the place. Source: SiamRPN sec. 4.1;
    STVIR/pysot:pysot/datasets/anchor_target.py.
    """
    shape = anchor.shape[:3]
    labels = np.full(shape, IGNORED, np.int64)
    deltas = np.stack(
        [
            (target[0] - anchor[..., 0]) / anchor[..., 2],
            (target[1] - anchor[..., 1]) / anchor[..., 3],
            np.log(target[2] / anchor[..., 2]),
            np.log(target[3] / anchor[..., 3]),
        ]
    ).astype(np.float32)
    if absent:
        near = (np.abs(anchor[..., :2] - target[:2]) <= 3.5 * _stride(anchor)).all(-1)
        labels.flat[_pick(np.flatnonzero(near), MAX_POSITIVE, rng)] = NEGATIVE
        return labels, deltas, np.zeros(shape, np.float32)
    overlap = overlaps(anchor, target)
    positive = _pick(np.flatnonzero(overlap > HIGH), MAX_POSITIVE, rng)
    negative = _pick(np.flatnonzero(overlap < LOW), TOTAL - MAX_POSITIVE, rng)
    labels.flat[positive] = POSITIVE
    labels.flat[negative] = NEGATIVE
    weights = (labels == POSITIVE).astype(np.float32) / (len(positive) + 1e-6)
    return labels, deltas, weights.astype(np.float32)


def score_labels(side: int, stride: int, target: NDArray[np.float32], radius: float = 16.0) -> NDArray[np.int64]:
    """Return 1 within `radius` crop pixels (block distance) of the target, else 0 [S, S]. Source: SiamFC sec. 2.2."""
    x, y = (axis.reshape(side, side).numpy() for axis in grid(side, stride))
    inside = np.abs(x - target[0]) + np.abs(y - target[1]) <= radius
    return np.asarray(inside, np.int64)


def point_truth(side: int, stride: int, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distances left, top, right, bottom [N, 4, S, S] from each point to the box, and labels [N, S, S].

    `target` [N, 4]: cx, cy, w, h. Positive inside the ellipse of half-axes w/4, h/4 (at least the nearest points),
    negative outside w/2, h/2, else ignored. Source: HonglinChu/SiamTrackers:NanoTrack (labels).
    """
    x, y = (axis.to(target.device).reshape(1, side, side) for axis in grid(side, stride))
    cx, cy, w, h = (value.reshape(-1, 1, 1) for value in target.unbind(1))
    distances = torch.stack([x - cx + w / 2, y - cy + h / 2, cx + w / 2 - x, cy + h / 2 - y], 1)
    inner_w, inner_h = (w / 4).clamp(min=0.75 * stride), (h / 4).clamp(min=0.75 * stride)
    outer_w, outer_h = torch.maximum(w / 2, inner_w), torch.maximum(h / 2, inner_h)
    inside = ((x - cx) / inner_w).square() + ((y - cy) / inner_h).square() <= 1
    around = ((x - cx) / outer_w).square() + ((y - cy) / outer_h).square() <= 1
    labels = torch.where(inside, POSITIVE, torch.where(around, IGNORED, NEGATIVE))
    return distances, labels


def _pick(found: NDArray[np.int64], most: int, rng: np.random.Generator) -> NDArray[np.int64]:
    return found if len(found) <= most else rng.choice(found, most, replace=False)


def _stride(anchor: NDArray[np.float32]) -> float:
    return float(anchor[0, 0, 1, 0] - anchor[0, 0, 0, 0])
