"""Decoding, penalties and choice of a proposal in NumPy, as PySOT, NanoTrack, DaSiamRPN and SiamDW write it.

Source: STVIR/pysot:pysot/tracker/siamrpn_tracker.py, pysot/utils/anchor.py; HonglinChu/SiamTrackers:NanoTrack;
researchmm/SiamDW:lib/tracker/siamrpn.py. Independent of models/proposals.py, which it is compared with.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import UsageError

Floats = NDArray[np.floating]

ANCHORS = ((104, 32), (88, 40), (64, 64), (40, 80), (32, 96))
"""w, h of the five anchors: ratios 0.33, 0.5, 1, 2, 3 of 64 x 64 pixels, truncated as upstream truncates them."""
ANCHOR_STRIDE = 8
POINT_STRIDE = 16
BASE_SIZES = (0, 8)
"""Cells by which a padded network's map is larger than its crop accounts for: AlexNet 0, PySOT's others 8."""


class Found(NamedTuple):
    """The chosen proposal: its box (centre offset, w, h in crop pixels), score and penalty."""

    box: Floats
    score: float
    penalty: float


class Proposals:
    """The tables for maps like `cls` [1, C, S, S] and `loc` [1, D, S, S], and the choice by them.

    `reach`: pixels by which the search crop is larger than the template.
    """

    def __init__(self, cls: Tensor, loc: Tensor, reach: int):
        side = cls.shape[-1]
        self.anchored = loc.shape[1] == 4 * len(ANCHORS)
        if self.anchored:
            check_side(side, reach, BASE_SIZES)
        copies = len(ANCHORS) if self.anchored else 1
        steps = (np.arange(side) - side // 2) * (ANCHOR_STRIDE if self.anchored else POINT_STRIDE)
        xs, ys = np.meshgrid(steps, steps)
        self.x = np.tile(xs.flatten(), copies).astype(np.float32)
        self.y = np.tile(ys.flatten(), copies).astype(np.float32)
        sizes = np.repeat(np.array(ANCHORS, np.float32), side * side, axis=0)
        self.w, self.h = sizes[:, 0], sizes[:, 1]
        self.sigmoid = cls.shape[1] == copies
        self.window = np.tile(np.outer(np.hanning(side), np.hanning(side)).flatten(), copies)
        self.ranked: Floats = np.zeros(2)

    def choose(self, cls: Tensor, loc: Tensor, size: Floats, params: dict[str, float]) -> Found:
        """Return the best proposal for a target of `size` (w, h in crop pixels)."""
        score = self._scores(cls)
        boxes = self._boxes(loc)
        scale = _change(_side(boxes[2], boxes[3]) / _side(size[0], size[1]))
        ratio = _change((size[0] / size[1]) / (boxes[2] / boxes[3]))
        penalty = np.exp(-(ratio * scale - 1) * params["penalty_k"])
        influence = params["window_influence"]
        self.ranked = penalty * score * (1 - influence) + self.window * influence
        best = np.argmax(self.ranked)
        return Found(boxes[:, best], score[best], penalty[best])

    def _scores(self, cls: Tensor) -> Floats:
        if self.sigmoid:
            return np.asarray(torch.sigmoid(cls).flatten().detach().cpu().numpy())
        pairs = cls.permute(1, 2, 3, 0).contiguous().view(2, -1).permute(1, 0)
        return np.asarray(pairs.softmax(1).detach()[:, 1].cpu().numpy())

    def _boxes(self, loc: Tensor) -> Floats:
        delta = loc.permute(1, 2, 3, 0).contiguous().view(4, -1).detach().cpu().numpy()
        if self.anchored:
            delta[0] = delta[0] * self.w + self.x
            delta[1] = delta[1] * self.h + self.y
            delta[2] = np.exp(delta[2]) * self.w
            delta[3] = np.exp(delta[3]) * self.h
            return np.asarray(delta)
        left, top, right, bottom = self.x - delta[0], self.y - delta[1], self.x + delta[2], self.y + delta[3]
        return np.stack([(left + right) / 2, (top + bottom) / 2, right - left, bottom - top])


def check_side(side: int, reach: int, base_sizes: tuple[int, ...]) -> None:
    """Raise UsageError unless a map of `side` cells is one that an upstream with stride 8 computes."""
    if side - (reach // ANCHOR_STRIDE + 1) not in base_sizes:
        raise UsageError(
            f"a score map of {side} cells over {reach} px is none that an upstream's code knows (their stride is "
            f"{ANCHOR_STRIDE}): there is no upstream style of this network, leave --against out"
        )


def _change(ratio: Floats) -> Floats:
    change: Floats = np.maximum(ratio, 1.0 / ratio)
    return change


def _side(w: Floats, h: Floats) -> Floats:
    padding = (w + h) * 0.5
    side: Floats = np.sqrt((w + padding) * (h + padding))
    return side
