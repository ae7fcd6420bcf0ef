"""Backbones of SiamDW: residual networks whose units crop what their padding has spoilt (CIR).

A 3x3 convolution pads, so that the shortcut fits; the border that has seen padding is then cut off, one pixel a side.
Downsampling is a unit followed by a 2x2 pool. Total stride 8 (4 for CIResNet-43). What is cut off need not be computed:
`crop_first` crops before instead.

Source: SiamDW (CVPR 2019) sec. 4; researchmm/SiamDW:lib/models/backbones.py, modules.py. CIResNet-16, -19 and -43 are
in the paper only (table 3): here they have its numbers of units, not those of upstream's tutorial.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn


def crop(x: Tensor, border: int) -> Tensor:
    """Return `x` [N, C, h, w] without `border` rows and columns on every side."""
    return x[:, :, border:-border, border:-border]


class CroppedUnit(nn.Module):
    """A unit whose border is cut off: after it, or with `crop_first` from what needs no 3x3 convolution, before it."""

    crop_first = False

    def before(self, x: Tensor) -> Tensor:
        """Return what the shortcut, or the branch without a 3x3 convolution, takes."""
        return crop(x, 1) if self.crop_first else x

    def after(self, x: Tensor) -> Tensor:
        """Return what the unit gives."""
        return x if self.crop_first else crop(x, 1)


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1, each with batch norm; ReLU after the first two."""

    def __init__(self, inputs: int, width: int, middle: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, middle, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(middle)
        self.conv3 = nn.Conv2d(middle, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.relu = nn.ReLU(inplace=True)

    def residual(self, x: Tensor) -> Tensor:
        """Return [N, 4 * width, h, w]."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        added: Tensor = self.bn3(self.conv3(out))
        return added


class CIRUnit(CroppedUnit, Bottleneck):
    """The cropping-inside residual unit; `wide` doubles its 3x3 convolution."""

    def __init__(self, inputs: int, width: int, last: bool, wide: bool = False) -> None:
        super().__init__(inputs, width, 2 * width if wide else width)
        self.downsample: nn.Module | None = None
        if inputs != 4 * width:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width))
        self.last = last
        self.out_channels = 4 * width

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, 4 * width, h - 2, w - 2]; the last unit of a network leaves out the ReLU."""
        shortcut = self.before(x)
        if self.downsample is not None:
            shortcut = self.downsample(shortcut)
        out = self.residual(x) + shortcut
        return self.after(out if self.last else self.relu(out))


class BottleneckBranch(Bottleneck):
    """The 3x3 branch of the Inception unit: a bottleneck without shortcut."""

    def __init__(self, inputs: int, width: int, last: bool) -> None:
        super().__init__(inputs, width, width)
        self.last = last

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, 4 * width, h, w]."""
        out = self.residual(x)
        return out if self.last else self.relu(out)


class PointBranch(nn.Module):
    """The 1x1 branch of the Inception unit. Its batch norm alone has eps 1e-3."""

    def __init__(self, inputs: int, width: int, last: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn = nn.BatchNorm2d(width, eps=1e-3)
        self.relu = nn.ReLU(inplace=True)
        self.last = last

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, width, h, w]."""
        out: Tensor = self.bn(self.conv(x))
        return out if self.last else self.relu(out)


class InceptionUnit(CroppedUnit):
    """Two branches side by side. The paper draws a shortcut around them; the released unit adds none."""

    def __init__(self, inputs: int, width: int, last: bool) -> None:
        super().__init__()
        self.branch3x3 = BottleneckBranch(inputs, width, last)
        self.branch1x1 = PointBranch(inputs, width, last)
        self.out_channels = 5 * width

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, 5 * width, h - 2, w - 2]."""
        return self.after(torch.cat([self.branch3x3(x), self.branch1x1(self.before(x))], 1))


class NeXtUnit(CroppedUnit):
    """The ResNeXt unit, 32 groups: batch norm comes after the addition, and the shortcut has none of its own."""

    def __init__(self, inputs: int, width: int, last: bool) -> None:
        super().__init__()
        middle, outputs = 2 * width, 4 * width
        self.basic = nn.Sequential()
        self.basic.add_module("conv1_0", nn.Conv2d(inputs, middle, 1, bias=False))
        self.basic.add_module("bn1", nn.BatchNorm2d(middle))
        self.basic.add_module("relu1", nn.ReLU(inplace=True))
        self.basic.add_module("conv3_0", nn.Conv2d(middle, middle, 3, padding=1, groups=32, bias=False))
        self.basic.add_module("bn2", nn.BatchNorm2d(middle))
        self.basic.add_module("relu2", nn.ReLU(inplace=True))
        self.basic.add_module("conv1_1", nn.Conv2d(middle, outputs, 1, bias=False))
        self.basic.add_module("bn3", nn.BatchNorm2d(outputs))
        self.shortcut = nn.Sequential()
        if inputs != outputs:
            self.shortcut.append(nn.Conv2d(inputs, outputs, 1, bias=False))
        self.bn0 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.last = last
        self.out_channels = outputs

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, 4 * width, h - 2, w - 2]."""
        out = self.bn0(self.basic(x) + self.shortcut(self.before(x)))
        return self.after(out if self.last else self.relu(out))


def _wide(inputs: int, width: int, last: bool) -> CIRUnit:
    return CIRUnit(inputs, width, last, wide=True)


class Plan(NamedTuple):
    """What tells one backbone from another: units, how many in each stage, and the stem."""

    unit: Callable[[int, int, bool], CIRUnit | InceptionUnit | NeXtUnit]
    units: tuple[int, ...]
    pool_after: int = 1
    """In the last stage, the 2x2 pool follows this unit."""
    stem: str = "cropped"
    """"cropped": padded 7x7, crop 2, 2x2 pool; "unpooled": the same, no pool; "valid": unpadded 7x7, 3x3 pool."""
    stem_names: tuple[str, str] = ("conv1", "bn1")
    stem_bias: bool = False


PLANS = {
    "CIResNet-16": Plan(CIRUnit, (1, 4)),
    "CIResNet-19": Plan(CIRUnit, (2, 4)),
    "CIResNet-22": Plan(CIRUnit, (3, 4)),
    "CIResNet-22W": Plan(_wide, (3, 4)),
    "CIResNet-43": Plan(CIRUnit, (14,), pool_after=4, stem="unpooled"),
    "CIResInception-22": Plan(InceptionUnit, (3, 4), stem="valid"),
    "CIResNeXt-22": Plan(NeXtUnit, (3, 4), stem="valid", stem_names=("conv0", "bn0"), stem_bias=True),
}


class CIRNet(nn.Module):
    """A backbone of PLANS; 127 px give 5x5 (22 layers), 255 give 21x21."""

    crop_first = False

    def __init__(self, name: str) -> None:
        super().__init__()
        plan = PLANS[name]
        self.plan = plan
        valid = plan.stem == "valid"
        setattr(self, plan.stem_names[0], nn.Conv2d(3, 64, 7, 2, padding=0 if valid else 3, bias=plan.stem_bias))
        setattr(self, plan.stem_names[1], nn.BatchNorm2d(64))
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2) if valid else nn.MaxPool2d(2, 2)
        channels = 64
        for stage, count in enumerate(plan.units, start=1):
            final = stage == len(plan.units)
            layers: list[nn.Module] = []
            for unit in range(count):
                layers.append(plan.unit(channels, 64 * 2 ** (stage - 1), final and unit == count - 1))
                channels = layers[-1].out_channels  # type: ignore[assignment]
                if final and unit + 1 == plan.pool_after:
                    layers.append(nn.MaxPool2d(2, 2))
            setattr(self, f"layer{stage}", nn.Sequential(*layers))
        self.out_channels = channels

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, C, h, w]."""
        conv, norm = self.plan.stem_names
        cropped = self.plan.stem != "valid"
        if cropped and self.crop_first:
            x = crop(x, 1)
        x = self.relu(getattr(self, norm)(getattr(self, conv)(x)))
        if cropped and not self.crop_first:
            x = crop(x, 2)
        if self.plan.stem != "unpooled":
            x = self.maxpool(x)
        for stage in range(1, len(self.plan.units) + 1):
            x = getattr(self, f"layer{stage}")(x)
        return x


def crop_first(net: nn.Module) -> None:
    """Change the units of `net` so that they compute nothing that they crop: the same features, 7 % cheaper at 255 px.

    The stem crops two features, of stride 2 and behind a padding of 3: the first one left begins at pixel 4 - 3 = 1.
    """
    for module in net.modules():
        if isinstance(module, CroppedUnit | CIRNet):
            module.crop_first = True
        if isinstance(module, nn.Conv2d):
            module.padding = (0, 0)
