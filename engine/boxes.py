"""Boxes x, y, w, h (top-left corner, 0-indexed float pixels): checking what a user gives."""

from collections.abc import Sequence
from math import isfinite
from typing import Any

from ..errors import BoxError
from .result import Box


def check_box(box: Sequence[Any], size_wh: tuple[int, int]) -> Box:
    """Return `box` as four floats. Raises BoxError unless it is finite, has an area and overlaps the frame."""
    try:
        x, y, w, h = (float(value) for value in box)
    except (TypeError, ValueError):
        raise BoxError(f"a box is four numbers x,y,w,h, not {box!r}") from None
    shown = ",".join(f"{value:g}" for value in (x, y, w, h))
    if not all(isfinite(value) for value in (x, y, w, h)):
        raise BoxError(f"box {shown} is not finite: four numbers x,y,w,h in pixels are needed")
    if w <= 0 or h <= 0:
        raise BoxError(
            f"box {shown} has no area: x,y,w,h needs a width and a height above zero (from corners: w = x2 - x1)"
        )
    width, height = size_wh
    if x >= width or y >= height or x + w <= 0 or y + h <= 0:
        raise BoxError(
            f"box {shown} is outside the frame {width}x{height}: x,y is its top-left corner and w,h its size, in pixels"
        )
    return x, y, w, h
