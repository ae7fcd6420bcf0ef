"""LightFC: MobileNetV2 features, pixel-wise correlation, a head of three branches that finds the target's centre.

Source: LightFC (Li et al., Knowledge-Based Systems 2024, arXiv 2310.05392); LiYunfengLYF/LightFC: lib/models, lib/test.
Attribute names are upstream's, from where their unevenness comes.
"""

import copy
from math import pi
from typing import Any

import torch
from torch import Tensor, nn

from . import correlation
from .ban import PIXELS, ChannelAttention
from .folding import affine, as_conv, block_diagonal, convolution, side_by_side
from .imagenet import Normalise
from .light import BLOCKS
from .network import SiameseNet
from .proposals import change_penalty, grid, smoothed

CHANNELS = 96
BRANCHES = ("ctr", "offset", "size")
SURE = (0.0001, 0.9999)
"""What scores and sizes are kept within."""
STRIDE = 16


def _unit(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU6(inplace=True))


class InvertedResidual(nn.Module):
    """1x1 expansion, 3x3 depth-wise, 1x1 projection; the input is added where the shapes agree."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.residual = stride == 1 and inputs == outputs
        expand = [_unit(inputs, hidden)] if expansion > 1 else []
        project = nn.Conv2d(hidden, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        self.conv = nn.Sequential(*expand, _unit(hidden, hidden, 3, stride, hidden), *project)

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, outputs, h, w]."""
        out: Tensor = self.conv(x)
        return x + out if self.residual else out


class MobileNetV2(nn.Module):
    """torchvision's MobileNetV2 up to features[13]: total stride 16, padded."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [_unit(3, 32, 3, 2)]
        channels = 32
        for expansion, outputs, blocks, stride in BLOCKS:
            for number in range(blocks):
                layers.append(InvertedResidual(channels, outputs, stride if number == 0 else 1, expansion))
                channels = outputs
        self.features = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, 96, h / 16, w / 16]."""
        out: Tensor = self.features(x)
        return out


class Fusion(nn.Module):
    """The correlation, its channels weighted and mixed, beside the search features ("ECM")."""

    def __init__(self) -> None:
        super().__init__()
        self.pw_corr = correlation.Pixelwise()
        self.ca = ChannelAttention()
        self.conv33 = nn.Conv2d(PIXELS, PIXELS, 3, padding=1, groups=PIXELS)
        self.bn33 = nn.BatchNorm2d(PIXELS)
        self.conv11 = nn.Conv2d(PIXELS, PIXELS, 1, groups=PIXELS)
        self.bn11 = nn.BatchNorm2d(PIXELS)
        self.conv_up = nn.Conv2d(PIXELS, 2 * PIXELS, 1)
        self.bn_up = nn.BatchNorm2d(2 * PIXELS)
        self.act = nn.GELU()
        self.conv_down = nn.Conv2d(2 * PIXELS, PIXELS, 1)
        self.bn_down = nn.BatchNorm2d(PIXELS)
        self.adjust = nn.Conv2d(PIXELS, CHANNELS, 1)

    def forward(self, xf: Tensor, kernel: Tensor) -> Tensor:
        """Return [N, 192, 16, 16] of search features [N, 96, 16, 16] and the template's [N, 96, 8, 8]."""
        corr = self.ca(self.pw_corr(xf, kernel))
        corr = self.spatial(corr)
        corr = corr + self.bn_down(self.conv_down(self.act(self.bn_up(self.conv_up(corr)))))
        return torch.cat([self.adjust(corr), xf], 1)

    def spatial(self, corr: Tensor) -> Tensor:
        """Return [N, 64, 16, 16]: what is there, and two depth-wise convolutions of it."""
        out: Tensor = corr + self.bn11(self.conv11(corr)) + self.bn33(self.conv33(corr))
        return out


class FusedFusion(Fusion):
    """`Fusion` whose sum of three depth-wise terms is one convolution."""

    def __init__(self, fusion: Fusion) -> None:
        super().__init__()
        self.load_state_dict(fusion.state_dict())
        (w33, b33), (w11, b11) = affine(self.conv33, self.bn33), affine(self.conv11, self.bn11)
        w33[:, :, 1:2, 1:2] += w11 + 1.0
        self.merged = convolution(w33, b33 + b11, groups=PIXELS, padding=1)
        for name in ("conv33", "bn33", "conv11", "bn11"):
            delattr(self, name)
        self.train(fusion.training)

    def spatial(self, corr: Tensor) -> Tensor:
        """Return [N, 64, 16, 16]."""
        out: Tensor = self.merged(corr)
        return out


class _Branch(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.bn(self.conv(x))
        return out


class RepN33(nn.Module):
    """Two 3x3 convolutions side by side, each with a batch norm, as they are trained."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.rbr_dense = _Branch(inputs, outputs)
        self.rbr_3x3 = _Branch(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, outputs, h, w]."""
        out: Tensor = (self.rbr_dense(x) + self.rbr_3x3(x)).relu()
        return out

    def merged(self) -> nn.Sequential:
        """Return the one convolution that both are, and its activation."""
        parts = [affine(branch.conv, branch.bn) for branch in (self.rbr_dense, self.rbr_3x3)]
        weight, bias = (sum(some) for some in zip(*parts, strict=True))
        return nn.Sequential(convolution(weight, bias, padding=1), nn.ReLU())


class Head(nn.Module):
    """Three branches on the same input: the centre's score, its place in the cell, the box's size ("ERH")."""

    def __init__(self) -> None:
        super().__init__()
        for name in BRANCHES:
            self.add_module(f"conv1_{name}", RepN33(2 * CHANNELS, 256))
            for number, (inputs, outputs) in enumerate(((256, 128), (128, 64), (64, 32)), start=2):
                conv = nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
                self.add_module(f"conv{number}_{name}", nn.Sequential(*conv))
            self.add_module(f"conv5_{name}", nn.Conv2d(32, 1 if name == "ctr" else 2, 1))
            self.add_module(f"se_{name}", ChannelAttention(256, 4))

    def branch(self, name: str) -> list[Any]:
        """Return the layers of a branch in the order in which they run."""
        return [getattr(self, f"{layer}_{name}") for layer in ("conv1", "se", "conv2", "conv3", "conv4", "conv5")]

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return raw maps [N, 1, 16, 16], [N, 2, 16, 16] and [N, 2, 16, 16] of BRANCHES."""
        return tuple(nn.Sequential(*self.branch(name))(x) for name in BRANCHES)


class FusedHead(nn.Module):
    """`Head`, its branches merged and run side by side."""

    def __init__(self, head: Head) -> None:
        super().__init__()
        first, squeezes, *others, last = zip(*(head.branch(name) for name in BRANCHES), strict=True)
        self.conv1 = side_by_side([block.merged() for block in first], shared_input=True)
        self.fc = side_by_side([nn.Sequential(se.fc1, nn.ReLU(), se.fc2, nn.Sigmoid()) for se in squeezes])
        self.tower = nn.Sequential(*(side_by_side(layer) for layer in others))
        self.pred = convolution(*block_diagonal([affine(as_conv(conv)) for conv in last]))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return raw maps as `Head` does."""
        out = self.conv1(x)
        out = self.pred(self.tower(out * self.fc(out.float().mean((2, 3), keepdim=True))))
        return out[:, :1], out[:, 1:3], out[:, 3:]


class CentreNet(SiameseNet):
    """A network whose template branch is its trunk, and whose maps find a target's centre and read its size there.

    score: whether a cell holds the target's centre, 0..1; size: w, h as shares of the search crop; offset: x, y of the
    centre from the cell's corner, in cells.
    """

    kernel_names = ("kernel_pw",)
    map_names = ("score", "size", "offset")

    def features(self, x: Tensor) -> Tensor:
        """Return the trunk's [N, 96, h / 16, w / 16] of crops in the model's colours, 0..255."""
        raise NotImplementedError

    def maps(self, features: Tensor, *kernels: Tensor) -> tuple[Tensor, ...]:
        """Return what `search` does, of what `features` gave."""
        raise NotImplementedError

    def template(self, z: Tensor) -> tuple[Tensor, ...]:
        """Return the kernel [N, 96, 8, 8] of 128 px crops."""
        return (self.features(z),)

    def search(self, x: Tensor, *kernels: Tensor) -> tuple[Tensor, ...]:
        """Return score [N, 1, S, S], size [N, 2, S, S] and offset [N, 2, S, S]; 256 px give S = 16."""
        return self.maps(self.features(x), *kernels)


class LightFC(CentreNet):
    """LightFC."""

    def __init__(self) -> None:
        super().__init__()
        self.normalise = Normalise()
        self.backbone = MobileNetV2()
        self.fusion = Fusion()
        self.head: Head | FusedHead = Head()

    def tracked(self) -> "LightFC":
        """Return the network as upstream's tracker runs it: its merging of RepN33 forgets the convolutions' biases.

        Source: LiYunfengLYF/LightFC:lib/models/lightfc (switch_to_deploy), which its tracker calls after loading.
        """
        net = copy.deepcopy(self)
        with torch.no_grad():
            for module in net.modules():
                if isinstance(module, RepN33):
                    for branch in (module.rbr_dense, module.rbr_3x3):
                        branch.conv.bias.zero_()  # type: ignore[union-attr]
        return net

    def fused(self) -> "LightFC":
        """Return the same network, the head's branches merged and side by side."""
        assert isinstance(self.head, Head)
        net = copy.deepcopy(self)
        net.fusion, net.head = FusedFusion(self.fusion), FusedHead(self.head)
        return net

    def features(self, x: Tensor) -> Tensor:
        """Return the trunk's [N, 96, h / 16, w / 16] of RGB 0..255."""
        out: Tensor = self.backbone(self.normalise(x))
        return out

    def maps(self, features: Tensor, *kernels: Tensor) -> tuple[Tensor, ...]:
        """Return what `search` does, of what `features` gave."""
        score, offset, size = self.head(self.fusion(features, kernels[0]))
        return score.float().sigmoid().clamp(*SURE), size.float().sigmoid().clamp(*SURE), offset


def centred_window(side: int) -> Tensor:
    """Return the outer product of two Hann windows [side * side] that are not zero on the border."""
    hann = 0.5 * (1.0 - torch.cos(2.0 * pi / (side + 1) * torch.arange(1, side + 1).to(torch.float32)))
    return torch.outer(hann, hann).reshape(-1)


class CentreStep(nn.Module):
    """The cell with the best score under a window becomes the box. `params` are PARAMS of `proposals` in order.

    Upstream has none of them: with penalty_k 0, window_influence 1 and lr 1 the score is multiplied with the window,
    and the size is what the network says.

    Source: LiYunfengLYF/LightFC:lib/test/tracker/lightfc.py; OSTrack's centre head before it.
    """

    window: Tensor
    x: Tensor
    y: Tensor

    def __init__(self, side: int, search_size: int) -> None:
        super().__init__()
        x, y = grid(side, STRIDE)
        self.side, self.search_size = side, search_size
        self.register_buffer("x", x)
        self.register_buffer("y", y)
        self.register_buffer("window", centred_window(side))

    def forward(
        self, score: Tensor, sizes: Tensor, offset: Tensor, size: Tensor, params: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return box [N, 4] (centre offset and w, h in crop pixels), score [N] and flat index [N] int32.

        score [N, 1, S, S], sizes [N, 2, S, S] and offset [N, 2, S, S] as LightFC gives them; size: [N, 2] w, h of the
        target, in crop pixels.
        """
        n = score.shape[0]
        values = score.reshape(n, -1)
        dx, dy = (offset * STRIDE).reshape(n, 2, -1).unbind(1)
        w, h = (sizes * self.search_size).reshape(n, 2, -1).unbind(1)
        windowed = values * (1.0 - params[1] + self.window * params[1])
        ranked = change_penalty(w, h, size, params[0]) * windowed
        best = ranked.argmax(dim=1, keepdim=True)
        x, y, w, h, chosen = (all_of.gather(1, best) for all_of in (dx + self.x, dy + self.y, w, h, values))
        box = torch.cat(smoothed((x, y, w, h), size, params[2]), dim=1)
        return box, chosen.reshape(-1), best.reshape(-1).to(torch.int32)
