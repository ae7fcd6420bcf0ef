"""The step of the SiamFC family: score maps of a pyramid of crops become the next box, inside the graph.

Upsampling, choice of the scale, normalisation, cosine window, argmax and damping of the size. The variants of the
upstreams are the arguments of `ScaleStep`. Everything is float32; the normalised map is of order 1e-5, so this step
never runs in float16.

Source: SiamFC sec. 3.1; huanglianghua/siamfc-pytorch:siamfc/siamfc.py; researchmm/SiamDW:lib/tracker/siamfc.py;
microsoft/SA-Siam.
"""

from math import floor
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

PARAMS = ("scale_penalty", "window_influence", "scale_lr", "scale_step")
CUBIC = -0.75
"""Coefficient of the cubic kernel, the same in OpenCV and TensorFlow 1."""


def cubic_matrix(size: int, target: int, align_corners: bool = False) -> NDArray[np.float64]:
    """Return U [target, size]: U @ line is the line interpolated with a cubic kernel, its ends repeated.

    Two products with it, U @ map @ U.T, are OpenCV's INTER_CUBIC resize (pixel centres), or TensorFlow's with aligned
    corners: the same on every runtime, which no Resize operator is.
    """
    matrix = np.zeros((target, size))
    for row in range(target):
        at = row * (size - 1) / (target - 1) if align_corners else (row + 0.5) * size / target - 0.5
        first = floor(at)
        for tap in range(first - 1, first + 3):
            matrix[row, min(max(tap, 0), size - 1)] += _cubic(abs(at - tap))
    return matrix


def _cubic(distance: float) -> float:
    a, d = CUBIC, distance
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a


class ScaleStep(nn.Module):
    """Chooses one of three scales and a cell of its upsampled map. `params` are PARAMS in order.

    `side` cells of `stride` crop pixels become `side * upsample`.
    `penalise`: the penalty of the outer scales weighs their whole maps (siamfc-pytorch, so also what is normalised
    later) or only their maxima (SiamDW, SA-Siam). `centre`: the cell of the upsampled map that means no motion, None
    for its middle. `scaled`: the displacement is multiplied by the chosen scale. `reach`: largest displacement, in
    cells of the score map.
    """

    param_names = PARAMS
    up: Tensor
    down: Tensor
    window: Tensor
    outer: Tensor
    exponents: Tensor

    def __init__(
        self,
        side: int,
        stride: int = 8,
        upsample: int = 16,
        *,
        penalise: Literal["maps", "maxima"] = "maps",
        centre: float | None = None,
        scaled: bool = True,
        align_corners: bool = False,
        reach: float | None = None,
    ) -> None:
        super().__init__()
        self.fine = side * upsample
        self.penalise_maps = penalise == "maps"
        self.centre = (self.fine - 1) / 2 if centre is None else centre
        self.pixels = stride / upsample
        self.scaled = scaled
        self.reach = None if reach is None else reach * stride
        matrix = torch.from_numpy(cubic_matrix(side, self.fine, align_corners)).to(torch.float32)
        hann = np.hanning(self.fine)
        window = np.outer(hann, hann)
        self.register_buffer("up", matrix)
        self.register_buffer("down", matrix.t().contiguous())
        self.register_buffer("window", torch.from_numpy((window / window.sum()).reshape(1, -1)).to(torch.float32))
        self.register_buffer("outer", torch.tensor([[1.0, 0.0, 1.0]]))
        self.register_buffer("exponents", torch.tensor([[-1.0, 0.0, 1.0]]))

    def forward(self, score: Tensor, size: Tensor, params: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return box [N, 4] (offset and damped w, h in pixels of the middle crop), score [N], flat index [N] int32.

        score: [N * 3, 1, S, S], the three scales of a target together, smallest first; size: [N, 2] w, h of the
        target in pixels of the middle crop. The score that is returned is the peak of the chosen map.
        """
        maps = (self.up @ score.reshape(-1, 3, score.shape[2], score.shape[3]) @ self.down).flatten(2)
        weights = self.outer * params[0] + (1.0 - self.outer)
        peaks = maps.amax(dim=2) * weights
        chosen = peaks.argmax(dim=1, keepdim=True)
        factor = torch.pow(params[3], self.exponents.expand(peaks.shape[0], 3).gather(1, chosen))
        response = maps.gather(1, chosen.unsqueeze(2).expand(-1, 1, maps.shape[2])).squeeze(1)
        if self.penalise_maps:
            response = response * weights.expand_as(peaks).gather(1, chosen)
        peak = response.amax(dim=1)
        response = response - response.amin(dim=1, keepdim=True)
        response = response / (response.sum(dim=1, keepdim=True) + 1e-16)
        response = response * (1.0 - params[1]) + self.window * params[1]
        best = response.argmax(dim=1, keepdim=True)
        row = torch.div(best, self.fine, rounding_mode="floor")
        offset = torch.cat([best - row * self.fine, row], dim=1).to(torch.float32) - self.centre
        offset = offset * self.pixels
        if self.reach is not None:
            offset = offset.clamp(-self.reach, self.reach)
        if self.scaled:
            offset = offset * factor
        size = size * (1.0 - params[2] + params[2] * factor)
        return torch.cat([offset, size], dim=1), peak, best.reshape(-1).to(torch.int32)
