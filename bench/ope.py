"""One-pass evaluation: a tracker is given the box of the first frame and never helped again.

A sequence is a folder of images with `groundtruth.txt` beside them: x,y,w,h per frame, 0-indexed, nan where the target
is absent. The overlap is the mean intersection over union of the later frames that have a valid box.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..engine.tracker import Tracker
from ..errors import SourceError
from ..track import track

Boxes = NDArray[np.float64]
GROUNDTRUTH = "groundtruth.txt"


class Run(NamedTuple):
    """One tracker on one sequence."""

    name: str
    boxes: Boxes
    """[frames, 4] x, y, w, h; the first is the given one."""
    scores: NDArray[np.float64]
    overlaps: NDArray[np.float64]
    """[frames], nan where there is no valid ground truth, and in the first frame."""
    seconds: float
    """What tracking took, reading left out."""

    @property
    def mean_overlap(self) -> float:
        """Mean intersection over union."""
        return float(np.nanmean(self.overlaps))


def sequences(folder: Path) -> list[Path]:
    """Return the sequences in `folder`, sorted by name. Raises SourceError where there is none."""
    found = sorted(path.parent for path in folder.glob(f"*/{GROUNDTRUTH}"))
    if not found:
        raise SourceError(
            f"no sequence in {folder}: each is a folder of images with a {GROUNDTRUTH} of x,y,w,h per frame"
        )
    return found


def read_groundtruth(sequence: Path) -> Boxes:
    """Return the boxes [frames, 4] of a sequence; nan where the target is absent."""
    path = sequence / GROUNDTRUTH
    try:
        boxes = np.loadtxt(path, delimiter=",", ndmin=2)
    except (OSError, ValueError) as error:
        raise SourceError(f"{path} is not a list of x,y,w,h per frame: {error}") from None
    if boxes.shape[1] != 4:
        raise SourceError(f"{path} has {boxes.shape[1]} numbers a line, not x,y,w,h")
    return boxes


def overlap(a: Boxes, b: Boxes) -> NDArray[np.float64]:
    """Return the intersection over union of boxes x, y, w, h, [N, 4] each; nan where either is nan or has no area."""
    corner = np.minimum(a[:, :2] + a[:, 2:], b[:, :2] + b[:, 2:])
    shared = np.clip(corner - np.maximum(a[:, :2], b[:, :2]), 0, None).prod(axis=1)
    areas = a[:, 2:].prod(axis=1) + b[:, 2:].prod(axis=1)
    invalid = (a[:, 2:] <= 0).any(axis=1) | (b[:, 2:] <= 0).any(axis=1) | np.isnan(a + b).any(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(invalid, np.nan, shared / (areas - shared))


def run_sequence(tracker: Tracker, sequence: Path) -> Run:
    """Run `tracker` through `sequence`, from the first box of its ground truth."""
    truth = read_groundtruth(sequence)
    boxes, scores, seconds = [], [], 0.0
    for tracked in track(sequence, truth[0], tracker):
        boxes.append(tracked.result.box)
        scores.append(tracked.result.score)
        seconds += 0.0 if tracked.result.frame_index == 0 else tracked.result.time
    if len(boxes) != len(truth):
        raise SourceError(f"{sequence} has {len(boxes)} images and {len(truth)} lines of ground truth")
    overlaps = overlap(np.array(boxes), truth)
    overlaps[0] = np.nan
    return Run(sequence.name, np.array(boxes), np.array(scores), overlaps, seconds)


def run_folder(tracker: Tracker, folder: Path) -> Iterator[Run]:
    """Run `tracker` through every sequence of `folder`."""
    for sequence in sequences(folder):
        yield run_sequence(tracker, sequence)
