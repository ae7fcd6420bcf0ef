"""The heads of NanoTrack: correlation of template and search features, one class and one box tower.

Source: HonglinChu/SiamTrackers:NanoTrack/nanotrack/models/head/ban_v1.py, ban_v2.py, ban_v3.py. Each version has a head
of its own, as upstream has: their parts are named alike and connected differently. A head returns class logits and the
logarithms of the distances.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from . import correlation

PIXELS = 64
"""Pixels of the 8x8 template, hence channels of a pixel-wise correlation."""


class ChannelAttention(nn.Module):
    """Channels weighted by two 1x1 convolutions of their averages."""

    def __init__(self, channels: int = PIXELS, reduction: int = 1) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // reduction, 1)
        self.relu = nn.ReLU(inplace=True)
        self.fc2 = nn.Conv2d(channels // reduction, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, channels, h, w]."""
        weights: Tensor = self.fc2(self.relu(self.fc1(x.float().mean((2, 3), keepdim=True)))).sigmoid()
        return x * weights


class PixelwiseXCorr(nn.Module):
    """Every template pixel is a 1x1 kernel. V2 and V3 convolve both sides first, and V3 mixes the outcome (`tail`)."""

    def __init__(self, channels: int = 0, tail: bool = False) -> None:
        super().__init__()
        self.CA_layer = ChannelAttention()
        self.correlate = correlation.Pixelwise()
        self.conv_kernel: nn.Module = _conv_bn(channels) if channels else nn.Identity()
        self.conv_search: nn.Module = _conv_bn(channels) if channels else nn.Identity()
        if tail:
            self.conv = nn.Sequential(
                *(nn.Conv2d(PIXELS, PIXELS, 2, groups=PIXELS, bias=False), nn.BatchNorm2d(PIXELS)),
                *(nn.ReLU6(inplace=True), nn.Conv2d(PIXELS, PIXELS, 1), nn.BatchNorm2d(PIXELS)),
            )

    def template(self, zf: Tensor) -> Tensor:
        """Return the kernel [N, C, 8, 8]."""
        kernel: Tensor = self.conv_kernel(zf)
        return kernel

    def forward(self, xf: Tensor, kernel: Tensor) -> Tensor:
        """Return [N, 64, 16, 16], or [N, 64, 15, 15] with the tail."""
        out: Tensor = self.CA_layer(self.correlate(self.conv_search(xf), kernel))
        return self.conv(out) if hasattr(self, "conv") else out


class DepthwiseXCorr(nn.Module):
    """V3's second correlation: the template's 4x4 centre, channel by channel, with a border of one pixel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_kernel = _conv_bn(channels)
        self.conv_search = _conv_bn(channels)
        self.correlate = correlation.Depthwise(padding=1)

    def template(self, zf: Tensor) -> Tensor:
        """Return the kernel [N, C, 4, 4]."""
        kernel: Tensor = self.conv_kernel(zf[:, :, 2:6, 2:6])
        return kernel

    def forward(self, xf: Tensor, kernel: Tensor) -> Tensor:
        """Return [N, C, 15, 15]."""
        out: Tensor = self.correlate(self.conv_search(xf), kernel)
        return out


class HeadV1(nn.Module):
    """One correlation of the raw features feeds both towers."""

    kernel_names = ("kernel_pw",)

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.corr_pw = PixelwiseXCorr()
        self.cls_tower = _tower(PIXELS, 128, (5, 5, 3))
        self.bbox_tower = _tower(PIXELS, 96, (3, 3, 5, 5))
        self.cls_logits = nn.Sequential(nn.Conv2d(128, 2, 1))
        self.bbox_pred = nn.Sequential(nn.Conv2d(96, 4, 1))

    def template(self, zf: Tensor) -> tuple[Tensor, ...]:
        """Return the template's features, [N, 48, 8, 8]."""
        return (self.corr_pw.template(zf),)

    def search(self, xf: Tensor, *kernels: Tensor) -> tuple[Tensor, Tensor]:
        """Return class logits [N, 2, 16, 16] and the logarithms of the distances [N, 4, 16, 16]."""
        corr = self.corr_pw(xf, kernels[0])
        return self.cls_logits(self.cls_tower(corr)), self.bbox_pred(self.bbox_tower(corr))


class HeadV2(nn.Module):
    """A correlation for each tower, of convolved features."""

    kernel_names = ("kernel_pw_cls", "kernel_pw_reg")

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.corr_pw_reg = PixelwiseXCorr(channels)
        self.corr_pw_cls = PixelwiseXCorr(channels)
        self.cls_pw_tower = _tower(PIXELS, 96, (3,) * 6)
        self.bbox_pw_tower = _tower(PIXELS, 96, (3,) * 6)
        self.cls_pred = nn.Sequential(nn.Conv2d(96, 2, 1))
        self.bbox_pred = nn.Sequential(nn.Conv2d(96, 4, 1))

    def template(self, zf: Tensor) -> tuple[Tensor, ...]:
        """Return the kernels of the class and of the box tower, [N, 48, 8, 8] each."""
        return self.corr_pw_cls.template(zf), self.corr_pw_reg.template(zf)

    def search(self, xf: Tensor, *kernels: Tensor) -> tuple[Tensor, Tensor]:
        """Return class logits [N, 2, 16, 16] and the logarithms of the distances [N, 4, 16, 16]."""
        cls = self.cls_pred(self.cls_pw_tower(self.corr_pw_cls(xf, kernels[0])))
        return cls, self.bbox_pred(self.bbox_pw_tower(self.corr_pw_reg(xf, kernels[1])))


class HeadV3(nn.Module):
    """A pixel-wise and a depthwise correlation for each tower."""

    kernel_names = ("kernel_pw_cls", "kernel_dw_cls", "kernel_pw_reg", "kernel_dw_reg")

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.corr_dw_reg = DepthwiseXCorr(channels)
        self.corr_pw_reg = PixelwiseXCorr(channels, tail=True)
        self.corr_dw_cls = DepthwiseXCorr(channels)
        self.corr_pw_cls = PixelwiseXCorr(channels, tail=True)
        self.cls_tower = _normed_tower(channels, 6)
        self.bbox_tower = _normed_tower(channels, 6)
        self.cls_logits = nn.Sequential(nn.Conv2d(channels, 2, 1))
        self.bbox_pred = nn.Sequential(nn.Conv2d(channels, 4, 1))
        self.down_reg = nn.Sequential(nn.Conv2d(channels + PIXELS, channels, 1))
        self.down_cls = nn.Sequential(nn.Conv2d(channels + PIXELS, channels, 1))

    def template(self, zf: Tensor) -> tuple[Tensor, ...]:
        """Return pixel-wise [N, 96, 8, 8] and depthwise [N, 96, 4, 4] kernels, the class tower's first."""
        cls = self.corr_pw_cls.template(zf), self.corr_dw_cls.template(zf)
        return *cls, self.corr_pw_reg.template(zf), self.corr_dw_reg.template(zf)

    def search(self, xf: Tensor, *kernels: Tensor) -> tuple[Tensor, Tensor]:
        """Return class logits [N, 2, 15, 15] and the logarithms of the distances [N, 4, 15, 15]."""
        cls = torch.cat([self.corr_pw_cls(xf, kernels[0]), self.corr_dw_cls(xf, kernels[1])], 1)
        reg = torch.cat([self.corr_pw_reg(xf, kernels[2]), self.corr_dw_reg(xf, kernels[3])], 1)
        logits = self.cls_logits(self.cls_tower(self.down_cls(cls)))
        return logits, self.bbox_pred(self.bbox_tower(self.down_reg(reg)))


def _conv_bn(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, channels, 1), nn.BatchNorm2d(channels))


def _tower(inputs: int, width: int, kernels: Sequence[int]) -> nn.Sequential:
    """Depthwise, pointwise, batch norm, ReLU6 for each kernel side (V1, V2)."""
    layers: list[nn.Module] = []
    for kernel in kernels:
        layers.append(nn.Conv2d(inputs, inputs, kernel, padding=kernel // 2, groups=inputs, bias=False))
        layers += [nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU6(inplace=True)]
        inputs = width
    return nn.Sequential(*layers)


def _normed_tower(width: int, units: int) -> nn.Sequential:
    """Depthwise, batch norm, ReLU6, pointwise, batch norm, and no activation at a unit's end (V3)."""
    layers: list[nn.Module] = []
    for _ in range(units):
        layers += [nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False), nn.BatchNorm2d(width)]
        layers += [nn.ReLU6(inplace=True), nn.Conv2d(width, width, 1, bias=False), nn.BatchNorm2d(width)]
    return nn.Sequential(*layers)
