"""Several targets of one bundle as one thing to measure."""

import numpy as np

from ..engine.boxes import MIN_SIZE
from ..engine.multi import MultiTracker
from ..engine.result import Box, Result, StageTimes
from ..engine.tracker import Tracker
from ..video.source import Image

SHARE = 0.12
"""Of the frame's shorter side: the boxes that many targets begin in."""


class Crowd:
    """`count` targets of one bundle, spread over the frame, as one thing to measure."""

    def __init__(self, tracker: Tracker, count: int, threads: int):
        self._count = count
        # Once: another one has memory, and on a GPU captured graphs, that are its own.
        self._crowd = MultiTracker(tracker, threads=threads)
        self.stages = StageTimes(0.0, 0.0, 0.0)

    def init(self, frame: Image, box: Box) -> None:
        """Begin anew: the first target in `box`, the others on a grid."""
        for target in self._crowd.ids:
            self._crowd.remove(target)
        self._crowd.add(frame, box)
        for other in grid_boxes(frame.shape[:2], self._count - 1):
            self._crowd.add(frame, other)

    def update(self, frame: Image) -> Result:
        """Track all; return the first one's result."""
        results = self._crowd.update(frame)
        self.stages = self._crowd.stages
        return next(iter(results.values()))


def grid_boxes(shape_hw: tuple[int, ...], count: int) -> list[Box]:
    """Return `count` boxes of SHARE of the shorter side, evenly spread over a frame of `shape_hw`."""
    if count < 1:
        return []
    height, width = shape_hw[:2]
    side = max(SHARE * min(height, width), MIN_SIZE)
    columns = int(np.ceil(np.sqrt(count * width / height)))
    rows = int(np.ceil(count / columns))
    xs, ys = np.linspace(0, width - side, columns), np.linspace(0, height - side, rows)
    return [(float(x), float(y), side, side) for y in ys for x in xs][:count]
