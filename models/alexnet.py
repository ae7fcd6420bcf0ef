"""AlexNet as PySOT and DaSiamRPN cut it: five unpadded convolutions, stride 8.

Source: STVIR/pysot:pysot/models/backbone/alexnet.py (both layouts); foolwood/DaSiamRPN:code/net.py (the legacy layout).
Upstream pools before the ReLU. The two commute, value for value, and a runtime can merge a ReLU only into the
convolution right before it, so here the ReLU comes first; the numbering of the layers, which is in the checkpoints,
stays.
"""

from torch import Tensor, nn

CHANNELS = (96, 256, 384, 384, 256)


def scaled_channels(width: float) -> tuple[int, ...]:
    """Return the output channels of the five convolutions of an AlexNet `width` times as wide as the original."""
    return tuple(int(c * width) for c in CHANNELS)


def legacy_trunk(width: float = 1.0) -> nn.Sequential:
    """Return the flat layers; parameters sit at 0, 1, 4, 5, 8, 9, 11, 12, 14 and 15 (PySOT legacy, DaSiamRPN)."""
    c1, c2, c3, c4, c5 = scaled_channels(width)
    return nn.Sequential(
        *(nn.Conv2d(3, c1, 11, stride=2), nn.BatchNorm2d(c1), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(c1, c2, 5), nn.BatchNorm2d(c2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(c2, c3, 3), nn.BatchNorm2d(c3), nn.ReLU(inplace=True)),
        *(nn.Conv2d(c3, c4, 3), nn.BatchNorm2d(c4), nn.ReLU(inplace=True)),
        *(nn.Conv2d(c4, c5, 3), nn.BatchNorm2d(c5)),
    )


class AlexNetLegacy(nn.Module):
    """The backbone of the released siamrpn_alex_dwxcorr weights: one flat sequence called `features`."""

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        self.features = legacy_trunk(width)
        self.out_channels = [scaled_channels(width)[-1]]

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return one feature map [N, 256 * width, h, w]; 127 px give 6, 255 give 22, 287 give 26."""
        return [self.features(x)]


class AlexNet(nn.Module):
    """The same network with its layers named `layer1` to `layer5` (siamrpn_alex_dwxcorr_16gpu)."""

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        c1, c2, c3, c4, c5 = scaled_channels(width)
        relu = nn.ReLU(inplace=True)
        pool = nn.MaxPool2d(3, 2)
        self.layer1 = nn.Sequential(nn.Conv2d(3, c1, 11, stride=2), nn.BatchNorm2d(c1), relu, pool)
        self.layer2 = nn.Sequential(nn.Conv2d(c1, c2, 5), nn.BatchNorm2d(c2), relu, pool)
        self.layer3 = nn.Sequential(nn.Conv2d(c2, c3, 3), nn.BatchNorm2d(c3), relu)
        self.layer4 = nn.Sequential(nn.Conv2d(c3, c4, 3), nn.BatchNorm2d(c4), relu)
        self.layer5 = nn.Sequential(nn.Conv2d(c4, c5, 3), nn.BatchNorm2d(c5))
        self.out_channels = [c5]

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return one feature map [N, 256 * width, h, w], as `AlexNetLegacy` does."""
        return [self.layer5(self.layer4(self.layer3(self.layer2(self.layer1(x)))))]
