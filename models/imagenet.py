"""The colours that networks trained on ImageNet expect."""

import torch
from torch import Tensor, nn

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""Of red, green and blue, 0..1."""


class Normalise(nn.Module):
    """(x / 255 - mean) / std of RGB 0..255. No part of a checkpoint."""

    mean: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        mean, std = (torch.tensor(values).reshape(1, 3, 1, 1) * 255 for values in (MEAN, STD))
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("scale", 1.0 / std, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, 3, H, W] of `x` [N, 3, H, W]."""
        return (x - self.mean) * self.scale
