"""What a tracker asks its network, and what it is told: one search region, and what was found in it."""

from collections.abc import Generator
from math import isfinite, nan
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .backends.base import SearchOutput
from .result import Result
from .state import State
from .target import Target

Point = tuple[float, float]


class Ask(NamedTuple):
    """A region to search."""

    state: State
    """Whose kernels and fill are used."""
    target: Target
    """Whose size is looked for."""
    centre: Point
    """Of the region, in frame pixels."""
    graph: int
    """Number of the search graph."""
    params: NDArray[np.float32]


class Look(NamedTuple):
    """What the search graph found around one place of the frame."""

    centre: Point
    """Of the region that was cut, in frame pixels."""
    moved: tuple[float, float, float, float]
    """The target's offset from `centre` and its new w, h, in frame pixels."""
    score: float


class Cut(NamedTuple):
    """A region as it was cut."""

    centre: Point
    pixels: float
    """Crop pixels to one of the frame's."""

    def look(self, found: SearchOutput, row: int) -> Look:
        """Return what row `row` of the network's results means in the frame: without a finite box, the score is NaN."""
        pixels = self.pixels
        dx, dy, w, h = found.box[row].tolist()
        moved = dx / pixels, dy / pixels, w / pixels, h / pixels
        score = found.score.item(row) if isfinite(sum(moved)) else nan
        return Look(self.centre, moved, score)


Turn = Generator[list[Ask], list[Look], Result]
"""One frame for one target, without the searches: yields what to look for, is sent what was found."""


def next_asks(turn: Turn, answers: list[Look] | None) -> list[Ask] | Result:
    """Send `turn` its answers, None at first; return what it asks next, or its result."""
    try:
        return next(turn) if answers is None else turn.send(answers)
    except StopIteration as end:
        result: Result = end.value
        return result
