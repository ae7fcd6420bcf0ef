"""The front of MobileNetV3-small, as NanoTrack cut it: padded, total stride 16.

Source: HonglinChu/SiamTrackers:NanoTrack/nanotrack/models/backbone/mobile_v3.py.
"""

from typing import NamedTuple

from torch import Tensor, nn


class Row(NamedTuple):
    """One block; `squeeze` is the width of its squeeze-and-excite, 0 for none; without `hswish` it has ReLUs."""

    kernel: int
    hidden: int
    outputs: int
    squeeze: int
    hswish: bool
    stride: int


ROWS = (
    Row(3, 16, 16, 8, False, 2),
    Row(3, 72, 24, 0, False, 2),
    Row(3, 88, 24, 0, False, 1),
    Row(5, 96, 40, 24, True, 2),
    Row(5, 240, 40, 64, True, 1),
    Row(5, 240, 40, 64, True, 1),
    Row(5, 120, 48, 32, True, 1),
    Row(5, 144, 48, 40, True, 1),
    Row(5, 288, 96, 72, True, 1),
)
"""features.1 to features.9; the last is NanoTrack V3's alone."""


class SqueezeExcite(nn.Module):
    """Channels weighted by what they hold on average."""

    def __init__(self, channels: int, middle: int) -> None:
        super().__init__()
        self.fc = nn.Sequential(
            nn.Linear(channels, middle), nn.ReLU(inplace=True), nn.Linear(middle, channels), nn.Hardsigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, C, h, w]."""
        weights: Tensor = self.fc(x.float().mean((2, 3)))
        return x * weights[:, :, None, None]


class Block(nn.Module):
    """The inverted residual; without expansion where the hidden width is the input's."""

    def __init__(self, inputs: int, row: Row) -> None:
        super().__init__()
        hidden = row.hidden
        act = nn.Hardswish(inplace=True) if row.hswish else nn.ReLU(inplace=True)
        depthwise = nn.Conv2d(hidden, hidden, row.kernel, row.stride, row.kernel // 2, groups=hidden, bias=False)
        squeeze = SqueezeExcite(hidden, row.squeeze) if row.squeeze else nn.Identity()
        out = (nn.Conv2d(hidden, row.outputs, 1, bias=False), nn.BatchNorm2d(row.outputs))
        if inputs == hidden:
            self.conv = nn.Sequential(depthwise, nn.BatchNorm2d(hidden), act, squeeze, *out)
        else:
            expand = (nn.Conv2d(inputs, hidden, 1, bias=False), nn.BatchNorm2d(hidden), act)
            self.conv = nn.Sequential(*expand, depthwise, nn.BatchNorm2d(hidden), squeeze, act, *out)
        self.residual = row.stride == 1 and inputs == row.outputs

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, outputs, h, w]."""
        out: Tensor = self.conv(x)
        return x + out if self.residual else out


class MobileNetV3(nn.Module):
    """The stem and the first `blocks` rows: 8 for NanoTrack V1 and V2 (48 channels), 9 for V3 (96 channels)."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        stem = (nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.Hardswish(inplace=True))
        layers: list[nn.Module] = [nn.Sequential(*stem)]
        channels = 16
        for row in ROWS[:blocks]:
            layers.append(Block(channels, row))
            channels = row.outputs
        self.features = nn.Sequential(*layers)
        self.out_channels = channels

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, C, h, w]: 127 px give 8, 255 give 16."""
        out: Tensor = self.features(x)
        return out
