"""Accuracy of boxes against ground truth: overlaps, centre errors, their curves, and figures with intervals.

Boxes are [N, 4] x, y, w, h throughout. Formulas: OTB (Wu et al., PAMI 2015), TrackingNet (normalised precision),
GOT-10k (AO, SR); details that differ between tools are in `conventions`.
"""

from collections.abc import Sequence as Many
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import SourceError
from .conventions import Convention
from .datasets.sequence import Boxes, Sequence

Array = NDArray[np.float64]

OVERLAPS = np.linspace(0, 1, 21)
"""Thresholds of the success curve."""
PIXELS = np.arange(51)
"""Thresholds of the precision curve, in pixels."""
SHARES = np.linspace(0, 0.5, 51)
"""Thresholds of the normalised precision curve, in sizes of the target."""
AT_PIXELS = 20
RESAMPLES = 2000
INTERVAL = (2.5, 97.5)


def overlap(a: Boxes, b: Boxes) -> Array:
    """Return the intersection over union of boxes, [N]; nan where either is nan or has no area."""
    invalid = (a[:, 2:] <= 0).any(axis=1) | (b[:, 2:] <= 0).any(axis=1) | np.isnan(a + b).any(axis=1)
    return np.where(invalid, np.nan, _iou(a, b))


def _iou(a: Boxes, b: Boxes) -> Array:
    with np.errstate(invalid="ignore", divide="ignore"):
        corner = np.minimum(a[:, :2] + a[:, 2:], b[:, :2] + b[:, 2:])
        shared = np.clip(corner - np.maximum(a[:, :2], b[:, :2]), 0, None).prod(axis=1)
        union = a[:, 2:].prod(axis=1) + b[:, 2:].prod(axis=1) - shared
        found: Array = np.clip(shared / (union + np.finfo(float).eps), 0, 1)
    return found


def clipped(boxes: Boxes, frame_wh: tuple[int, int]) -> Boxes:
    """Return the parts of boxes that lie in an image of `frame_wh`, as got10k cuts them: x, y first, then w, h."""
    corner = np.clip(boxes[:, :2], 0, frame_wh)
    return np.concatenate([corner, np.clip(boxes[:, 2:], 0, np.array(frame_wh) - corner)], axis=1)


class Frames(NamedTuple):
    """What counts of one sequence, frame by frame."""

    overlaps: Array
    """[K] 0 to 1; -1 fails at every threshold."""
    errors: Array
    """[K] pixels between the centres; -1 succeeds at every threshold."""
    shares: Array
    """[K] the same, divided by the target's width and height."""
    total: int
    """What the curves are divided by: K, or more where frames are lost."""
    numbers: NDArray[np.intp]
    """[K] which frames of the sequence they are."""


def compare(boxes: Boxes, sequence: Sequence, rule: Convention, frame_wh: tuple[int, int]) -> Frames:
    """Return what counts under `rule` when `boxes` [frames, 4] are the answer to `sequence`."""
    truth = sequence.groundtruth
    if len(boxes) != len(truth):
        raise SourceError(f"{sequence.name}: {len(boxes)} boxes of the tracker for {len(truth)} images")
    boxes = boxes.copy()
    if rule.first == "annotation":
        boxes[0] = truth[0]
    counted = np.ones(len(truth), bool)
    if rule.first == "out":
        counted[0] = False
    if rule.unannotated == "out":
        counted &= np.isfinite(truth).all(axis=1)
    total = int(counted.sum())
    if rule.hidden != "count" and sequence.hidden is not None:
        counted &= ~sequence.hidden
        total = total if rule.hidden == "miss" else int(counted.sum())
    boxes, truth = boxes[counted], truth[counted]
    a, b = (clipped(boxes, frame_wh), clipped(truth, frame_wh)) if rule.clip else (boxes, truth)
    overlaps = np.nan_to_num(_iou(a, b), nan=0.0)
    offset = (boxes[:, :2] + boxes[:, 2:] / 2) - (truth[:, :2] + truth[:, 2:] / 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        errors = np.hypot(*offset.T)
        shares = np.hypot(*(offset / np.maximum(truth[:, 2:], rule.floor or 1e-16)).T)
    errors, shares = (np.nan_to_num(values, nan=np.inf, posinf=np.inf) for values in (errors, shares))
    if rule.lenient:
        with np.errstate(invalid="ignore"):
            overlaps[~(truth[:, 2:] > 0).all(axis=1)] = -1
            without = ~(truth[:, :2] + (truth[:, 2:] - 1) / 2 > 0).all(axis=1)
        errors[without] = shares[without] = -1
    return Frames(overlaps, errors, shares, total, np.flatnonzero(counted))


@dataclass(frozen=True, eq=False)
class Score:
    """The figures of one sequence, or the mean of many."""

    success: Array
    """[21] share of the frames whose overlap is above each of OVERLAPS."""
    precision: Array
    """[51] share of the frames whose centre is at most PIXELS off."""
    norm_precision: Array
    """[51] share of the frames whose centre is at most SHARES of the target's size off."""
    figures: dict[str, float]
    """`auc`, `precision`, `norm_precision`, `ao`, `sr50`, `sr75`: 0 to 1."""
    weight: float
    """How much it counts in a mean: 1, or its frames."""


FIGURES = ("auc", "precision", "norm_precision", "ao", "sr50", "sr75")


def score(frames: Frames, rule: Convention) -> Score | None:
    """Return the figures of one sequence; None where no frame of it counts."""
    total = frames.total
    if not total:
        return None
    success = (frames.overlaps[:, None] > OVERLAPS).sum(axis=0) / total
    precision = (frames.errors[:, None] <= PIXELS).sum(axis=0) / total
    norm = (frames.shares[:, None] <= SHARES).sum(axis=0) / total
    figures = {
        "auc": success.mean(),
        "precision": precision[AT_PIXELS],
        "norm_precision": norm.mean() if rule.norm_at is None else norm[np.searchsorted(SHARES, rule.norm_at - 1e-9)],
        "ao": np.maximum(frames.overlaps, 0).sum() / total,
        "sr50": (frames.overlaps > 0.5).sum() / total,
        "sr75": (frames.overlaps > 0.75).sum() / total,
    }
    weight = 1 if rule.weight == "sequence" else total
    return Score(success, precision, norm, {name: float(figures[name]) for name in FIGURES}, weight)


def mean_score(scores: Many[Score]) -> Score:
    """Return the weighted mean of sequences' scores; at least one is needed."""
    weights = np.array([one.weight for one in scores])
    success, precision, norm = (
        np.average([getattr(one, name) for one in scores], axis=0, weights=weights)
        for name in ("success", "precision", "norm_precision")
    )
    figures = {name: float(np.average([one.figures[name] for one in scores], weights=weights)) for name in FIGURES}
    return Score(success, precision, norm, figures, float(weights.sum()))


def intervals(scores: Many[Score], seed: int = 0) -> dict[str, tuple[float, float]]:
    """Return for each figure the 95 % interval of its mean: percentiles of RESAMPLES bootstrap samples of sequences."""
    weights = np.array([one.weight for one in scores])
    return {name: interval(np.array([one.figures[name] for one in scores]), weights, seed) for name in FIGURES}


def interval(values: Array, weights: Array, seed: int = 0) -> tuple[float, float]:
    """Return the 95 % interval of the weighted mean of `values` [N], which has a value for each sequence."""
    count = len(values)
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), RESAMPLES) * weights
    low, high = np.percentile(drawn @ values / drawn.sum(axis=1), INTERVAL)
    return float(low), float(high)
