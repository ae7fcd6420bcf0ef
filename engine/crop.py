"""Crops of a frame, resized: equal to upstream's to the byte, without ever padding or copying the frame.

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
from .geometry import CropRule, Extent, Regions, round_as, square

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
    """Return the uint8 [3] colour outside the frame: truncated as NumPy assigns, rounded as OpenCV does, or black."""
    if rule.fill == "black":
        return np.zeros(3, np.uint8)
    values = [round(channel) if rule.fill == "round" else int(channel) for channel in mean]
    return np.array(values, np.uint8)


CutAs = tuple[tuple[float, float], float, float]
"""What a crop shows: its centre x, y, its width and height, in frame pixels."""


class Cropper:
    """Cuts crops by one rule. Keeps its canvas between calls: one cropper serves one thread."""

    def __init__(self, rule: CropRule):
        self.rule = rule
        self._regions = Regions(rule)
        self._unseen = rule.unseen_edge
        self._affine = rule.sampling == "affine"
        self._memory = np.empty(0, np.uint8)

    def cut(self, frame: Image, centre: tuple[float, float], extent: Extent, fill: Image, out: Image) -> CutAs:
        """Write what `extent` around `centre` (x, y in frame pixels) shows to `out` [m, m, 3]; return what was cut.

        Outside the frame the crop has the colour `fill` [3]. What was cut differs from what was asked for by the
        rounding to whole pixels.
        """
        if self._unseen:
            frame = frame[: -self._unseen, : -self._unseen]
        if self._affine:
            # Source: tf.image.crop_and_resize: the outer samples on the corners of the box, no rounding of the box.
            side = max(extent[0], 1.0)
            reach = (side - 1) / 2
            first = (centre[0] + self.rule.centre_shift - reach, centre[1] + self.rule.centre_shift - reach)
            step = 2 * reach / (out.shape[0] - 1)
            _sample(frame, first, (step, step), fill, out)
            return centre, side, side
        x, y, w, h, middle = self._regions.at(centre, extent)
        height, width = frame.shape[:2]
        if x >= 0 and y >= 0 and x + w <= width and y + h <= height:
            _resize(frame[y : y + h, x : x + w], out)
        elif x >= width or y >= height or x + w <= 0 or y + h <= 0:
            out[:] = fill
        elif max(w, h) > MAX_CANVAS_SIDE:
            steps = w / out.shape[1], h / out.shape[0]
            _sample(frame, (x + (steps[0] - 1) / 2, y + (steps[1] - 1) / 2), steps, fill, out)
        else:
            self._cut_over_border(frame, x, y, w, h, fill, out)
        return middle, w, h

    def cut_pyramid(
        self, frame: Image, centre: tuple[float, float], extents: list[Extent], fill: Image, out: Image
    ) -> CutAs:
        """Write into `out` [K, m, m, 3] a crop for each of `extents`, smallest first; return what the middle one shows.

        Nested pyramids are of squares.
        """
        if self.rule.pyramid == "nested" and len(extents) > 1:
            return self._cut_nested(frame, centre, [extent[0] for extent in extents], fill, out)
        cuts = [self.cut(frame, centre, extent, fill, crop) for extent, crop in zip(extents, out, strict=True)]
        return cuts[len(cuts) // 2]

    def _cut_nested(
        self, frame: Image, centre: tuple[float, float], sides: list[float], fill: Image, out: Image
    ) -> CutAs:
        # Source: researchmm/SiamDW:lib/utils/utils.py (make_scale_pyramid): all but the smallest are resized twice.
        whole = [max(1, round_as(side, self.rule.side_rounding)) for side in sides]
        beta = out.shape[1] / whole[0]
        region_side = round_as(beta * whole[-1], self.rule.side_rounding)
        region = np.empty((region_side, region_side, 3), np.uint8)
        middle, _, _ = self.cut(frame, centre, square(whole[-1]), fill, region)
        inside = (1 + region_side) / 2, (1 + region_side) / 2
        for i, side in enumerate(whole):
            self.cut(region, inside, square(beta * side), fill, out[i])
        side = whole[len(whole) // 2]
        return middle, side, side

    def _cut_over_border(self, frame: Image, x: int, y: int, w: int, h: int, fill: Image, out: Image) -> None:
        height, width = frame.shape[:2]
        left, right = max(0, -x), min(w, width - x)
        top, bottom = max(0, -y), min(h, height - y)
        m = out.shape[0]
        canvas = self._canvas(w, h)
        rows = slice(top, bottom)
        canvas[rows, left:right] = frame[y + top : y + bottom, x + left : x + right]
        # The resize mixes each edge pixel with its neighbour outside: one pixel of fill all around is read, no more.
        if left:
            canvas[rows, left - 1] = fill
        if right < w:
            canvas[rows, right] = fill
        edges = slice(max(left - 1, 0), min(right + 1, w))
        if top:
            canvas[top - 1, edges] = fill
        if bottom < h:
            canvas[bottom, edges] = fill
        _resize(canvas, out)
        # What read nothing visible read memory that was never written: it is fill.
        first_x, last_x = _outputs_of(left, right, w, m)
        first_y, last_y = _outputs_of(top, bottom, h, m)
        row = np.empty((m, 3), np.uint8)
        row[:] = fill  # copying rows is several times faster than spreading one colour
        out[:first_y] = row
        out[last_y:] = row
        out[first_y:last_y, :first_x] = row[:first_x]
        out[first_y:last_y, last_x:] = row[last_x:]

    def _canvas(self, w: int, h: int) -> Image:
        # Never cleared: the operating system gives pages only to rows that are written.
        if self._memory.size < w * h * 3:
            self._memory = np.empty(w * h * 3, np.uint8)
        return self._memory[: w * h * 3].reshape(h, w, 3)


def _resize(patch: Image, out: Image) -> None:
    if patch.shape == out.shape:
        out[:] = patch
    else:
        cv2.resize(patch, (out.shape[1], out.shape[0]), dst=out, interpolation=cv2.INTER_LINEAR)


def _sample(frame: Image, first: tuple[float, float], steps: tuple[float, float], fill: Image, out: Image) -> None:
    """Sample `frame` from x, y `first` on, every `steps` pixels across and down, bilinearly."""
    if not frame.size:  # all of it is unseen edge
        out[:] = fill
        return
    matrix = np.array([[steps[0], 0, first[0]], [0, steps[1], first[1]]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    size = (out.shape[1], out.shape[0])
    cv2.warpAffine(frame, matrix, size, out, flags, cv2.BORDER_CONSTANT, tuple(int(value) for value in fill))


def _outputs_of(first: int, last: int, s: int, m: int) -> tuple[int, int]:
    """Range of outputs of a resize from `s` to `m` whose two taps touch canvas pixels [first, last)."""
    scale = s / m
    start = max(0, ceil((first - 0.5) / scale - 0.5))
    stop = min(m, ceil((last + 0.5) / scale - 0.5))
    return start, max(start, stop)
