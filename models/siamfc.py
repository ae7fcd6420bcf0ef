"""SiamFC: AlexNet features, one correlation, one score map.

Source: SiamFC (ECCV 2016 workshops) sec. 2; huanglianghua/siamfc-pytorch:siamfc/backbones.py, siamfc/heads.py. The
crops are RGB here, unlike in the SiamRPN family. Version 1 is what the tracker uses and its weights exist for; 2 and
3 are upstream's variants without weights.
"""

from typing import NamedTuple

from torch import Tensor, nn

from . import correlation
from .network import SiameseNet


class Version(NamedTuple):
    """What tells one AlexNet of siamfc-pytorch from another."""

    channels: tuple[int, int, int, int, int]
    groups: int
    second_pool_stride: int
    last_norm: bool


VERSIONS = {
    1: Version((96, 256, 384, 384, 256), groups=2, second_pool_stride=2, last_norm=False),
    2: Version((96, 256, 384, 384, 32), groups=2, second_pool_stride=1, last_norm=False),
    3: Version((192, 512, 768, 768, 512), groups=1, second_pool_stride=2, last_norm=True),
}
"""Total stride is 8, 4 and 8."""

BATCH_NORM_EPS = 1e-6


class AlexNetV(nn.Module):
    """The backbone of SiamFC (and of SA-Siam's appearance branch): grouped as the first AlexNet was on its two GPUs.

    Without `norm_bias`, a convolution that a batch norm follows has no bias of its own.
    """

    def __init__(self, version: int = 1, norm_bias: bool = True) -> None:
        super().__init__()
        (c1, c2, c3, c4, c5), groups, second, last_norm = VERSIONS[version]
        self.conv1 = nn.Sequential(*_unit(nn.Conv2d(3, c1, 11, stride=2, bias=norm_bias)), nn.MaxPool2d(3, 2))
        self.conv2 = nn.Sequential(*_unit(nn.Conv2d(c1, c2, 5, groups=groups, bias=norm_bias)), nn.MaxPool2d(3, second))
        self.conv3 = nn.Sequential(*_unit(nn.Conv2d(c2, c3, 3, bias=norm_bias)))
        self.conv4 = nn.Sequential(*_unit(nn.Conv2d(c3, c4, 3, groups=groups, bias=norm_bias)))
        last = nn.Conv2d(c4, c5, 3, groups=groups)
        self.conv5 = nn.Sequential(last, _norm(c5)) if last_norm else nn.Sequential(last)

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, C, h, w]; versions 1 and 3: 127 px give 6, 255 give 22; version 2: 17 and 49."""
        out: Tensor = self.conv5(self.conv4(self.conv3(self.conv2(self.conv1(x)))))
        return out


class SiamFC(SiameseNet):
    """SiamFC as siamfc-pytorch has it; the score is the correlation times `out_scale`."""

    kernel_names = ("kernel_zf",)
    map_names = ("score",)

    def __init__(self, version: int = 1, out_scale: float = 0.001) -> None:
        super().__init__()
        self.backbone = AlexNetV(version)
        self.out_scale = out_scale
        self.correlate = correlation.Full()

    def template(self, z: Tensor) -> tuple[Tensor, ...]:
        """Return the scaled template features [N, 1, C, k, k].

        The factor sits in the kernel, not behind the correlation, whose unscaled sums would overflow half precision.
        """
        return ((self.backbone(z).float() * self.out_scale).unsqueeze(1),)

    def search(self, x: Tensor, *kernels: Tensor) -> tuple[Tensor, ...]:
        """Return the score [N * scales, 1, S, S] of crops [N * scales, 3, I, I]: 255 px give 17x17 (version 2: 33)."""
        return (self.correlate(self.backbone(x), kernels[0]),)


def _unit(conv: nn.Conv2d) -> tuple[nn.Module, ...]:
    return conv, _norm(conv.out_channels), nn.ReLU(inplace=True)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=BATCH_NORM_EPS, momentum=0.05)
