"""The clip that a measurement runs on: frames decoded before the first one is timed, and the target's box."""

from collections.abc import Iterator
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from ..engine.result import Box
from ..errors import SourceError, UsageError
from ..video.source import Image, open_source
from ..weights.clips import sample
from .datasets.folder import GROUNDTRUTH
from .datasets.text import read_boxes

LEAST_FRAMES = 3


class Clip(NamedTuple):
    """Decoded frames, and the target's box in the first."""

    name: str
    frames: list[Image]
    box: Box
    truth: NDArray[np.float64] | None = None
    """[frames, 4] x, y, w, h where a ground truth is known, nan where the target is absent."""


def read_clip(video: str | Path, box: Box | None = None, *, start: int = 0, frames: int = 60) -> Clip:
    """Return the frame `start` of `video`, where the target is in `box`, and at most `frames` frames after it.

    A folder with a groundtruth.txt brings its boxes: `box` is None then, or replaces the first. Raises SourceError
    where there are too few frames to measure anything, UsageError where no box is known.
    """
    with open_source(video) as source:
        images = list(islice((frame.image for frame in source if frame.index >= start), frames + 1))
        name = source.name
    if len(images) < LEAST_FRAMES:
        raise SourceError(f"{name} has {len(images)} frames from number {start} on: {LEAST_FRAMES} are the least")
    boxes = Path(video) / GROUNDTRUTH
    truth = read_boxes(boxes)[start : start + len(images)] if boxes.is_file() else None
    if truth is not None and len(truth) != len(images):
        truth = None
    if box is None:
        if truth is None or not np.isfinite(truth[0]).all():
            raise UsageError("no target: give its box in the first frame as --init x,y,w,h")
        x, y, w, h = truth[0].tolist()
        box = (x, y, w, h)
    return Clip(name, images, box, truth)


def sample_clip(frames: int) -> Clip:
    """Return the sample that ships, from its box on, and at most `frames` frames after it. Raises SourceError.

    Without PyAV, which a bare checkout may lack, OpenCV decodes it, to the same pixels.
    """
    shipped = sample()
    start = shipped.init_frame
    if find_spec("av") is not None:
        images = read_clip(shipped.video, shipped.init_box, start=start, frames=frames).frames
    else:
        images = list(islice(_by_opencv(shipped.video), start, start + frames + 1))
    if len(images) < LEAST_FRAMES:
        raise SourceError(f"OpenCV decodes {len(images)} frames of {shipped.video}: install PyAV (pip install av)")
    return Clip(f"sample {shipped.name}", images, shipped.init_box)


def _by_opencv(video: Path) -> Iterator[Image]:
    capture = cv2.VideoCapture(str(video))
    try:
        while True:
            there, image = capture.read()
            if not there:
                return
            yield np.asarray(image, np.uint8)
    finally:
        capture.release()
