"""What a graph that takes whole frames is told of each crop: a row of numbers, rounded here as the host's crop is."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .geometry import Geometry, square

REGION = ("x", "y", "side", "blue", "green", "red", "width", "height")
"""A row: first pixel and side of the square, whole numbers; the colour outside the frame; the frame's size."""

Regions = NDArray[np.float32]
"""[crops, 8] float32, columns as REGION."""


def refusal(geometry: Geometry) -> str | None:
    """Return why crops of `geometry` can't be cut inside a graph; None where they can."""
    if geometry.crop.sampling != "resize":
        return "its crops are sampled as they fall, not cut out in whole pixels"
    if geometry.crop.pyramid == "nested" and len(geometry.search_steps) > 1:
        return "its scales are cut out of each other"
    return None


def write_regions(
    geometry: Geometry,
    frame_wh: tuple[int, int],
    centre: tuple[float, float],
    sides: Sequence[float],
    fill: NDArray[np.uint8],
    out: Regions,
) -> tuple[float, float]:
    """Write a row into `out` for each of `sides` around `centre`; return the centre of the middle one as it is cut."""
    squares = [square(geometry.crop, centre, side) for side in sides]
    for row, cut in zip(out, squares, strict=True):
        row[:3] = cut.x, cut.y, cut.side
    out[:, 3:6] = fill
    out[:, 6:] = frame_wh
    return squares[len(squares) // 2].centre


def new_regions(crops: int) -> Regions:
    """Return rows for `crops` crops."""
    return np.zeros((crops, len(REGION)), np.float32)
