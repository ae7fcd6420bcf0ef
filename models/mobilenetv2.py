"""MobileNetV2 as PySOT changed it: total stride 8 and dilated last stages, any width.

Source: SiamRPN++ sec. 4.1; STVIR/pysot:pysot/models/backbone/mobile_v2.py. Unlike torchvision's, channels are truncated
rather than rounded to multiples of 8, strided convolutions are unpadded, and the first block expands too.
"""

from collections.abc import Iterable

from torch import Tensor, nn

STAGES = (
    (1, 16, 1, 1, 1),
    (6, 24, 2, 2, 1),
    (6, 32, 3, 2, 1),
    (6, 64, 4, 1, 2),
    (6, 96, 3, 1, 2),
    (6, 160, 3, 1, 4),
    (6, 320, 1, 1, 4),
)
"""Expansion, channels, blocks, stride and dilation of layer1 to layer7."""


class InvertedResidual(nn.Module):
    """1x1 expansion, 3x3 depthwise, 1x1 projection; the input is added where the shapes agree."""

    def __init__(self, inputs: int, outputs: int, stride: int, dilation: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        padding = 0 if stride == 2 else dilation
        self.residual = stride == 1 and inputs == outputs
        self.conv = nn.Sequential(
            *(nn.Conv2d(inputs, hidden, 1, bias=False), nn.BatchNorm2d(hidden), nn.ReLU6(inplace=True)),
            nn.Conv2d(hidden, hidden, 3, stride, padding, dilation, groups=hidden, bias=False),
            *(nn.BatchNorm2d(hidden), nn.ReLU6(inplace=True)),
            *(nn.Conv2d(hidden, outputs, 1, bias=False), nn.BatchNorm2d(outputs)),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, outputs, h, w]."""
        out: Tensor = self.conv(x)
        return x + out if self.residual else out


class MobileNetV2(nn.Module):
    """The dilated MobileNetV2; `used_layers` picks what it returns: 0 the stem, 1 to 7 the stages."""

    def __init__(self, width: float = 1.4, used_layers: Iterable[int] = (3, 5, 7)) -> None:
        super().__init__()
        self.used_layers = tuple(used_layers)
        channels = [int(32 * width)]
        self.layer0 = nn.Sequential(
            nn.Conv2d(3, channels[0], 3, stride=2, bias=False), nn.BatchNorm2d(channels[0]), nn.ReLU6(inplace=True)
        )
        before = 1
        for index, (expansion, base, blocks, stride, dilation) in enumerate(STAGES, start=1):
            outputs = int(base * width)
            # Where the dilation grows, the first block runs at half of it, as in the ResNets.
            first = dilation if dilation == before else max(dilation // 2, 1)
            layers = [InvertedResidual(channels[-1], outputs, stride, first, expansion)]
            layers += [InvertedResidual(outputs, outputs, 1, dilation, expansion) for _ in range(blocks - 1)]
            setattr(self, f"layer{index}", nn.Sequential(*layers))
            channels.append(outputs)
            before = dilation
        self.out_channels = [channels[i] for i in self.used_layers]

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the used maps [N, C, h, w]; layers 3 to 7 share one size: 127 px give 15, 255 give 31."""
        maps = []
        for index in range(max(self.used_layers) + 1):
            x = getattr(self, f"layer{index}")(x)
            maps.append(x)
        return [maps[i] for i in self.used_layers]
