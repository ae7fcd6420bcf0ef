"""The step of the SiamRPN family and of NanoTrack: raw maps become the next box, inside the graph.

Decoding, scale and ratio penalties, cosine window, re-ranking, argmax and the smoothing of the size. Everything is
float32 and in crop pixels; flat order is anchor, row, column; the first maximum wins.

Source: SiamRPN sec. 4.3; STVIR/pysot:pysot/tracker/siamrpn_tracker.py. The paper prints exp(k r s), every code computes
exp(-k (r s - 1)), which is what is meant.
"""

from collections.abc import Sequence
from math import sqrt

import numpy as np
import torch
from torch import Tensor, nn

RATIOS = (0.33, 0.5, 1.0, 2.0, 3.0)
PARAMS = ("penalty_k", "window_influence", "lr")
Box = tuple[Tensor, Tensor, Tensor, Tensor]
"""Centre x, y and w, h of a box a target, each [N, 1], in crop pixels."""


def anchor_sizes(base: int, scales: Sequence[float], ratios: Sequence[float]) -> list[tuple[float, float]]:
    """Return w, h of each anchor in crop pixels: ratio is h/w, sides are truncated before they are scaled.

    Source: STVIR/pysot:pysot/utils/anchor.py, foolwood/DaSiamRPN:code/utils.py.
    """
    sizes = []
    for ratio in ratios:
        w = int(sqrt(base * base / ratio))
        h = int(w * ratio)
        sizes += [(w * scale, h * scale) for scale in scales]
    return [(float(w), float(h)) for w, h in sizes]


def grid(side: int, stride: int) -> tuple[Tensor, Tensor]:
    """Return x and y [side * side] of the cells of a map, in crop pixels from the crop's centre, row by row.

    The origin is -(side // 2) * stride, so an even map is half a cell off centre, as every upstream has it (DaSiamRPN
    only with Python 2's division, for which its weights were made).
    """
    steps = (torch.arange(side) - side // 2).to(torch.float32) * stride
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    return x.reshape(-1), y.reshape(-1)


def cosine_window(side: int, copies: int) -> Tensor:
    """Return the outer product of two Hann windows [copies * side * side], peak 1, zero on the border."""
    hann = np.hanning(side)
    return torch.from_numpy(np.tile(np.outer(hann, hann).reshape(-1), copies)).to(torch.float32)


class AnchorDecode(nn.Module):
    """Boxes of K anchors in each of S x S cells."""

    x: Tensor
    y: Tensor
    w: Tensor
    h: Tensor

    def __init__(
        self,
        side: int,
        stride: int = 8,
        base: int = 8,
        scales: Sequence[float] = (8.0,),
        ratios: Sequence[float] = RATIOS,
    ) -> None:
        super().__init__()
        sizes = anchor_sizes(base, scales, ratios)
        x, y = grid(side, stride)
        self.copies = len(sizes)
        self.register_buffer("x", x.repeat(len(sizes)))
        self.register_buffer("y", y.repeat(len(sizes)))
        self.register_buffer("w", torch.tensor([w for w, _ in sizes]).repeat_interleave(side * side))
        self.register_buffer("h", torch.tensor([h for _, h in sizes]).repeat_interleave(side * side))

    def forward(self, loc: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return centre x, y and w, h, each [N, K S S], of raw deltas `loc` [N, 4K, S, S]."""
        dx, dy, dw, dh = loc.reshape(loc.shape[0], 4, -1).unbind(1)
        return dx * self.w + self.x, dy * self.h + self.y, dw.exp() * self.w, dh.exp() * self.h


class PointDecode(nn.Module):
    """Boxes as distances from the points of an S x S grid. Source: HonglinChu/SiamTrackers:NanoTrack."""

    copies = 1
    x: Tensor
    y: Tensor

    def __init__(self, side: int, stride: int = 16) -> None:
        super().__init__()
        x, y = grid(side, stride)
        self.register_buffer("x", x)
        self.register_buffer("y", y)

    def forward(self, loc: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return centre x, y and w, h, each [N, S S], of distances left, top, right, bottom `loc` [N, 4, S, S]."""
        left, top, right, bottom = loc.reshape(loc.shape[0], 4, -1).unbind(1)
        x = self.x + (right - left) / 2
        y = self.y + (bottom - top) / 2
        return x, y, left + right, top + bottom


class ProposalStep(nn.Module):
    """Chooses one proposal and smooths the size. `params` are PARAMS in order."""

    param_names = PARAMS
    window: Tensor

    def __init__(self, decode: AnchorDecode | PointDecode, side: int) -> None:
        super().__init__()
        self.decode = decode
        self.register_buffer("window", cosine_window(side, decode.copies))

    def forward(self, cls: Tensor, loc: Tensor, size: Tensor, params: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return box [N, 4] (centre offset and smoothed w, h), score [N] and flat index [N] int32.

        cls: [N, 2K, S, S] logits, background before target, or [N, K, S, S] target only; loc as the decoder wants it;
        size: [N, 2] w, h of the target, in crop pixels.
        """
        x, y, w, h = self.decode(loc)
        score = self._score(cls)
        penalty = change_penalty(w, h, size, params[0])
        influence = params[1]
        ranked = penalty * score * (1.0 - influence) + self.window * influence
        best = ranked.argmax(dim=1, keepdim=True)
        x, y, w, h, score, penalty = (values.gather(1, best) for values in (x, y, w, h, score, penalty))
        box = self._followed((x, y, w, h), size, penalty * score * params[2], params)
        return torch.cat(box, dim=1), score.reshape(-1), best.reshape(-1).to(torch.int32)

    def _followed(self, box: Box, size: Tensor, rate: Tensor, params: Tensor) -> Box:
        """Return what becomes of the chosen box where its size is followed at `rate` [N, 1]."""
        del params
        return smoothed(box, size, rate)

    def _score(self, cls: Tensor) -> Tensor:
        if cls.shape[1] == self.decode.copies:
            return cls.reshape(cls.shape[0], -1).sigmoid()
        background, target = cls.reshape(cls.shape[0], 2, -1).unbind(1)
        return (target - background).sigmoid()  # softmax of a pair


def smoothed(box: Box, size: Tensor, rate: Tensor) -> Box:
    """Return `box`, its size mixed at `rate` into `size` [N, 2]."""
    x, y, w, h = box
    return x, y, size[:, :1] * (1.0 - rate) + w * rate, size[:, 1:] * (1.0 - rate) + h * rate


def change_penalty(w: Tensor, h: Tensor, size: Tensor, penalty_k: Tensor) -> Tensor:
    """Return [N, P] factors, 1 for boxes w, h [N, P] of the scale and proportions of `size` [N, 2], less for others."""
    target_w, target_h = size[:, :1], size[:, 1:]
    scale = _change(_context_side(w, h) / _context_side(target_w, target_h))
    ratio = _change((target_w / target_h) / (w / h))
    return torch.exp((1.0 - ratio * scale) * penalty_k)


def _change(ratio: Tensor) -> Tensor:
    return torch.maximum(ratio, 1.0 / ratio)


def _context_side(w: Tensor, h: Tensor) -> Tensor:
    padding = (w + h) * 0.5
    return torch.sqrt((w + padding) * (h + padding))


def anchor_step(side: int, search_size: int, stride: int = 8) -> ProposalStep:
    """Return the step of a SiamRPN-like network whose maps have `side` cells of `stride` pixels."""
    del search_size
    return ProposalStep(AnchorDecode(side, stride), side)


def point_step(side: int, search_size: int) -> ProposalStep:
    """Return the step of a NanoTrack whose maps have `side` cells of 16 pixels."""
    del search_size
    return ProposalStep(PointDecode(side), side)
