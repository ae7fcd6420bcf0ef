"""One-pass evaluation: a tracker is given the box of the first frame and never helped again."""

from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ..engine.result import Box, Result
from ..errors import SourceError
from ..video.images import read_image
from ..video.source import Image
from .datasets import folder as plain
from .datasets.sequence import Boxes, Sequence
from .datasets.text import read_boxes
from .metrics import overlap

GROUNDTRUTH = plain.GROUNDTRUTH

__all__ = [
    "GROUNDTRUTH",
    "OnePass",
    "Run",
    "images",
    "overlap",
    "read_groundtruth",
    "run",
    "run_folder",
    "run_sequence",
    "sequences",
]


class OnePass(Protocol):
    """What is evaluated: `Tracker`, or a peer behind the same two calls."""

    def init(self, frame: Image, box: Box) -> None:
        """Take `box` in `frame` as the target."""

    def update(self, frame: Image) -> Result:
        """Return where the target is in `frame`; of a result only `box` and `score` are read."""


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
    times: NDArray[np.float64]
    """[frames] the same of each frame; 0 where the tracker was not asked."""
    frame_wh: tuple[int, int]

    @property
    def mean_overlap(self) -> float:
        """Mean intersection over union."""
        return float(np.nanmean(self.overlaps))


def images(sequence: Sequence) -> Iterator[Image]:
    """Yield the images of a sequence. Raises SourceError at one that is missing, damaged or of another size."""
    size = None
    for number, path in enumerate(sequence.images):
        image = read_image(path, number)
        size = size or image.shape
        if image.shape != size:
            raise SourceError(
                f"{path} (frame {number}) is {image.shape[1]}x{image.shape[0]}, the images before it are "
                f"{size[1]}x{size[0]}: a sequence has images of one size"
            )
        yield image


def first_box(sequence: Sequence) -> Box:
    """Return the box that tracking starts from."""
    x, y, w, h = sequence.groundtruth[0].tolist()
    return x, y, w, h


def run(tracker: OnePass, sequence: Sequence) -> Run:
    """Run `tracker` through `sequence`, from the first box of its ground truth."""
    boxes, scores, times, frame_wh = [first_box(sequence)], [1.0], [0.0], (0, 0)
    for number, image in enumerate(images(sequence)):
        if number == 0:
            frame_wh = (image.shape[1], image.shape[0])
            tracker.init(image, boxes[0])
            continue
        began = perf_counter()
        result = tracker.update(image)
        times.append(perf_counter() - began)
        boxes.append(result.box)
        scores.append(result.score)
    return as_run(sequence, boxes, scores, times, frame_wh)


def as_run(
    sequence: Sequence, boxes: list[Box], scores: list[float], times: list[float], frame_wh: tuple[int, int]
) -> Run:
    """Return the run that these boxes, scores and seconds of all frames make."""
    overlaps = overlap(np.array(boxes, float), sequence.groundtruth)
    overlaps[0] = np.nan
    overlaps[~sequence.visible] = np.nan
    return Run(sequence.name, np.array(boxes, float), np.array(scores), overlaps, sum(times), np.array(times), frame_wh)


def read_groundtruth(sequence: Path) -> Boxes:
    """Return the boxes [frames, 4] of the folder `sequence`; nan where the target is absent."""
    return read_boxes(sequence / GROUNDTRUTH)


def sequences(folder: Path) -> list[Path]:
    """Return the sequences in `folder`, sorted by name. Raises SourceError where there is none."""
    found = sorted(path.parent for path in folder.glob(f"*/{GROUNDTRUTH}"))
    if not found:
        raise SourceError(
            f"no sequence in {folder}: each is a folder of images with a {GROUNDTRUTH} of x,y,w,h per frame"
        )
    return found


def run_sequence(tracker: OnePass, sequence: Path) -> Run:
    """Run `tracker` through the folder `sequence`: images with a ground truth beside them."""
    return run(tracker, plain.read(sequence))


def run_folder(tracker: OnePass, folder: Path) -> Iterator[Run]:
    """Run `tracker` through every sequence of `folder`."""
    for sequence in sequences(folder):
        yield run_sequence(tracker, sequence)
