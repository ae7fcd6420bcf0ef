"""The step of the untrained matching: responses of three kernels in one crop become the next box, inside the graph.

Upsampling of both layers to single pixels, their mean, choice of the scale, normalisation, cosine window, argmax and
damping of the size.

Source: SiamFC sec. 3.1; huanglianghua/siamfc-pytorch:siamfc/siamfc.py, with its pyramid of crops turned into one of
kernels.
"""

import numpy as np
import torch
from torch import Tensor, nn

from .matching import CELLS, STRIDES
from .scales import PARAMS, cubic_matrix

REACH = 68
"""Largest displacement, in crop pixels."""


class MatchingStep(nn.Module):
    """Chooses one of three scales and a pixel of its map. `params` are PARAMS in order.

    `search_size`: side of the search crop in pixels, a multiple of 16 less 1.
    """

    param_names = PARAMS
    shallow_up: Tensor
    shallow_down: Tensor
    deep_up: Tensor
    deep_down: Tensor
    window: Tensor
    outer: Tensor
    exponents: Tensor

    def __init__(self, search_size: int = 255) -> None:
        super().__init__()
        self.fine = 2 * REACH + 1
        for name, cells, stride in zip(("shallow", "deep"), CELLS, STRIDES, strict=True):
            matrix = self._upsampling(search_size, cells, stride)
            self.register_buffer(f"{name}_up", matrix)
            self.register_buffer(f"{name}_down", matrix.t().contiguous())
        hann = torch.from_numpy(np.hanning(self.fine)).to(torch.float32)
        self.register_buffer("window", torch.outer(hann, hann).reshape(1, -1))
        self.register_buffer("outer", torch.tensor([[1.0, 0.0, 1.0]]))
        self.register_buffer("exponents", torch.tensor([[1.0, 0.0, -1.0]]))

    @staticmethod
    def _upsampling(search_size: int, cells: int, stride: int) -> Tensor:
        """Return U [2 * REACH + 1, side]: row i is the displacement i - REACH in crop pixels, column j a map's cell."""
        side = (search_size + 1) // stride
        size = side - cells + 1
        still = (side // 2 - cells // 2) * stride
        every_pixel = cubic_matrix(size, (size - 1) * stride + 1, align_corners=True)
        return torch.from_numpy(every_pixel[still - REACH : still + REACH + 1]).to(torch.float32)

    def forward(self, shallow: Tensor, deep: Tensor, size: Tensor, params: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return box [N, 4] (offset and damped w, h in crop pixels), score [N], flat index [N] int32.

        shallow, deep: [N, 3, S, S], the responses of the kernels, that for the largest target first; size: [N, 2] w, h
        of the target in crop pixels. The score is the peak of the chosen map: a cosine, which falls when the target is
        gone.
        """
        maps = self.shallow_up @ shallow @ self.shallow_down + self.deep_up @ deep @ self.deep_down
        maps = maps.flatten(2) * 0.5
        peaks = maps.amax(dim=2)
        weights = self.outer * params[0] + (1.0 - self.outer)
        chosen = (peaks * weights).argmax(dim=1, keepdim=True)
        factor = torch.pow(params[3], self.exponents.expand(peaks.shape[0], 3).gather(1, chosen))
        response = maps.gather(1, chosen.unsqueeze(2).expand(-1, 1, maps.shape[2])).squeeze(1)
        peak = peaks.gather(1, chosen)
        lowest = response.amin(dim=1, keepdim=True)
        response = (response - lowest) / (peak - lowest + 1e-6)
        response = response * (1.0 - params[1]) + self.window * params[1]
        best = response.argmax(dim=1, keepdim=True)
        row = torch.div(best, self.fine, rounding_mode="floor")
        offset = torch.cat([best - row * self.fine, row], dim=1).to(torch.float32) - float(REACH)
        size = size * (1.0 - params[2] + params[2] * factor)
        return torch.cat([offset, size], dim=1), peak.reshape(-1), best.reshape(-1).to(torch.int32)
