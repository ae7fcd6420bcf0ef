"""The depthwise heads with everything that can be merged merged: the same maps from half the nodes.

Per level, the class and box branches run as one: one search convolution, one kernel tensor, one correlation, one
grouped 1x1 convolution. The last convolutions of all levels are one over the concatenated channels, with the weights
of the levels multiplied in. Batch norms that follow a merged convolution are folded into it, in double precision.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from . import correlation
from .rpn import DepthwiseRPN, MultiRPN


class FusedLevel(nn.Module):
    """One `DepthwiseRPN` up to its last convolution; channels are the class branch's, then the box branch's."""

    def __init__(self, rpn: DepthwiseRPN) -> None:
        super().__init__()
        branches = (rpn.cls, rpn.loc)
        self.conv_kernel = _merged([_conv_bn(b.conv_kernel) for b in branches], groups=1)
        self.conv_search = _merged([_conv_bn(b.conv_search) for b in branches], groups=1)
        self.conv_head = _merged([_conv_bn(b.head) for b in branches], groups=2)
        self.relu = nn.ReLU()

    def template(self, zf: Tensor) -> Tensor:
        """Return the kernel [N, 2C, k, k] of template features [N, C, h, w]."""
        kernel: Tensor = self.relu(self.conv_kernel(zf))
        return kernel

    def search(self, xf: Tensor, kernel: Tensor) -> Tensor:
        """Return the features [N, 2C, S, S] that the last convolution turns into maps."""
        out: Tensor = self.relu(self.conv_head(correlation.depthwise(self.relu(self.conv_search(xf)), kernel)))
        return out


class FusedRPN(nn.Module):
    """A `DepthwiseRPN` or `MultiRPN`, merged; one kernel [N, 2C, k, k] a level."""

    def __init__(self, head: DepthwiseRPN | MultiRPN) -> None:
        super().__init__()
        levels = head.levels() if isinstance(head, MultiRPN) else [head]
        names = head.names if isinstance(head, MultiRPN) else ["rpn"]
        weights = head.level_weights() if isinstance(head, MultiRPN) else (torch.ones(1), torch.ones(1))
        self.kernel_names = tuple(f"kernel_{name}" for name in names)
        self.names = names
        for name, level in zip(names, levels, strict=True):
            setattr(self, name, FusedLevel(level))
        self.cls_channels = _conv(levels[0].cls.head[3]).out_channels
        self.last = _last(levels, weights[0], weights[1])

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


def _conv(module: nn.Module) -> nn.Conv2d:
    assert isinstance(module, nn.Conv2d)
    return module


def _bias(conv: nn.Conv2d) -> Tensor:
    assert conv.bias is not None
    return conv.bias


@torch.no_grad()
def _conv_bn(layers: nn.Sequential) -> tuple[Tensor, Tensor]:
    """Return weight and bias, in double precision, of the convolution and the batch norm that `layers` begins with."""
    conv, norm = _conv(layers[0]), layers[1]
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    weight = conv.weight.double() * scale[:, None, None, None]
    return weight, norm.bias.double() - norm.running_mean.double() * scale


@torch.no_grad()
def _merged(parts: list[tuple[Tensor, Tensor]], groups: int) -> nn.Conv2d:
    """Return one convolution with the output channels of all parts, which share the input (groups = 1) or split it."""
    weight = torch.cat([w for w, _ in parts])
    conv = nn.Conv2d(weight.shape[1] * groups, weight.shape[0], weight.shape[2], groups=groups)
    conv.weight.copy_(weight)
    _bias(conv).copy_(torch.cat([b for _, b in parts]))
    return conv


@torch.no_grad()
def _last(levels: Sequence[DepthwiseRPN], cls_weight: Tensor, loc_weight: Tensor) -> nn.Conv2d:
    """Return the last 1x1 convolutions of all levels as one, over [cls, loc] of each level in turn."""
    cls = [_conv(level.cls.head[3]) for level in levels]
    loc = [_conv(level.loc.head[3]) for level in levels]
    split = cls[0].out_channels
    conv = nn.Conv2d(2 * sum(c.in_channels for c in cls), split + loc[0].out_channels, 1)
    weight, bias = conv.weight.zero_(), _bias(conv).zero_()
    start = 0
    for c, b, c_weight, b_weight in zip(cls, loc, cls_weight, loc_weight, strict=True):
        width = c.in_channels
        weight[:split, start : start + width] = c.weight * c_weight
        weight[split:, start + width : start + 2 * width] = b.weight * b_weight
        bias[:split] += _bias(c) * c_weight
        bias[split:] += _bias(b) * b_weight
        start += 2 * width
    return conv
