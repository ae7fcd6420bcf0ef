"""The engine's crop as tensor operations, for graphs that take the whole frame: at most one grey level from OpenCV's.

Source: engine/crop.py, whose roundings and fill these are; OpenCV's INTER_LINEAR, whose weights have 11 bits.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..engine.geometry import CropRule, Rounding


class Cut(NamedTuple):
    """What one crop is made of."""

    crop: Tensor
    """[B, m, m, 3] float32, whole numbers 0..255."""
    centre: Tensor
    """[B, 2] x, y that was really cut around."""


class DeviceCrop(nn.Module):
    """Cuts B squares out of one frame; `out` pixels a side."""

    def __init__(self, rule: CropRule, out: int) -> None:
        super().__init__()
        self.rule = rule
        self.out = out
        self.places: Tensor
        self.register_buffer("places", torch.arange(out).to(torch.float32) + 0.5)

    def forward(self, frame: Tensor, centre: Tensor, side: Tensor, fill: Tensor) -> Cut:
        """Return the crops of `frame` uint8 [H, W, 3] around `centre` [B, 2] x, y, `side` [B, 1], filled with `fill`.

        fill: [B, 3], the colour outside the frame. Sides and corners are rounded as the rule says.
        """
        height, width = frame.shape[0], frame.shape[1]
        pixels = frame.to(torch.float32).reshape(
            height * width, 3
        )  # the cast first: TensorRT wants nothing else of uint8
        s = rounded(side, self.rule.side_rounding).clamp(min=1.0)
        shift = self.rule.centre_shift
        corner = rounded(centre + shift - (s / 2 + self.rule.origin_shift), self.rule.origin_rounding)
        at = (self.places * (s / self.out) - 0.5).clamp(min=0.0)
        at = torch.minimum(at, s - 1.0)
        low = torch.floor(at)
        share = (at - low).reshape(-1, 1, self.out, 1)
        high = torch.minimum(low + 1.0, s - 1.0)
        columns = [corner[:, :1] + taps for taps in (low, high)]
        rows = [corner[:, 1:] + taps for taps in (low, high)]
        outside = fill.reshape(-1, 1, 1, 3)

        def line(y: Tensor) -> Tensor:
            left, right = (self._sample(pixels, y, x, height, width, outside) for x in columns)
            return left + (right - left) * share

        top, bottom = (line(y) for y in rows)
        crop = top + (bottom - top) * share.reshape(-1, self.out, 1, 1)
        return Cut(torch.floor(crop + 0.5), corner + s / 2 - shift)

    @staticmethod
    def _sample(pixels: Tensor, y: Tensor, x: Tensor, height: int, width: int, outside: Tensor) -> Tensor:
        """Return [B, m, m, 3]: the pixels in rows `y` and columns `x` [B, m], the fill colour outside the frame."""
        m = y.shape[1]
        inside = _within(y, height).reshape(-1, m, 1, 1) * _within(x, width).reshape(-1, 1, m, 1)
        row, column = y.clamp(0.0, height - 1.0).reshape(-1, m, 1), x.clamp(0.0, width - 1.0).reshape(-1, 1, m)
        index = row.to(torch.int64) * width + column.to(torch.int64)
        found = pixels.index_select(0, index.reshape(-1)).reshape(-1, m, m, 3)
        return found * inside + outside * (1.0 - inside)


def rounded(value: Tensor, rounding: Rounding) -> Tensor:
    """Return `value` rounded to whole numbers; the three ways differ at exact halves only."""
    if rounding == "half_even":
        return torch.round(value)
    if rounding == "half_up":
        return torch.floor(value + 0.5)
    return torch.sign(value) * torch.floor(value.abs() + 0.5)


def _within(at: Tensor, size: int) -> Tensor:
    """Return 1 where 0 <= at < size, else 0."""
    return ((at >= 0.0) & (at < float(size))).to(torch.float32)
