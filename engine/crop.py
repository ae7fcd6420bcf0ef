"""Square crops of a frame, resized: equal to upstream's to the byte, without ever padding or copying the frame.

Only the visible pixels are touched. A crop that lies inside the frame is resized from the frame's own memory. One that
leaves it is laid into a canvas of which only the visible part and one pixel around it are written; what the resize then
makes of the rest is painted over with the fill colour.

Source: SiamFC sec. 2 (mean colour outside the frame); STVIR/pysot:pysot/tracker/base_tracker.py,
researchmm/SiamDW:lib/utils/utils.py, huanglianghua/siamfc-pytorch:siamfc/ops.py for the roundings.
"""

from math import ceil
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import FrameError
from .geometry import CropRule, Squares, round_as

Image = NDArray[np.uint8]
Colour = tuple[float, float, float]

MAX_FRAME_SIDE = 32767
"""OpenCV's limit for sampling."""
MAX_CANVAS_SIDE = 16384
"""A region larger than this (four 4K frames side by side) is sampled, not laid out: its canvas would take gigabytes."""


def check_frame(frame: Any) -> None:
    """Raise FrameError unless `frame` is uint8 [H, W, 3], its sides 1 to 32767 pixels."""
    if not isinstance(frame, np.ndarray):
        raise FrameError(f"a frame is a NumPy array uint8 [H, W, 3] in BGR order, not {type(frame).__name__}")
    if frame.ndim != 3 or frame.shape[2] != 3:
        hint = ": convert with cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR)" if frame.ndim == 2 else ""
        raise FrameError(f"a frame is uint8 [H, W, 3] in BGR order, not {list(frame.shape)}{hint}")
    if frame.dtype != np.uint8:
        raise FrameError(f"a frame is uint8, 0..255, not {frame.dtype}: scale it and call .astype(numpy.uint8)")
    if frame.size == 0:
        raise FrameError(f"a frame has at least one pixel, not shape {list(frame.shape)}")
    if max(frame.shape) > MAX_FRAME_SIDE:
        raise FrameError(f"a frame has at most {MAX_FRAME_SIDE} pixels a side, not shape {list(frame.shape)}")


def mean_colour(frame: Image) -> Colour:
    """Return the mean of each channel of `frame` [H, W, 3], exact sums divided once as np.mean does."""
    pixels = frame.shape[0] * frame.shape[1]
    sums = cv2.sumElems(frame)
    return sums[0] / pixels, sums[1] / pixels, sums[2] / pixels


def fill_colour(mean: Colour, rule: CropRule) -> Image:
    """Return the uint8 [3] colour outside the frame: truncated as NumPy assigns, or rounded as OpenCV does."""
    values = [round(channel) if rule.fill == "round" else int(channel) for channel in mean]
    return np.array(values, np.uint8)


class Cropper:
    """Cuts crops by one rule. Keeps its canvas between calls: one cropper serves one thread."""

    def __init__(self, rule: CropRule):
        self.rule = rule
        self._squares = Squares(rule)
        self._memory = np.empty(0, np.uint8)

    def cut(
        self, frame: Image, centre: tuple[float, float], side: float, fill: Image, out: Image
    ) -> tuple[float, float]:
        """Write the square of `side` around `centre` (x, y in frame pixels) to `out` [m, m, 3]; return its centre.

        Outside the frame the crop has the colour `fill` [3]. The centre that comes back differs from the one asked for
        by the rounding to whole pixels.
        """
        if self.rule.sampling == "affine":
            # Source: tf.image.crop_and_resize: the outer samples on the corners of the box, no rounding of the box.
            reach = (max(side, 1.0) - 1) / 2
            first = (centre[0] + self.rule.centre_shift - reach, centre[1] + self.rule.centre_shift - reach)
            _sample(frame, first, 2 * reach / (out.shape[0] - 1), fill, out)
            return centre
        x0, y0, s, middle = self._squares.at(centre, side)
        height, width = frame.shape[:2]
        if x0 >= 0 and y0 >= 0 and x0 + s <= width and y0 + s <= height:
            _resize(frame[y0 : y0 + s, x0 : x0 + s], out)
        elif s > MAX_CANVAS_SIDE:
            step = s / out.shape[0]
            _sample(frame, (x0 + (step - 1) / 2, y0 + (step - 1) / 2), step, fill, out)
        else:
            self._cut_over_border(frame, x0, y0, s, fill, out)
        return middle

    def cut_pyramid(
        self, frame: Image, centre: tuple[float, float], sides: list[float], fill: Image, out: Image
    ) -> tuple[float, float]:
        """Write into `out` [K, m, m, 3] a crop for each of `sides`, smallest first; return the centre that was cut."""
        if self.rule.pyramid == "nested" and len(sides) > 1:
            return self._cut_nested(frame, centre, sides, fill, out)
        middle = centre
        for i, side in enumerate(sides):
            cut = self.cut(frame, centre, side, fill, out[i])
            middle = cut if i == len(sides) // 2 else middle
        return middle

    def _cut_nested(
        self, frame: Image, centre: tuple[float, float], sides: list[float], fill: Image, out: Image
    ) -> tuple[float, float]:
        # Source: researchmm/SiamDW:lib/utils/utils.py (make_scale_pyramid): all but the smallest are resized twice.
        whole = [max(1, round_as(side, self.rule.side_rounding)) for side in sides]
        beta = out.shape[1] / whole[0]
        region_side = round_as(beta * whole[-1], self.rule.side_rounding)
        region = np.empty((region_side, region_side, 3), np.uint8)
        cut = self.cut(frame, centre, whole[-1], fill, region)
        middle = (1 + region_side) / 2
        for i, side in enumerate(whole):
            self.cut(region, (middle, middle), beta * side, fill, out[i])
        return cut

    def _cut_over_border(self, frame: Image, x0: int, y0: int, s: int, fill: Image, out: Image) -> None:
        height, width = frame.shape[:2]
        left, right = max(0, -x0), min(s, width - x0)
        top, bottom = max(0, -y0), min(s, height - y0)
        if left >= right or top >= bottom:
            out[:] = fill
            return
        m = out.shape[0]
        canvas = self._canvas(s)
        rows = slice(top, bottom)
        canvas[rows, left:right] = frame[y0 + top : y0 + bottom, x0 + left : x0 + right]
        # The resize mixes each edge pixel with its neighbour outside: one pixel of fill all around is read, no more.
        if left:
            canvas[rows, left - 1] = fill
        if right < s:
            canvas[rows, right] = fill
        edges = slice(max(left - 1, 0), min(right + 1, s))
        if top:
            canvas[top - 1, edges] = fill
        if bottom < s:
            canvas[bottom, edges] = fill
        _resize(canvas, out)
        # What read nothing visible read memory that was never written: it is fill.
        first_x, last_x = _outputs_of(left, right, s, m)
        first_y, last_y = _outputs_of(top, bottom, s, m)
        row = np.empty((m, 3), np.uint8)
        row[:] = fill  # copying rows is several times faster than spreading one colour
        out[:first_y] = row
        out[last_y:] = row
        out[first_y:last_y, :first_x] = row[:first_x]
        out[first_y:last_y, last_x:] = row[last_x:]

    def _canvas(self, s: int) -> Image:
        # Never cleared: the operating system gives pages only to rows that are written.
        if self._memory.size < s * s * 3:
            self._memory = np.empty(s * s * 3, np.uint8)
        return self._memory[: s * s * 3].reshape(s, s, 3)


def _resize(patch: Image, out: Image) -> None:
    if patch.shape[0] == out.shape[0]:
        out[:] = patch
    else:
        cv2.resize(patch, (out.shape[1], out.shape[0]), dst=out, interpolation=cv2.INTER_LINEAR)


def _sample(frame: Image, first: tuple[float, float], step: float, fill: Image, out: Image) -> None:
    """Sample `frame` from x, y `first` on, every `step` pixels, bilinearly."""
    matrix = np.array([[step, 0, first[0]], [0, step, first[1]]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    size = (out.shape[1], out.shape[0])
    cv2.warpAffine(frame, matrix, size, out, flags, cv2.BORDER_CONSTANT, tuple(int(value) for value in fill))


def _outputs_of(first: int, last: int, s: int, m: int) -> tuple[int, int]:
    """Range of outputs of a resize from `s` to `m` whose two taps touch canvas pixels [first, last)."""
    scale = s / m
    start = max(0, ceil((first - 0.5) / scale - 0.5))
    stop = min(m, ceil((last + 0.5) / scale - 0.5))
    return start, max(start, stop)
