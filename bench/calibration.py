"""Fits the probability that a box is on the target to a bundle's scores on annotated video.

Data sets hold few frames without their target, so every sequence is run twice: as it is, and with the target painted
over, for two spans of frames, by a piece of the same frame.
"""

from collections.abc import Sequence as Many
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..engine.confidence import STEEPEST, Calibration, running_mean
from ..engine.tracker import Tracker
from ..errors import UsageError
from ..video.source import Image
from .datasets.sequence import Sequence
from .metrics import overlap
from .ope import first_box, images

ON_TARGET = 0.3
"""Overlap from which a box counts as on the target."""
LOW, HIGH = 0.25, 0.5
"""Probabilities below which a target is lost, and above which it is found again."""
COVERED_AT = (0.4, 0.8)
"""Where in a sequence the two covered spans begin, as shares of it,"""
COVERED_FRAMES = 12
"""and how many frames each is long."""
PATCHES = 20
PATCH_FRAMES = 4
"""A cover keeps its place for so many frames."""
RIDGE = 1e-2
STEPS = 100
FEWEST = 30
"""Frames of either kind that a fit needs."""
BINS = 10

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Observed:
    """One run: what the tracker said of each frame after the first, and how it was."""

    name: str
    scores: Array
    recents: Array
    """Running mean of the scores, as the engine keeps it."""
    overlaps: Array
    """0 where the target is absent or covered."""
    gone: NDArray[np.bool_]
    """True where it is."""

    @property
    def on_target(self) -> Array:
        """1 where the box counts as on the target, 0 elsewhere."""
        return (self.overlaps >= ON_TARGET).astype(float)


class Bin(NamedTuple):
    """Frames whose probability lies in one tenth of the scale."""

    probability: float
    on_target: float
    frames: int


class Fitted(NamedTuple):
    """A calibration, and what it says of frames that the fit had not seen."""

    calibration: Calibration
    probabilities: Array
    on_target: Array
    gone: NDArray[np.bool_]

    def reliability(self) -> list[Bin]:
        """Return, per tenth that has frames, the mean probability and the share of frames on the target."""
        tenth = np.minimum((self.probabilities * BINS).astype(int), BINS - 1)
        masks = [tenth == number for number in range(BINS)]
        return [
            Bin(float(self.probabilities[mask].mean()), float(self.on_target[mask].mean()), int(mask.sum()))
            for mask in masks
            if mask.any()
        ]


def observe(tracker: Tracker, sequence: Sequence, *, covered: bool) -> Observed:
    """Run `tracker` through `sequence`, with the target painted over for two spans where `covered` says so."""
    count = len(sequence.images)
    spans = [range(int(at * count), int(at * count) + COVERED_FRAMES) for at in COVERED_AT] if covered else []
    visible = sequence.visible.copy()
    scores, recents, boxes, recent = [], [], [], None
    for number, image in enumerate(images(sequence)):
        if number == 0:
            tracker.init(image, first_box(sequence))
            continue
        if visible[number] and any(number in span for span in spans):
            image = cover(image, sequence.groundtruth[number], number // PATCH_FRAMES)
            visible[number] = False
        result = tracker.update(image)
        score = result.score if np.isfinite(result.score) else 0.0
        recent = running_mean(recent, score)
        scores.append(score)
        recents.append(recent)
        boxes.append(result.box)
    gone = ~visible[1:]
    overlaps = np.where(gone, 0.0, np.nan_to_num(overlap(np.array(boxes, float), sequence.groundtruth[1:])))
    return Observed(sequence.name, np.array(scores), np.array(recents), overlaps, gone)


def cover(image: Image, box: Array, seed: int) -> Image:
    """Return `image` with `box` painted over by a piece of it that lies as near as can be without touching the box."""
    covered = np.array(image, np.uint8)
    height, width = image.shape[:2]
    x0, y0 = (int(max(0, value - 2)) for value in box[:2])
    x1, y1 = int(min(width, box[0] + box[2] + 2)), int(min(height, box[1] + box[3] + 2))
    w, h = x1 - x0, y1 - y0
    if w < 1 or h < 1:
        return covered
    random = np.random.default_rng(seed)
    corners = random.integers(0, (max(1, width - w), max(1, height - h)), (PATCHES, 2))
    apart = np.maximum(np.abs(corners[:, 0] - x0) / w, np.abs(corners[:, 1] - y0) / h)
    apart[apart <= 1] = np.inf
    nearest = int(apart.argmin())
    if np.isfinite(apart[nearest]):
        x, y = corners[nearest]
        covered[y0:y1, x0:x1] = image[y : y + h, x : x + w]
    else:
        covered[y0:y1, x0:x1] = image.mean((0, 1)).astype(np.uint8)
    return covered


def calibrate(runs: Many[Observed], data: str) -> Fitted:
    """Return the calibration that fits `runs`, measured by leaving out one sequence after the other.

    Raises UsageError: one sequence only, or hardly a frame on the target, or hardly one off it.
    """
    names = sorted({run.name for run in runs})
    on_target = np.concatenate([run.on_target for run in runs]) if runs else np.zeros(0)
    if len(names) < 2 or min(on_target.sum(), (1 - on_target).sum()) < FEWEST:
        raise UsageError(
            f"a calibration needs two sequences or more, and {FEWEST} frames on the target and off it: these have "
            f"{len(names)}, {on_target.sum():g} and {(1 - on_target).sum():g}; name more of them"
        )
    seen, said, gone = [], [], []
    for name in names:
        held_out = [run for run in runs if run.name == name]
        weights = _fit([run for run in runs if run.name != name])
        said += [_probabilities(weights, run) for run in held_out]
        seen += [run.on_target for run in held_out]
        gone += [run.gone for run in held_out]
    probabilities, truth, absent = np.concatenate(said), np.concatenate(seen), np.concatenate(gone)
    either = absent | (truth == 1)
    bias, score, recent = _fit(runs)
    measured = {
        "frames": float(truth.size),
        "on_target": float(truth.mean()),
        "roc_area": roc_area(probabilities, truth),
        "roc_area_gone": roc_area(probabilities[either], truth[either]) if absent.any() else float("nan"),
        "brier": float(((probabilities - truth) ** 2).mean()),
    }
    calibration = Calibration(
        bias=bias,
        score=score,
        recent=recent,
        low=LOW,
        high=HIGH,
        data=data,
        measured={name: round(value, 6) for name, value in measured.items() if np.isfinite(value)},
    )
    return Fitted(calibration, probabilities, truth, absent)


def roc_area(scores: Array, positive: Array) -> float:
    """Return the area under the ROC curve: how often a positive's score is above a negative's; ties count half."""
    order = np.argsort(scores, kind="stable")
    ranks = np.empty(scores.size)
    ranks[order] = np.arange(1, scores.size + 1)
    _, group, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.bincount(group, ranks) / counts)[group]
    positives = positive.sum()
    negatives = scores.size - positives
    return float((ranks[positive == 1].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def _probabilities(weights: tuple[float, float, float], run: Observed) -> Array:
    bias, score, recent = weights
    return 1 / (1 + np.exp(-np.clip(bias + score * run.scores + recent * run.recents, -STEEPEST, STEEPEST)))


def _fit(runs: Many[Observed]) -> tuple[float, float, float]:
    """Return bias and the weights of score and running mean, none below zero: a higher score never means less."""
    y = np.concatenate([run.on_target for run in runs])
    if y.min() == y.max():  # what a fold leaves over may be all on the target, or all off it: then any score means that
        return float(np.log((y.sum() + 1) / (len(y) - y.sum() + 1))), 0.0, 0.0
    columns = np.stack([np.concatenate([getattr(run, name) for run in runs]) for name in ("scores", "recents")], 1)
    mean, spread = columns.mean(0), columns.std(0) + 1e-9
    used = [0, 1]
    weights = np.zeros(2)
    while used:
        bias, found = _logistic((columns[:, used] - mean[used]) / spread[used], y)
        if (found >= 0).all():
            weights[used] = found / spread[used]
            return float(bias - weights @ mean), float(weights[0]), float(weights[1])
        used = [column for column, weight in zip(used, found, strict=True) if weight > 0]
    raise UsageError("the scores of this bundle say nothing about where its target is: it can't be calibrated")


def _logistic(x: Array, y: Array) -> tuple[float, Array]:
    """Return bias and weights of a logistic regression of `y` [N] on `x` [N, K], by Newton's steps."""
    x = np.column_stack([np.ones(len(x)), x])
    weights, ridge = np.zeros(x.shape[1]), np.diag([0.0, *[RIDGE] * (x.shape[1] - 1)])
    for _ in range(STEPS):
        p = 1 / (1 + np.exp(-np.clip(x @ weights, -STEEPEST, STEEPEST)))
        step = np.linalg.solve(
            (x * (p * (1 - p))[:, None]).T @ x + ridge + 1e-9 * np.eye(x.shape[1]), x.T @ (p - y) + ridge @ weights
        )
        weights -= step
        if np.abs(step).max() < 1e-9:
            break
    return float(weights[0]), weights[1:]
