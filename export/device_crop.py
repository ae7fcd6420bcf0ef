"""The engine's crop as tensor operations, for graphs that take the whole frame: OpenCV's to the byte, almost.

Source: engine/crop.py, whose squares and fill these are; OpenCV's INTER_LINEAR (modules/imgproc/src/resize.cpp), whose
weights have 11 bits and whose sums are cut off after 4, 16 and 2 bits. Places in float32 are a little off those in
float64: one value in five hundred or more differs, by one grey level.
"""

import torch
from torch import Tensor, nn

from ..engine.crop import MAX_FRAME_SIDE
from ..engine.geometry import Rounding

ANY_FRAME = {0: torch.export.Dim("pixels", min=1, max=MAX_FRAME_SIDE**2)}
"""What is open of a frame [H * W, 3] in a graph, as torch.export takes it. One axis: a plan's memory is that of its
largest frame, and two would have to allow for a square of the longest side."""


ONE = 2048.0
"""OpenCV's weights are whole numbers; two of them are this together."""


class DeviceCrop(nn.Module):
    """Cuts B squares out of one frame; `out` pixels a side. One gather, whatever the size of the frame."""

    def __init__(self, out: int) -> None:
        super().__init__()
        self.out = out
        self.places: Tensor
        self.register_buffer("places", torch.arange(out).to(torch.float32) + 0.5)

    def forward(self, frame: Tensor, region: Tensor) -> Tensor:
        """Return crops [B, m, m, 3] float32, whole numbers 0..255, of `frame` uint8 [H, W, 3] or [H * W, 3].

        region: [B, 8] float32 as engine/regions.py writes it: first pixel x, y and side of the square, whole numbers;
        the colour outside the frame, 3 values; the frame's width and height. Those of all rows are the same.
        """
        pixels = frame.to(torch.float32).reshape(-1, 3)  # the cast first: TensorRT wants nothing else of uint8
        x, y, side, fill, width, height = torch.split(region, [1, 1, 1, 3, 1, 1], 1)
        last = side - 1.0
        at = torch.minimum((self.places * (side / self.out) - 0.5).clamp(min=0.0), last)
        low = torch.floor(at)
        share = torch.floor((at - low) * ONE + 0.5)
        both = torch.cat([low, torch.minimum(low + 1.0, last)], 1)
        columns, rows = x + both, y + both
        taps = 2 * self.out
        inside = _within(rows, height).reshape(-1, taps, 1, 1) * _within(columns, width).reshape(-1, 1, taps, 1)
        row, column = (torch.minimum(at.clamp(min=0.0), size - 1.0) for at, size in ((rows, height), (columns, width)))
        first = row.to(torch.int32) * width.to(torch.int32)  # float32 has no number for each of 8K's pixels
        index = first.reshape(-1, taps, 1) + column.to(torch.int32).reshape(-1, 1, taps)
        found = pixels.index_select(0, index.reshape(-1)).reshape(-1, taps, taps, 3)
        outside = fill.reshape(-1, 1, 1, 3)
        found = outside + (found - outside) * inside
        left, right = torch.split(found, self.out, 2)
        lines = torch.floor((left * ONE + (right - left) * share.reshape(-1, 1, self.out, 1)) * 2.0**-4)
        top, bottom = torch.split(lines, self.out, 1)
        weight = share.reshape(-1, self.out, 1, 1) * 2.0**-16
        crop = torch.floor(top * (ONE * 2.0**-16 - weight)) + torch.floor(bottom * weight)
        return torch.floor((crop + 2.0) * 2.0**-2)


def rounded(value: Tensor, rounding: Rounding) -> Tensor:
    """Return `value` rounded to whole numbers; the three ways differ at exact halves only."""
    if rounding == "half_even":
        return torch.round(value)
    if rounding == "half_up":
        return torch.floor(value + 0.5)
    return torch.sign(value) * torch.floor(value.abs() + 0.5)


def _within(at: Tensor, size: Tensor) -> Tensor:
    """Return 1 where 0 <= at < size, else 0."""
    return ((at >= 0.0) & (at < size)).to(torch.float32)
