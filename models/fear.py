"""FEAR-XS: FBNet features, pixel-wise correlation beside separable convolutions, boxes as distances from a cell.

Source: FEAR: Fast, Efficient, Accurate and Robust Visual Tracker (Borsuk et al., ECCV 2022, arXiv 2112.07957);
PinataFarms/FEARTracker: model_training/model, model_training/tracker. The trunk is FBNet-C (Wu et al., CVPR 2019), cut.
The dynamic template of the paper was never released.
"""

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn

from . import correlation
from .ban import PIXELS
from .folding import affine, as_conv, convolution
from .imagenet import Normalise
from .network import SiameseNet
from .proposals import PARAMS, Box, PointDecode, ProposalStep, smoothed

CHANNELS = 256
LOGIT_SCALE = 0.1


class Stage(NamedTuple):
    """One block of the trunk; without expansion where the hidden width is the input's."""

    name: str
    kernel: int
    hidden: int
    outputs: int
    stride: int = 1


STAGES = (
    Stage("xif1_0", 3, 16, 16),
    Stage("xif2_0", 3, 96, 24, 2),
    Stage("xif2_2", 3, 24, 24),
    Stage("xif2_3", 3, 24, 24),
    Stage("xif3_0", 5, 144, 32, 2),
    Stage("xif3_1", 5, 96, 32),
    Stage("xif3_2", 5, 192, 32),
    Stage("xif3_3", 3, 192, 32),
    Stage("xif4_0", 5, 192, 64, 2),
    Stage("xif4_1", 5, 192, 64),
    Stage("xif4_2", 5, 384, 64),
    Stage("xif4_3", 5, 384, 64),
    Stage("xif4_4", 5, 384, 112),
    Stage("xif4_5", 5, 672, 112),
    Stage("xif4_6", 5, 672, 112),
    Stage("xif4_7", 5, 336, 112),
)
"""What follows the stem; xif2_1 is the identity."""


class ConvNorm(nn.Module):
    """A convolution with a bias and a batch norm, rectified where `relu`."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1, relu: bool = True
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups)
        self.bn = nn.BatchNorm2d(outputs)
        self.rectifies = relu

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, outputs, h, w]."""
        out: Tensor = self.bn(self.conv(x))
        return out.relu() if self.rectifies else out


class Block(nn.Module):
    """The inverted residual."""

    def __init__(self, inputs: int, stage: Stage) -> None:
        super().__init__()
        hidden = stage.hidden
        if hidden != inputs:
            self.pw = ConvNorm(inputs, hidden)
        self.dw = ConvNorm(hidden, hidden, stage.kernel, stage.stride, hidden)
        self.pwl = ConvNorm(hidden, stage.outputs, relu=False)
        self.residual = stage.stride == 1 and inputs == stage.outputs

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, outputs, h, w]."""
        out: Tensor = self.pwl(self.dw(self.pw(x) if hasattr(self, "pw") else x))
        return x + out if self.residual else out


class Encoder(nn.Module):
    """The trunk, under upstream's names."""

    def __init__(self) -> None:
        super().__init__()
        stages: dict[str, nn.Module] = {"xif0_0": ConvNorm(3, 16, 3, 2)}
        channels = 16
        for stage in STAGES:
            stages[stage.name] = Block(channels, stage)
            channels = stage.outputs
        backbone = nn.ModuleDict({"stages": nn.Sequential()})
        for name, module in stages.items():
            backbone["stages"].add_module(name, module)
        self.model = nn.ModuleDict({"backbone": backbone})
        self.out_channels = channels

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, 112, h / 16, w / 16]."""
        out: Tensor = self.model["backbone"]["stages"](x)  # type: ignore[index]
        return out


class Neck(nn.Module):
    """A 1x1 convolution with a batch norm; nothing is cropped."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.downsample = nn.Sequential(nn.Conv2d(inputs, CHANNELS, 1, bias=False), nn.BatchNorm2d(CHANNELS))

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, 256, h, w]."""
        out: Tensor = self.downsample(x)
        return out


class SepConv(nn.Module):
    """3x3 depth-wise, then 1x1, nothing between them."""

    def __init__(self, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=bias)
        self.pointwise = nn.Conv2d(inputs, outputs, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, outputs, h, w]."""
        out: Tensor = self.pointwise(self.depthwise(x))
        return out


def _unit(inputs: int, bias: bool = True) -> tuple[nn.Module, ...]:
    return SepConv(inputs, CHANNELS, bias), nn.BatchNorm2d(CHANNELS), nn.ReLU(inplace=True)


class Encode(nn.Module):
    """What a task makes of the search features before they are correlated; the template's stay as they are."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix11_s = nn.Sequential(*_unit(CHANNELS, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, 256, h, w]."""
        out: Tensor = self.matrix11_s(x)
        return out


class Correlate(nn.Module):
    """A task's features and their correlation, mixed."""

    def __init__(self) -> None:
        super().__init__()
        self.corr = correlation.Pixelwise()
        self.enc = nn.Sequential(*_unit(CHANNELS + PIXELS))

    def forward(self, x: Tensor, kernel: Tensor) -> Tensor:
        """Return [N, 256, 16, 16] of x [N, 256, 16, 16] and kernel [N, 256, 8, 8]."""
        out: Tensor = self.enc(torch.cat([x, self.corr(x, kernel)], 1))
        return out


class Head(nn.Module):
    """A class and a box tower, each with a correlation of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.adjust = nn.Parameter(torch.ones(1))
        self.bias = nn.Parameter(torch.ones(1, 4, 1, 1))
        self.cls_encode, self.reg_encode = Encode(), Encode()
        self.cls_dw, self.reg_dw = Correlate(), Correlate()
        self.bbox_tower = nn.Sequential(*_unit(CHANNELS), *_unit(CHANNELS))
        self.cls_tower = nn.Sequential(*_unit(CHANNELS), *_unit(CHANNELS))
        self.bbox_pred, self.cls_pred = SepConv(CHANNELS, 4), SepConv(CHANNELS, 1)
        self.folded = False

    def forward(self, xf: Tensor, kernel: Tensor) -> tuple[Tensor, Tensor]:
        """Return class logits [N, 1, 16, 16] and the logarithms of the distances [N, 4, 16, 16]."""
        cls = self.cls_pred(self.cls_tower(self.cls_dw(self.cls_encode(xf), kernel)))
        log_distances = self.bbox_pred(self.bbox_tower(self.reg_dw(self.reg_encode(xf), kernel)))
        if self.folded:
            return cls, log_distances
        return LOGIT_SCALE * cls, self.adjust * log_distances + self.bias

    @torch.no_grad()
    def fold(self) -> None:
        """Move the scales and the bias behind the last convolutions into them."""
        for pred, scale, bias in ((self.cls_pred, LOGIT_SCALE, 0.0), (self.bbox_pred, self.adjust, self.bias)):
            weight, offset = affine(as_conv(pred.pointwise))
            pred.pointwise = convolution(weight * scale, offset * scale + torch.as_tensor(bias).reshape(-1))
        self.folded = True


class Fear(SiameseNet):
    """FEAR-XS as released.

    cls is a logit; bbox are the distances left, top, right, bottom from a cell's corner, in search crop pixels.
    """

    kernel_names = ("kernel_pw",)
    map_names = ("cls", "bbox")

    def __init__(self) -> None:
        super().__init__()
        self.normalise = Normalise()
        self.encoder = Encoder()
        self.neck = Neck(self.encoder.out_channels)
        self.connect_model = Head()

    def fused(self) -> "Fear":
        """Return the same network, constants folded."""
        net = copy.deepcopy(self)
        net.connect_model.fold()
        return net

    def features(self, x: Tensor) -> Tensor:
        """Return [N, 256, h / 16, w / 16]."""
        out: Tensor = self.neck(self.encoder(self.normalise(x)))
        return out

    def template(self, z: Tensor) -> tuple[Tensor, ...]:
        """Return the kernel [N, 256, 8, 8] of 128 px crops, which both correlations take."""
        return (self.features(z),)

    def search(self, x: Tensor, *kernels: Tensor) -> tuple[Tensor, ...]:
        """Return cls [N, 1, 16, 16] and bbox [N, 4, 16, 16] of 256 px crops."""
        cls, log_distances = self.connect_model(self.features(x), kernels[0])
        return cls, log_distances.float().exp()


class FearStep(ProposalStep):
    """The step of FEAR. `params` are those of `ProposalStep`, then `smooth`: 1, or 0 to switch the others off.

    Where upstream smooths a size it does so twice, which comes to the rate squared, and its corner stays, so that the
    centre moves. Source: PinataFarms/FEARTracker:model_training/tracker/base_tracker.py.
    """

    param_names = (*PARAMS, "smooth")  # type: ignore[assignment]

    def forward(self, cls: Tensor, loc: Tensor, size: Tensor, params: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return box [N, 4], score [N] and flat index [N] int32, as `ProposalStep` does."""
        return super().forward(cls, loc, size, torch.cat([params[:2] * params[3], params[2:]]))

    def _followed(self, box: Box, size: Tensor, rate: Tensor, params: Tensor) -> Box:
        x, y, w, h = box
        smooth = params[3]
        _, _, new_w, new_h = smoothed(box, size, rate * rate * smooth + (1.0 - smooth))
        return x + (new_w - w) / 2, y + (new_h - h) / 2, new_w, new_h


def fear_step(side: int, search_size: int) -> FearStep:
    """Return the step of a FEAR whose maps have `side` cells of 16 pixels."""
    del search_size
    return FearStep(PointDecode(side), side)
