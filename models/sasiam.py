"""SA-Siam: an appearance branch and a semantic branch with channel attention, fused at the score.

Source: SA-Siam (CVPR 2018); microsoft/SA-Siam:embeddings/sa_siam.py, inference/inference_wrapper.py. Where the paper
is silent the official code decides: conv4 of the semantic branch times 0.1, a bias behind each branch's score, no
bias before a batch norm. Key names are ours: the official checkpoints are TensorFlow's (`weights` knows how to rename
them).

Template and search crops are both 255 px: the template's surroundings feed the attention.
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import correlation
from .folding import affine, as_conv, convolution
from .network import SiameseNet
from .siamfc import AlexNetV

MEAN_BGR = (104.0, 117.0, 123.0)
"""Removed from the semantic branch's input, whose weights come from Caffe."""

TEMPLATE = {"conv4": 8, "conv5": 6}
"""Side of the template that is cut from each layer's features of a 255 px crop."""

EXEMPLAR = 127


class CaffeColours(nn.Module):
    """From RGB to the BGR minus mean that Caffe's weights want."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEAN_BGR)[:, None, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, 3, h, w]."""
        return x.flip(1) - self.mean  # type: ignore[operator]


class SemanticNet(nn.Module):
    """AlexNet as Caffe trained it for ImageNet, without padding and with strides of 2: returns conv4 and conv5.

    Input: RGB crops, 0..255; the order of colours and the mean are changed inside.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 96, 11, 2)
        self.conv2 = nn.Conv2d(96, 256, 5, groups=2)
        self.conv3 = nn.Conv2d(256, 384, 3)
        self.conv4 = nn.Conv2d(384, 384, 3, groups=2)
        self.conv5 = nn.Conv2d(384, 256, 3, groups=2)
        self.colours: nn.Module = CaffeColours()
        self.norm1 = LocalResponseNorm(96)
        self.norm2 = LocalResponseNorm(256)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return conv4 [N, 384, 24, 24] and conv5 [N, 256, 22, 22] of 255 px crops, both after ReLU."""
        x = self.norm1(F.max_pool2d(F.relu(self.conv1(self.colours(x))), 3, 2))
        x = self.norm2(F.max_pool2d(F.relu(self.conv2(x)), 3, 2))
        conv4 = F.relu(self.conv4(F.relu(self.conv3(x))))
        return {"conv4": conv4, "conv5": F.relu(self.conv5(conv4))}


class LocalResponseNorm(nn.Module):
    """x / (1 + 2e-5 * the sum of squares over five neighbouring channels) ** 0.75.

    The sum is a 1x1 convolution with a band of weights: PyTorch's own layer exports as an average pool over a fifth
    axis.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        band = [[2e-5 * (abs(row - column) <= 2) for column in range(channels)] for row in range(channels)]
        self.register_buffer("band", torch.tensor(band)[:, :, None, None], persistent=False)
        self.register_buffer("one", torch.ones(channels), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, C, h, w]."""
        x = x.float()
        root = F.conv2d(x * x, self.band, self.one).sqrt()  # type: ignore[arg-type]
        return x / (root * root.sqrt())


class ChannelAttention(nn.Module):
    """One weight in 0.5..1.5 for each channel, from the maxima of its nine regions; the same for all channels."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(9, 9)
        self.fc2 = nn.Linear(9, 1)

    def forward(self, features: Tensor, side: int) -> Tensor:
        """Return [N, C, 1, 1] for `features` [N, C, h, h] with the target in their centre, `side` wide."""
        width = features.shape[3]
        start = (width - side + 1) // 2
        cuts = ((0, start), (start, start + side), (start + side, width))
        maxima = [features[:, :, top:bottom, left:right].amax((2, 3)) for top, bottom in cuts for left, right in cuts]
        weights: Tensor = self.fc2(F.relu(self.fc1(torch.stack(maxima, 2))))
        return (weights.sigmoid() + 0.5)[:, :, :, None]


class SASiam(SiameseNet):
    """SA-Siam, whole or with a part left out as in the paper's ablation (`appearance`, `semantic`, `multilevel`,
    `attention`).

    `appearance_weight` is the paper's lambda. `conv4_scale`, `response_bias` and `norm_bias` say where the official
    code is followed: 0.1, a bias behind the scores, none before batch norms.
    """

    map_names = ("score",)

    def __init__(
        self,
        *,
        appearance: bool = True,
        semantic: bool = True,
        multilevel: bool = True,
        attention: bool = True,
        appearance_weight: float = 0.3,
        out_scale: float = 0.001,
        conv4_scale: float = 0.1,
        response_bias: bool = True,
        norm_bias: bool = False,
    ) -> None:
        super().__init__()
        shares = (appearance_weight, 1 - appearance_weight) if appearance and semantic else (1.0, 1.0)
        self.out_scale = out_scale
        self.layer_scales = ({"conv4": conv4_scale} if multilevel else {}) | {"conv5": 1.0}
        self.shares = {}
        names = []
        if appearance:
            self.shares["appearance"] = shares[0]
            self.appearance = AlexNetV(1, norm_bias=norm_bias)
            names.append("kernel_appearance")
        if semantic:
            self.shares["semantic"] = shares[1]
            self.semantic = SemanticNet()
            attended = self.layer_scales if attention else ()
            self.attention = nn.ModuleDict({name: ChannelAttention() for name in attended})
            width = 256 // len(self.layer_scales)
            inputs = {"conv4": 384, "conv5": 256}
            self.fuse = nn.ModuleDict({name: nn.Conv2d(inputs[name], width, 1) for name in self.layer_scales})
            names += [f"kernel_{name}" for name in self.layer_scales]
        self.kernel_names = tuple(names)
        self.correlate = correlation.Full()
        self.response_bias = nn.ParameterDict({name: torch.zeros(1) for name in self.shares if response_bias})

    def fused(self) -> "SASiam":
        """Return the same network with colours, mean and conv4's factor inside its convolutions."""
        if "semantic" not in self.shares or isinstance(self.semantic.colours, nn.Identity):
            return self
        net = copy.deepcopy(self)
        weight, bias = affine(self.semantic.conv1)
        mean = torch.tensor(MEAN_BGR, dtype=torch.float64)[:, None, None]
        net.semantic.conv1 = convolution(weight.flip(1), bias - (weight * mean).sum((1, 2, 3)), stride=2)
        net.semantic.colours = nn.Identity()
        for name, scale in self.layer_scales.items():
            weight, bias = affine(as_conv(self.fuse[name]))
            net.fuse[name] = convolution(weight * scale, bias)
        net.layer_scales = dict.fromkeys(self.layer_scales, 1.0)
        return net

    def template(self, z: Tensor) -> tuple[Tensor, ...]:
        """Return the kernels of 255 px crops: [N, 1, 256, 6, 6]; [N, 1, 128, 8, 8] of conv4; [N, 1, 128, 6, 6] of
        conv5.

        The score's scale and the branch's share are multiplied in. The appearance branch needs the central 127 px only:
        without padding, that equals cropping its features.
        """
        kernels = []
        if "appearance" in self.shares:
            kernels.append(self.appearance(_centre(z, EXEMPLAR)).float() * (self.out_scale * self.shares["appearance"]))
        if "semantic" in self.shares:
            features = self.semantic(z)
            for name in self.fuse:
                kernel = features[name]
                if name in self.attention:
                    kernel = kernel * self.attention[name](kernel, TEMPLATE[name])
                kernel = self._fused_channels(name, _centre(kernel, TEMPLATE[name]))
                kernels.append(kernel.float() * (self.out_scale * self.shares["semantic"]))
        return tuple(kernel.unsqueeze(1) for kernel in kernels)

    def search(self, x: Tensor, *kernels: Tensor) -> tuple[Tensor, ...]:
        """Return the score [N * scales, 1, 17, 17] of 255 px crops [N * scales, 3, 255, 255].

        Upstream pads conv5 to conv4's size and correlates both at once; the padding adds nothing, so here are two valid
        correlations of one size.
        """
        given = dict(zip(self.kernel_names, kernels, strict=True))
        scores = []
        if "appearance" in self.shares:
            scores.append(self.correlate(self.appearance(x), given["kernel_appearance"]))
        if "semantic" in self.shares:
            features = self.semantic(x)
            for name in self.fuse:
                scores.append(self.correlate(self._fused_channels(name, features[name]), given[f"kernel_{name}"]))
        for name, bias in self.response_bias.items():
            scores[0] = scores[0] + bias * self.shares[name]
        return (torch.stack(scores).sum(0),)

    def _fused_channels(self, name: str, features: Tensor) -> Tensor:
        scale = self.layer_scales[name]
        out: Tensor = self.fuse[name](features if scale == 1 else features * scale)
        return out


def _centre(x: Tensor, side: int) -> Tensor:
    start = (x.shape[3] - side) // 2
    return x[:, :, start : start + side, start : start + side]
