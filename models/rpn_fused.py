"""The depthwise heads with everything that can be merged merged: the same maps from half the nodes.

Per level, the class and box branches run as one: one search convolution, one kernel tensor, one correlation, one
grouped 1x1 convolution. The last convolutions of all levels are one over the concatenated channels, with the weights
of the levels multiplied in.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from . import correlation
from .folding import affine, as_conv, block_diagonal, convolution, side_by_side
from .rpn import DepthwiseRPN, MultiRPN


class FusedLevel(nn.Module):
    """One `DepthwiseRPN` up to its last convolution; channels are the class branch's, then the box branch's."""

    def __init__(self, rpn: DepthwiseRPN) -> None:
        super().__init__()
        branches = (rpn.cls, rpn.loc)
        self.conv_kernel = side_by_side([b.conv_kernel for b in branches], shared_input=True)
        self.conv_search = side_by_side([b.conv_search for b in branches], shared_input=True)
        self.head = side_by_side([nn.Sequential(*list(b.head)[:3]) for b in branches])
        self.correlate = correlation.Depthwise()

    def template(self, zf: Tensor) -> Tensor:
        """Return the kernel [N, 2C, k, k] of template features [N, C, h, w]."""
        kernel: Tensor = self.conv_kernel(zf)
        return kernel

    def search(self, xf: Tensor, kernel: Tensor) -> Tensor:
        """Return the features [N, 2C, S, S] that the last convolution turns into maps."""
        out: Tensor = self.head(self.correlate(self.conv_search(xf), kernel))
        return out


class FusedRPN(nn.Module):
    """A `DepthwiseRPN` or `MultiRPN`, merged; one kernel [N, 2C, k, k] a level."""

    def __init__(self, head: DepthwiseRPN | MultiRPN) -> None:
        super().__init__()
        levels = head.levels() if isinstance(head, MultiRPN) else [head]
        weights = head.level_weights() if isinstance(head, MultiRPN) else (torch.ones(1), torch.ones(1))
        self.names = head.names if isinstance(head, MultiRPN) else ["rpn"]
        self.kernel_names = tuple(f"kernel_{name}" for name in self.names)
        for name, level in zip(self.names, levels, strict=True):
            setattr(self, name, FusedLevel(level))
        self.cls_channels = as_conv(levels[0].cls.head[3]).out_channels
        self.last = _last(levels, *weights)

    def levels(self) -> list[FusedLevel]:
        """Return the merged heads in order of depth."""
        return [getattr(self, name) for name in self.names]

    def template(self, zf: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return one kernel [N, 2C, k, k] a level."""
        return tuple(level.template(z) for level, z in zip(self.levels(), zf, strict=True))

    def search(self, xf: Sequence[Tensor], *kernels: Tensor) -> tuple[Tensor, Tensor]:
        """Return cls [N, 2K, S, S] and loc [N, 4K, S, S]."""
        maps = [level.search(x, kernel) for level, x, kernel in zip(self.levels(), xf, kernels, strict=True)]
        out = self.last(torch.cat(maps, 1) if len(maps) > 1 else maps[0])
        return out[:, : self.cls_channels], out[:, self.cls_channels :]


@torch.no_grad()
def _last(levels: Sequence[DepthwiseRPN], cls_weights: Tensor, loc_weights: Tensor) -> nn.Conv2d:
    """Return the last 1x1 convolutions of all levels as one, over [cls, loc] of each level in turn."""
    parts = []
    for level, *weights in zip(levels, cls_weights.double(), loc_weights.double(), strict=True):
        branches = [affine(as_conv(branch.head[3])) for branch in (level.cls, level.loc)]
        parts.append(block_diagonal([(w * k, b * k) for (w, b), k in zip(branches, weights, strict=True)]))
    return convolution(torch.cat([w for w, _ in parts], 1), torch.stack([b for _, b in parts]).sum(0))
