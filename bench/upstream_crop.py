"""Crops as the upstream repositories cut them: most pad the whole frame first. Slow on purpose, equal to the byte.

LightFC and FEAR pad what they cut. Source: STVIR/pysot:pysot/tracker/base_tracker.py (also NanoTrack's, DaSiamRPN's and
SiamDW's), huanglianghua/siamfc-pytorch:siamfc/ops.py, researchmm/SiamDW:lib/utils/utils.py,
LiYunfengLYF/LightFC:lib/train/data/processing_utils.py, PinataFarms/FEARTracker:model_training/utils/utils.py.
"""

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from ..engine.geometry import Rounding, round_as

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]


def subwindow(
    frame: Image,
    centre: Sequence[float],
    out_side: int,
    side: int,
    mean: NDArray[np.float64],
    rounding: Rounding,
) -> Image:
    """Return the square of `side` pixels around `centre` (x, y), resized to [out_side, out_side, 3].

    A square that leaves the frame is cut out of a copy of the whole frame with borders of the colour `mean`,
    truncated. PySOT, NanoTrack, DaSiamRPN and SiamDW differ in the `rounding` of the first pixel only.
    """
    height, width = frame.shape[:2]
    left = round_as(centre[0] - (side + 1) / 2, rounding)
    top = round_as(centre[1] - (side + 1) / 2, rounding)
    pad_left, pad_right = max(0, -left), max(0, left + side - width)
    pad_top, pad_bottom = max(0, -top), max(0, top + side - height)
    source = frame
    if pad_left or pad_right or pad_top or pad_bottom:
        source = np.zeros((height + pad_top + pad_bottom, width + pad_left + pad_right, 3), np.uint8)
        source[pad_top : pad_top + height, pad_left : pad_left + width] = frame
        source[:pad_top, pad_left : pad_left + width] = mean
        source[pad_top + height :, pad_left : pad_left + width] = mean
        source[:, :pad_left] = mean
        source[:, pad_left + width :] = mean
        left, top = left + pad_left, top + pad_top
    patch = source[top : top + side, left : left + side]
    return patch if side == out_side else _resized(patch, out_side)


def crop_and_resize(
    frame: Image, centre: NDArray[np.float32], side: float, out_side: int, mean: NDArray[np.float64]
) -> Image:
    """Return the square around `centre` (y, x) as siamfc-pytorch cuts it, [out_side, out_side, 3].

    A square that leaves the frame takes a border around all four sides of the frame, as wide as the widest needed.
    """
    whole = round(float(side))
    corner = np.round(centre - (whole - 1) / 2).astype(int)
    over = np.concatenate([-corner, corner + whole - np.array(frame.shape[:2])])
    pad = max(0, int(over.max()))
    source = frame
    if pad > 0:
        source = np.asarray(
            cv2.copyMakeBorder(frame, pad, pad, pad, pad, cv2.BORDER_CONSTANT, value=mean.tolist()), np.uint8
        )
        corner = corner + pad
    patch = source[corner[0] : corner[0] + whole, corner[1] : corner[1] + whole]
    return _resized(patch, out_side)


def scale_pyramid(
    frame: Image, centre: Sequence[float], sides: NDArray[np.float64], out_side: int, mean: NDArray[np.float64]
) -> Image:
    """Return the crops of all `sides` [K, out_side, out_side, 3] as SiamDW cuts them: from one crop of the largest."""
    whole = [round(float(side)) for side in sides]
    beta = out_side / whole[0]
    region_side = round(beta * whole[-1])
    region = subwindow(frame, centre, region_side, whole[-1], mean, "half_even")
    middle = (1 + region_side) / 2
    crops = [subwindow(region, (middle, middle), out_side, round(beta * s), mean, "half_even") for s in whole]
    return np.stack(crops)


def target_square(
    frame: Image, box: Sequence[float], factor: float, out_side: int
) -> tuple[Image, float, NDArray[np.bool_]]:
    """Return the square around `box` (x, y, w, h) as LightFC cuts it, its scale and the mask of what is filled in.

    The square is `factor` times as wide as one of the box's area, the crop [out_side, out_side, 3] black outside the
    frame, whose last row and column it never sees. Nothing reads the mask [out_side, out_side].
    """
    x, y, w, h = box
    side = math.ceil(math.sqrt(w * h) * factor)
    left, top = round(x + 0.5 * w - 0.5 * side), round(y + 0.5 * h - 0.5 * side)
    height, width = frame.shape[:2]
    before_x, after_x = max(0, -left), max(0, left + side - width + 1)
    before_y, after_y = max(0, -top), max(0, top + side - height + 1)
    seen = frame[top + before_y : top + side - after_y, left + before_x : left + side - after_x]
    patch = cv2.copyMakeBorder(seen, before_y, after_y, before_x, after_x, cv2.BORDER_CONSTANT)
    outside = np.ones((side, side))
    outside[before_y : side - after_y, before_x : side - after_x] = 0
    mask = cv2.resize(outside, (out_side, out_side)).astype(np.bool_)
    return _resized(np.asarray(patch, np.uint8), out_side), out_side / side, mask


def extended_crop(
    frame: Image, box: Sequence[int], context: float, out_side: int, mean: NDArray[np.float64]
) -> tuple[Image, tuple[int, int, int, int]]:
    """Return the crop [out_side, out_side, 3] of `box` (x, y, w, h) as FEAR cuts it, and its place in the frame.

    The box is wider by `context` of its size on each side, in whole pixels truncated; the crop is not square in the
    frame. Outside it is filled with `mean`, rounded.
    """
    x, y, w, h = box
    left, top = int(x - w * context), int(y - h * context)
    wide, high = int(w * (1.0 + context + context)), int(h * (1.0 + context + context))
    height, width = frame.shape[:2]
    before_x, after_x = max(0, -left), max(0, left + wide - width)
    before_y, after_y = max(0, -top), max(0, top + high - height)
    seen = frame[top + before_y : top + high - after_y, left + before_x : left + wide - after_x]
    fill = mean.tolist()
    patch = cv2.copyMakeBorder(seen, before_y, after_y, before_x, after_x, cv2.BORDER_CONSTANT, value=fill)
    return _resized(np.asarray(patch, np.uint8), out_side), (left, top, wide, high)


def network_input(crops: Image) -> Floats:
    """Return float32 [K, 3, S, S] of uint8 crops [S, S, 3] or [K, S, S, 3], values as they are."""
    stacked = crops if crops.ndim == 4 else crops[np.newaxis]
    tensor: Floats = stacked.transpose(0, 3, 1, 2).astype(np.float32)
    return tensor


def _resized(patch: Image, side: int) -> Image:
    return np.asarray(cv2.resize(patch, (side, side)), np.uint8)
