"""DaSiamRPN and the first SiamRPN: one AlexNet, one up-channel head.

Source: SiamRPN (CVPR 2018) sec. 3.2; foolwood/DaSiamRPN:code/net.py. The network is SiamRPN's; what DaSiamRPN adds is
in the training, hence in the weights. Upstream returns (loc, cls); here every SiamRPN returns (cls, loc).
"""

from torch import Tensor, nn

from . import correlation
from .alexnet import legacy_trunk
from .network import SiameseNet
from .rpn import up_channel_kernels


class DaSiamRPN(SiameseNet):
    """`size` widens trunk and head: 1 for SiamRPNvot and SiamRPNotb, 2 for SiamRPNBIG."""

    kernel_names = ("kernel_cls", "kernel_loc")
    map_names = ("cls", "loc")

    def __init__(self, size: int = 1, anchors: int = 5) -> None:
        super().__init__()
        channels = 256 * size
        self.anchors = anchors
        self.featureExtract = legacy_trunk(size)
        self.conv_r1 = nn.Conv2d(channels, channels * 4 * anchors, 3)
        self.conv_r2 = nn.Conv2d(channels, channels, 3)
        self.conv_cls1 = nn.Conv2d(channels, channels * 2 * anchors, 3)
        self.conv_cls2 = nn.Conv2d(channels, channels, 3)
        self.regress_adjust = nn.Conv2d(4 * anchors, 4 * anchors, 1)
        self.correlate_cls = correlation.Full()
        self.correlate_loc = correlation.Full()

    def template(self, z: Tensor) -> tuple[Tensor, ...]:
        """Return the kernels [N, 2K, C, 4, 4] and [N, 4K, C, 4, 4] of 127 px crops."""
        zf = self.featureExtract(z)
        cls = up_channel_kernels(self.conv_cls1(zf), 2 * self.anchors)
        return cls, up_channel_kernels(self.conv_r1(zf), 4 * self.anchors)

    def search(self, x: Tensor, *kernels: Tensor) -> tuple[Tensor, ...]:
        """Return cls [N, 2K, S, S] and loc [N, 4K, S, S]; 255 px give 17, 271 give 19, 287 give 21."""
        xf = self.featureExtract(x)
        cls = self.correlate_cls(self.conv_cls2(xf), kernels[0])
        return cls, self.regress_adjust(self.correlate_loc(self.conv_r2(xf), kernels[1]))
