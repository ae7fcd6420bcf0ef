"""SiamDW: the backbones of `cir` under SiamFC's correlation and under SiamRPN's head.

Source: SiamDW (CVPR 2019); researchmm/SiamDW:lib/models/siamfc.py, siamrpn.py, connect.py.
"""

import copy

from torch import Tensor, nn

from . import correlation
from .cir import CIRNet, crop_first
from .network import SiameseNet
from .rpn import up_channel_kernels

HEADS = {"thicker": (2, 512), "thinner": (1, 256)}
""""thicker": 2K class channels for a softmax, features 512 wide; "thinner": K channels for a sigmoid, 256 wide.

The released CIResNet22_RPN.pth is a thinner one, whatever upstream's option parser says by default.
"""


class _Features(nn.Module):
    """Upstream wraps its backbone once, which shows in the keys: `features.features.conv1.weight`."""

    def __init__(self, backbone: str) -> None:
        super().__init__()
        self.features = CIRNet(backbone)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.features(x)
        return out


class SiamDWFC(SiameseNet):
    """SiamFC+ on a backbone of `cir.PLANS`; the score is the correlation times `out_scale`."""

    kernel_names = ("kernel_zf",)
    map_names = ("score",)

    def __init__(self, backbone: str, out_scale: float = 0.1) -> None:
        super().__init__()
        self.features = _Features(backbone)
        self.out_scale = out_scale
        self.correlate = correlation.Full()

    def fused(self) -> "SiamDWFC":
        """Return the same network without the convolutions' padding, which the units crop anyway."""
        net = copy.deepcopy(self)
        crop_first(net.features)
        return net

    def template(self, z: Tensor) -> tuple[Tensor, ...]:
        """Return the scaled template features [N, 1, C, k, k]: k = 5 for 127 px crops, 6 for 135 px."""
        return ((self.features(z).float() * self.out_scale).unsqueeze(1),)

    def search(self, x: Tensor, *kernels: Tensor) -> tuple[Tensor, ...]:
        """Return the score [N * scales, 1, S, S] of crops [N * scales, 3, I, I]: 17x17 for 255 (263 with 135) px."""
        return (self.correlate(self.features(x), kernels[0]),)


class _UpChannelHead(nn.Module):
    """SiamDW's own name for the up-channel head, with its own names inside."""

    def __init__(self, inputs: int, cls_outputs: int, loc_outputs: int, width: int) -> None:
        super().__init__()
        self.template_cls = nn.Conv2d(inputs, width * cls_outputs, 3)
        self.template_reg = nn.Conv2d(inputs, width * loc_outputs, 3)
        self.search_cls = nn.Conv2d(inputs, width, 3)
        self.search_reg = nn.Conv2d(inputs, width, 3)
        self.adjust = nn.Conv2d(loc_outputs, loc_outputs, 1)


class SiamDWRPN(SiameseNet):
    """SiamRPN+ on a backbone of `cir.PLANS`; `head` is one of HEADS."""

    kernel_names = ("kernel_cls", "kernel_loc")
    map_names = ("cls", "loc")

    def __init__(self, backbone: str, head: str = "thinner", anchors: int = 5) -> None:
        super().__init__()
        per_anchor, width = HEADS[head]
        self.cls_outputs = per_anchor * anchors
        self.loc_outputs = 4 * anchors
        self.features = _Features(backbone)
        channels = self.features.features.out_channels
        self.connect_model = _UpChannelHead(channels, self.cls_outputs, self.loc_outputs, width)
        self.correlate_cls = correlation.Full()
        self.correlate_loc = correlation.Full()

    def fused(self) -> "SiamDWRPN":
        """Return the same network without the convolutions' padding, which the units crop anyway."""
        net = copy.deepcopy(self)
        crop_first(net.features)
        return net

    def template(self, z: Tensor) -> tuple[Tensor, ...]:
        """Return the kernels [N, K | 2K, F, 3, 3] and [N, 4K, F, 3, 3] of 127 px crops."""
        zf = self.features(z)
        cls = up_channel_kernels(self.connect_model.template_cls(zf), self.cls_outputs)
        return cls, up_channel_kernels(self.connect_model.template_reg(zf), self.loc_outputs)

    def search(self, x: Tensor, *kernels: Tensor) -> tuple[Tensor, ...]:
        """Return cls [N, K | 2K, S, S], raw, and loc [N, 4K, S, S]; 255 px give 17, 271 give 19, 287 give 21."""
        xf = self.features(x)
        cls = self.correlate_cls(self.connect_model.search_cls(xf), kernels[0])
        loc = self.connect_model.adjust(self.correlate_loc(self.connect_model.search_reg(xf), kernels[1]))
        return cls, loc
