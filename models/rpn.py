"""Neck and heads of the SiamRPN family: from feature maps to class logits and box offsets.

A head has two halves, as its network has: `template` turns the target's features into kernels, `search` correlates
them. Layout of the maps, K anchors: cls [N, 2K, S, S] is K background channels, then K foreground channels; loc [N,
4K, S, S] is K channels each of dx, dy, dw, dh. Both are raw: no softmax, no decoding.

Source: SiamRPN sec. 3.2, SiamRPN++ sec. 3.4; STVIR/pysot:pysot/models/neck/neck.py, pysot/models/head/rpn.py.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from . import correlation

CROP_BELOW = 20
"""A template map narrower than this is cropped, by the neck, to its centre."""

CROP_TO = 7


class AdjustLayer(nn.Module):
    """A 1x1 convolution with batch norm that brings one feature map to `outputs` channels."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor, crop: bool) -> Tensor:
        """Return [N, outputs, h, w]; with `crop`, a map narrower than 20 is cut to its 7x7 centre."""
        out: Tensor = self.downsample(x)
        if crop and out.shape[3] < CROP_BELOW:
            first = (out.shape[3] - CROP_TO) // 2
            out = out[:, :, first : first + CROP_TO, first : first + CROP_TO]
        return out


class Neck(nn.Module):
    """One `AdjustLayer` for each level, named as PySOT's AdjustAllLayer: `downsample`, or `downsample2`, `3`, `4` for
    more.

    Upstream crops whatever is narrower than 20; here only the template asks for it, so that a small search crop keeps
    its map.
    """

    def __init__(self, inputs: Sequence[int], outputs: Sequence[int]) -> None:
        super().__init__()
        self.names = ["downsample"] if len(inputs) == 1 else [f"downsample{i + 2}" for i in range(len(inputs))]
        for name, c_in, c_out in zip(self.names, inputs, outputs, strict=True):
            setattr(self, name, AdjustLayer(c_in, c_out))

    def forward(self, maps: Sequence[Tensor], crop: bool) -> list[Tensor]:
        """Return the maps with their new channels, in order."""
        return [getattr(self, name)(x, crop) for name, x in zip(self.names, maps, strict=True)]


class SingleNeck(AdjustLayer):
    """PySOT's plain AdjustLayer used as the whole neck of a one-level network: its keys lack one `downsample`."""

    def forward(self, maps: Sequence[Tensor], crop: bool) -> list[Tensor]:  # type: ignore[override]
        """Return the one map with its new channels."""
        return [super().forward(maps[0], crop)]


class DepthwiseXCorr(nn.Module):
    """One branch of a depthwise head: the class logits or the box offsets of one level."""

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.conv_kernel = _conv3x3_bn_relu(inputs, hidden)
        self.conv_search = _conv3x3_bn_relu(inputs, hidden)
        self.head = nn.Sequential(
            *(nn.Conv2d(hidden, hidden, 1, bias=False), nn.BatchNorm2d(hidden), nn.ReLU(inplace=True)),
            nn.Conv2d(hidden, outputs, 1),
        )
        self.correlate = correlation.Depthwise()

    def template(self, zf: Tensor) -> Tensor:
        """Return the kernel [N, hidden, h - 2, w - 2] of template features [N, C, h, w]: 5x5, or 4x4 for AlexNet."""
        kernel: Tensor = self.conv_kernel(zf)
        return kernel

    def search(self, xf: Tensor, kernel: Tensor) -> Tensor:
        """Return the map [N, outputs, S, S] of search features [N, C, h, w]."""
        out: Tensor = self.head(self.correlate(self.conv_search(xf), kernel))
        return out


class DepthwiseRPN(nn.Module):
    """A depthwise head over one level. Source: SiamRPN++ sec. 3.4."""

    kernel_names: tuple[str, ...] = ("kernel_cls", "kernel_loc")

    def __init__(self, anchors: int, inputs: int, hidden: int) -> None:
        super().__init__()
        self.cls = DepthwiseXCorr(inputs, hidden, 2 * anchors)
        self.loc = DepthwiseXCorr(inputs, hidden, 4 * anchors)

    def template(self, zf: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return the two kernels [N, hidden, k, k] of the one map in `zf`."""
        return self.cls.template(zf[0]), self.loc.template(zf[0])

    def search(self, xf: Sequence[Tensor], *kernels: Tensor) -> tuple[Tensor, Tensor]:
        """Return cls [N, 2K, S, S] and loc [N, 4K, S, S] of the one map in `xf`."""
        return self.cls.search(xf[0], kernels[0]), self.loc.search(xf[0], kernels[1])


class MultiRPN(nn.Module):
    """Depthwise heads `rpn2`, `rpn3`, `rpn4` over several levels, their maps averaged.

    With `weighted`, the average is softmax(cls_weight), softmax(loc_weight): the parameters are logits. Source:
    SiamRPN++ sec. 3.3.
    """

    def __init__(self, anchors: int, inputs: Sequence[int], weighted: bool) -> None:
        super().__init__()
        self.weighted = weighted
        if weighted:
            self.cls_weight = nn.Parameter(torch.ones(len(inputs)))
            self.loc_weight = nn.Parameter(torch.ones(len(inputs)))
        self.names = [f"rpn{i + 2}" for i in range(len(inputs))]
        for name, c in zip(self.names, inputs, strict=True):
            setattr(self, name, DepthwiseRPN(anchors, c, c))
        self.kernel_names = tuple(f"kernel_{name}_{branch}" for name in self.names for branch in ("cls", "loc"))

    def levels(self) -> list[DepthwiseRPN]:
        """Return the heads in order of depth."""
        return [getattr(self, name) for name in self.names]

    def level_weights(self) -> tuple[Tensor, Tensor]:
        """Return the weights of the levels in the average, [levels] each, for cls and for loc."""
        if self.weighted:
            return self.cls_weight.softmax(0), self.loc_weight.softmax(0)
        mean = next(self.parameters()).new_full((len(self.names),), 1 / len(self.names))
        return mean, mean

    def template(self, zf: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return the kernels [N, C, k, k], cls and loc of each level in turn."""
        return tuple(k for level, z in zip(self.levels(), zf, strict=True) for k in level.template([z]))

    def search(self, xf: Sequence[Tensor], *kernels: Tensor) -> tuple[Tensor, Tensor]:
        """Return cls [N, 2K, S, S] and loc [N, 4K, S, S]."""
        maps = [
            level.search([x], *kernels[2 * i : 2 * i + 2])
            for i, (level, x) in enumerate(zip(self.levels(), xf, strict=True))
        ]
        cls_weight, loc_weight = self.level_weights()
        cls = torch.stack([weight * level[0] for weight, level in zip(cls_weight, maps, strict=True)]).sum(0)
        loc = torch.stack([weight * level[1] for weight, level in zip(loc_weight, maps, strict=True)]).sum(0)
        return cls, loc


class UPChannelRPN(nn.Module):
    """The up-channel head of SiamRPN: the template makes a full kernel for every output channel."""

    kernel_names: tuple[str, ...] = ("kernel_cls", "kernel_loc")

    def __init__(self, anchors: int, inputs: int) -> None:
        super().__init__()
        self.anchors = anchors
        self.template_cls_conv = nn.Conv2d(inputs, inputs * 2 * anchors, 3)
        self.template_loc_conv = nn.Conv2d(inputs, inputs * 4 * anchors, 3)
        self.search_cls_conv = nn.Conv2d(inputs, inputs, 3)
        self.search_loc_conv = nn.Conv2d(inputs, inputs, 3)
        self.loc_adjust = nn.Conv2d(4 * anchors, 4 * anchors, 1)
        self.correlate_cls = correlation.Full()
        self.correlate_loc = correlation.Full()

    def template(self, zf: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return the kernels [N, 2K, C, k, k] and [N, 4K, C, k, k] of the one map in `zf`."""
        cls = up_channel_kernels(self.template_cls_conv(zf[0]), 2 * self.anchors)
        loc = up_channel_kernels(self.template_loc_conv(zf[0]), 4 * self.anchors)
        return cls, loc

    def search(self, xf: Sequence[Tensor], *kernels: Tensor) -> tuple[Tensor, Tensor]:
        """Return cls [N, 2K, S, S] and loc [N, 4K, S, S] of the one map in `xf`."""
        cls = self.correlate_cls(self.search_cls_conv(xf[0]), kernels[0])
        loc = self.loc_adjust(self.correlate_loc(self.search_loc_conv(xf[0]), kernels[1]))
        return cls, loc


def up_channel_kernels(x: Tensor, outputs: int) -> Tensor:
    """Return the kernels [N, outputs, F, k, k] in the channels of a template convolution [N, outputs * F, k, k]."""
    return x.reshape(x.shape[0], outputs, x.shape[1] // outputs, x.shape[2], x.shape[3])


def _conv3x3_bn_relu(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))
