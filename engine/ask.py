"""What a tracker asks its network, and what it is told: one search region, and what was found in it."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from math import isfinite, nan

import numpy as np
from numpy.typing import NDArray

from .result import Box
from .state import State
from .target import Target

Point = tuple[float, float]


@dataclass(slots=True)
class Ask:
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


@dataclass(slots=True)
class Look:
    """What the search graph found around one place of the frame."""

    centre: Point
    """Of the region that was cut, in frame pixels."""
    moved: tuple[float, float, float, float]
    """The target's offset from `centre` and its new w, h, in frame pixels."""
    score: float


Cut = tuple[Point, float, float]
"""A region as it was cut: its centre, and how many of the frame's pixels one of the crop's is across and down."""
Found = tuple[Box, float, float | None]
"""What a frame brought: box, score, confidence, as in `Result`."""
Turn = Generator[list[Ask], list[Look], Found]
"""One frame for one target, without the searches: yields what to look for, is sent what was found."""


def look_at(cut: Cut, box: Sequence[float], score: float) -> Look:
    """Return what the network's `box` and `score` mean in the frame: without a finite box, the score is NaN."""
    centre, across, down = cut
    dx, dy, w, h = box
    moved = dx * across, dy * down, w * across, h * down
    return Look(centre, moved, score if isfinite(sum(moved)) else nan)


def next_asks(turn: Turn, answers: list[Look] | None) -> list[Ask] | Found:
    """Send `turn` its answers, None at first; return what it asks next, or what the frame brought."""
    try:
        return next(turn) if answers is None else turn.send(answers)
    except StopIteration as end:
        found: Found = end.value
        return found
