"""Boxes x, y, w, h (top-left corner, 0-indexed float pixels): checking what a user gives."""

from collections.abc import Sequence
from math import isfinite
from reprlib import repr as shortened
from typing import Any

from ..errors import BoxError
from .result import Box

MIN_SIZE = 1.0
"""Pixels: the smallest width and height of a target."""
MAX_SIZE = 4.0
"""The largest width and height of a target, as a multiple of the frame's longer side."""


def check_box(box: Sequence[Any], size_wh: tuple[int, int]) -> Box:
    """Return `box` as four floats. Raises BoxError.

    A box is finite, overlaps the frame, and its sides are MIN_SIZE to MAX_SIZE times the frame's longer.
    """
    try:
        x, y, w, h = (float(value) for value in box)
    except (TypeError, ValueError, OverflowError):
        shown = " ".join(shortened(box).split())
        raise BoxError(f"a box is four numbers x,y,w,h, not {shown}") from None
    shown = ",".join(f"{value:g}" for value in (x, y, w, h))
    if not all(isfinite(value) for value in (x, y, w, h)):
        raise BoxError(f"box {shown} is not finite: four numbers x,y,w,h in pixels are needed")
    if w <= 0 or h <= 0:
        raise BoxError(
            f"box {shown} has no area: x,y,w,h needs a width and a height above zero (from corners: w = x2 - x1)"
        )
    if w < MIN_SIZE or h < MIN_SIZE:
        raise BoxError(f"box {shown} is smaller than a pixel: x,y,w,h are pixels, not shares of the frame")
    width, height = size_wh
    if max(w, h) > MAX_SIZE * max(width, height):
        raise BoxError(f"box {shown} is more than {MAX_SIZE:g} times as large as the frame {width}x{height}")
    if x >= width or y >= height or x + w <= 0 or y + h <= 0:
        raise BoxError(
            f"box {shown} is outside the frame {width}x{height}: x,y is its top-left corner and w,h its size, in pixels"
        )
    return x, y, w, h
