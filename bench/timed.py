"""A tracker that doesn't say where its time goes, timed as a whole."""

from time import perf_counter

from ..engine.result import Box, Result, StageTimes
from ..video.source import Image
from .ope import OnePass


class Timed:
    """A tracker that doesn't say where its time goes: all of it counts as search."""

    def __init__(self, tracker: OnePass):
        self._tracker = tracker
        self.stages = StageTimes(0.0, 0.0, 0.0)

    def init(self, frame: Image, box: Box) -> None:
        """Take the target."""
        self._tracker.init(frame, box)

    def update(self, frame: Image) -> Result:
        """Return where the target is."""
        began = perf_counter()
        result = self._tracker.update(frame)
        self.stages = StageTimes(0.0, perf_counter() - began, 0.0)
        return result
