"""ResNet-18, -34 and -50 as PySOT changed them: total stride 8 and dilated last stages.

Source: SiamRPN++ sec. 3.3; STVIR/pysot:pysot/models/backbone/resnet_atrous.py. Three things differ from torchvision:
the stem has no padding, the shortcut of stages 2 to 4 is a 3x3 convolution, and the first block of a dilated stage
runs at half the dilation of the stage. torchvision's weights therefore do not fit.
"""

from collections.abc import Iterable

from torch import Tensor, nn

STAGES = ((64, 1, 1), (128, 2, 1), (256, 1, 2), (512, 1, 4))
"""Width, stride and dilation of layer1 to layer4."""

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}
"""Residual blocks of each stage, by depth."""


def conv3x3(inputs: int, outputs: int, stride: int, dilation: int) -> nn.Conv2d:
    """Return a 3x3 convolution without bias: unpadded where it strides, otherwise one that keeps the size."""
    padding = 0 if stride == 2 else dilation
    return nn.Conv2d(inputs, outputs, 3, stride, padding, dilation, bias=False)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (ResNet-18, -34)."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int, dilations: tuple[int, int], shortcut: nn.Module | None):
        super().__init__()
        self.conv1 = conv3x3(inputs, width, stride, dilations[0])
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = conv3x3(width, width, 1, dilations[1])
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, width, h, w]."""
        shortcut = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        added: Tensor = self.relu(out + shortcut)
        return added


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 and a shortcut (ResNet-50)."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int, dilations: tuple[int, int], shortcut: nn.Module | None):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = conv3x3(width, width, stride, dilations[0])
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, 4 * width, h, w]."""
        shortcut = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        added: Tensor = self.relu(out + shortcut)
        return added


class ResNet(nn.Module):
    """The dilated ResNet; `used_layers` picks what it returns: 0 the stem, 1 to 4 the stages.

    Stages 3 and 4 exist only where they are used: upstream's state dict has no keys for them otherwise.
    """

    def __init__(self, depth: int, used_layers: Iterable[int] = (2, 3, 4)) -> None:
        super().__init__()
        block = Bottleneck if depth == 50 else BasicBlock
        self.used_layers = tuple(used_layers)
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        channels = [64]
        for index, (stage, blocks) in enumerate(zip(STAGES, BLOCKS[depth], strict=True), start=1):
            if index >= 3 and index not in self.used_layers:
                channels.append(channels[-1])
                continue
            setattr(self, f"layer{index}", _stage(block, channels[-1], blocks, *stage))
            channels.append(stage[0] * block.expansion)
        self.out_channels = [channels[i] for i in self.used_layers]

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the used maps [N, C, h, w]; layers 2 to 4 share a size: 127 px give 15, 255 give 31, 831 give 103."""
        maps = [self.relu(self.bn1(self.conv1(x)))]
        x = self.maxpool(maps[0])
        for index in range(1, max(self.used_layers, default=0) + 1):
            if hasattr(self, f"layer{index}"):
                x = getattr(self, f"layer{index}")(x)
            maps.append(x)
        return [maps[i] for i in self.used_layers]


def _stage(
    block: type[BasicBlock] | type[Bottleneck], inputs: int, blocks: int, width: int, stride: int, dilation: int
) -> nn.Sequential:
    outputs = width * block.expansion
    first = max(dilation // 2, 1)
    shortcut = None
    if stride == 1 and dilation == 1 and inputs != outputs:
        shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))
    elif inputs != outputs:
        shortcut = nn.Sequential(conv3x3(inputs, outputs, stride, first), nn.BatchNorm2d(outputs))
    layers = [block(inputs, width, stride, (first, dilation), shortcut)]
    layers += [block(outputs, width, 1, (dilation, dilation), None) for _ in range(blocks - 1)]
    return nn.Sequential(*layers)
