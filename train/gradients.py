"""Gradients of the depth-wise correlation by forward convolutions: torch's own crawl on a CPU.

Measured on one core, 32 pairs of 64 channels: 13 ms rather than 43.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models import correlation


class Depthwise(torch.autograd.Function):
    """`models.correlation.depthwise` without padding, and both of its gradients as grouped correlations."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: Tensor) -> Tensor:
        """Return [N, C, H', W']."""
        ctx.save_for_backward(x, kernel)
        return _grouped(x, kernel)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradients of `x` and `kernel`."""
        x, kernel = ctx.saved_tensors
        (gradient,) = gradients
        h, w = kernel.shape[2] - 1, kernel.shape[3] - 1
        padded = F.pad(gradient, (w, w, h, h))
        return _grouped(padded, kernel.flip((2, 3))), _grouped(x, gradient.contiguous())


def _grouped(x: Tensor, kernel: Tensor) -> Tensor:
    n, c, h, w = kernel.shape
    out = F.conv2d(x.reshape(1, n * c, *x.shape[2:]), kernel.reshape(n * c, 1, h, w), groups=n * c)
    return out.reshape(n, c, *out.shape[2:])


@contextmanager
def forward_gradients() -> Iterator[None]:
    """Let every network's depth-wise correlation take its gradients this way, inside the block."""
    original = correlation.depthwise

    def replaced(x: Tensor, kernel: Tensor, padding: int = 0) -> Tensor:
        out: Tensor = Depthwise.apply(F.pad(x, (padding,) * 4) if padding else x, kernel)  # type: ignore[no-untyped-call]
        return out

    correlation.depthwise = replaced
    try:
        yield
    finally:
        correlation.depthwise = original


class FloatConv2d(nn.Conv2d):
    """A convolution that stays float32 inside autocast."""

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, outputs, H', W']."""
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float())


def quick_on_cpu(net: nn.Module) -> None:
    """Let depth-wise convolutions with a stride stay float32 under autocast on a CPU.

    Measured on one core with AMX, 144 channels of 64 x 64 cells: oneDNN takes 12.9 ms for both passes of a bfloat16
    crop and 2.4 ms for a float32 one.
    """
    for module in net.modules():
        if type(module) is nn.Conv2d and module.groups == module.in_channels > 1 and module.stride != (1, 1):
            module.__class__ = FloatConv2d
