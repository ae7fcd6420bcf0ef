"""SlimFC: trk's own small tracker. MobileNetV2 features, pixel-wise correlation, two slim towers of separable layers.

The layout is LightFC's, which teaches it (train/distil.py), but for one fusion of 1x1 convolutions, and depth-wise
separable layers in place of dense 3x3 ones. No part of it was trained by others but for the ImageNet weights that the
trunk begins with, whose batch norms are folded.

Source of the parts: LightFC (centre, size and offset maps), Alpha-Refine (pixel-wise correlation), MobileNetV2
(inverted residuals), NanoTrack (separable towers).
"""

from math import log

import torch
from torch import Tensor, nn

from . import correlation
from .ban import PIXELS, ChannelAttention
from .imagenet import Normalise
from .light import Block
from .lightfc import CHANNELS, SURE, CentreNet, CentreStep

STAGES = ((6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 1, 1), (4, 96, 2, 1))
"""Expansion, channels, blocks and stride. MobileNetV2's from the third on, but for the last two blocks, which are a
third narrower inside."""
TRAINED = 256
"""Side of the search crops of training, of which sizes are shares whatever the crop."""
STEM = 24
"""Channels of MobileNetV2's second stage, stride 4, and of what stands for it here."""
RARE = 1 / 64
"""Score of every cell before training: few hold a centre."""
STRENGTH = 16.0
"""Typical size of a correlation of 96 channels, which batch norm would have to undo."""
FILLED = 0.25
"""Share of the search crop's sides that a target fills whose size is what the last frame had."""


class Trunk(nn.Module):
    """MobileNetV2 from its fourth block up to stride 16, batch norms folded, behind a stem of its own.

    MobileNetV2's first three blocks work on maps of half and quarter size: more than half of its time on a CPU, for a
    twentieth of its parameters. `stem` gives what they give in a third of it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 16, 3, 2, 1),
            nn.ReLU6(),
            nn.Conv2d(16, 64, 3, 2, 1),
            nn.ReLU6(),
            nn.Conv2d(64, 64, 3, 1, 1, groups=64),
            nn.ReLU6(),
            nn.Conv2d(64, STEM, 1),
        )
        blocks, inputs = [], STEM
        for expansion, outputs, count, stride in STAGES:
            for number in range(count):
                blocks.append(Block(inputs, outputs, stride if number == 0 else 1, expansion))
                inputs = outputs
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, 96, h / 16, w / 16] of normalised colours [N, 3, h, w]."""
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return x


def _pointwise(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


def _separable(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False), *_pointwise(inputs, outputs)
    )


class Head(nn.Module):
    """Correlation and search features fused, then a tower for the score and one for the box."""

    def __init__(self, width: int, shared: int, deep: int) -> None:
        super().__init__()
        self.correlate = correlation.Pixelwise()
        self.attention = ChannelAttention()
        self.norm = nn.BatchNorm2d(PIXELS)
        self.found = _pointwise(PIXELS, width)
        self.seen = _pointwise(CHANNELS, width)
        self.first = _separable(2 * width, width)
        self.shared = nn.Sequential(*(_separable(width, width) for _ in range(shared)))
        self.score = self._tower(width, deep, 1)
        self.box = self._tower(width, deep, 4)
        score, box = self.score[-1], self.box[-1]
        nn.init.normal_(box.weight, std=0.01)  # type: ignore[arg-type]
        with torch.no_grad():
            score.bias.fill_(log(RARE / (1 - RARE)))  # type: ignore[operator]
            box.bias.copy_(torch.tensor([log(FILLED / (1 - FILLED))] * 2 + [0.5] * 2))  # type: ignore[operator]

    @staticmethod
    def _tower(width: int, deep: int, outputs: int) -> nn.Sequential:
        return nn.Sequential(*(_separable(width, width) for _ in range(deep)), nn.Conv2d(width, outputs, 1))

    def forward(self, x: Tensor, kernel: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the score's logits [N, 1, S, S], size's logits [N, 2, S, S] and offset [N, 2, S, S]."""
        found = self.norm(self.attention(self.correlate(x, kernel) * (1 / STRENGTH)))
        out = self.first(torch.cat([self.found(found), self.seen(x)], 1))
        out = out + self.shared(out)
        size, offset = self.box(out).split(2, 1)
        return self.score(out), size, offset


class SlimFC(CentreNet):
    """SlimFC."""

    def __init__(self, width: int = 96, shared: int = 2, deep: int = 3) -> None:
        super().__init__()
        self.normalise = Normalise()
        self.trunk = Trunk()
        self.head = Head(width, shared, deep)

    def features(self, x: Tensor) -> Tensor:
        """Return the trunk's [N, 96, h / 16, w / 16] of RGB 0..255."""
        out: Tensor = self.trunk(self.normalise(x))
        return out

    def maps(self, features: Tensor, *kernels: Tensor) -> tuple[Tensor, ...]:
        """Return what `search` does, of what `features` gave."""
        score, size, offset = self.head(features, kernels[0])
        return score.float().sigmoid().clamp(*SURE), size.float().sigmoid().clamp(*SURE), offset


def slimfc_step(side: int, search_size: int) -> CentreStep:
    """Return the step of maps of `side` cells."""
    del search_size
    return CentreStep(side, TRAINED)
