"""SiamRPN++ and the other networks of PySOT: any of its backbones under any of its heads.

Source: SiamRPN++ (CVPR 2019); STVIR/pysot:pysot/models/model_builder.py and experiments/*/config.yaml.
"""

import copy
from collections.abc import Callable, Sequence

from torch import Tensor, nn

from .alexnet import AlexNet, AlexNetLegacy
from .mobilenetv2 import MobileNetV2
from .network import SiameseNet
from .resnet import ResNet
from .rpn import DepthwiseRPN, MultiRPN, Neck, SingleNeck, UPChannelRPN
from .rpn_fused import FusedRPN

BACKBONES: dict[str, Callable[[float, Sequence[int]], nn.Module]] = {
    "alexnetlegacy": lambda width, _: AlexNetLegacy(width),
    "alexnet": lambda width, _: AlexNet(width),
    "mobilenetv2": MobileNetV2,
    "resnet18": lambda _, used: ResNet(18, used),
    "resnet34": lambda _, used: ResNet(34, used),
    "resnet50": lambda _, used: ResNet(50, used),
}
"""PySOT's names of the backbones; each is built from a width multiplier and the layers it returns."""


class SiamRPNpp(SiameseNet):
    """A PySOT tracker network.

    `backbone` is one of BACKBONES; `used_layers` are the layers it returns (ResNet 0..4, MobileNetV2 0..7, none for
    AlexNet). `adjust` gives the channels the neck brings each level to; a plain number is PySOT's one-level
    `AdjustLayer`, whose keys differ; None means no neck. More than one level makes a MultiRPN, `weighted` or
    averaged. `head` is "depthwise" or "upchannel".
    """

    map_names = ("cls", "loc")

    def __init__(
        self,
        backbone: str,
        *,
        used_layers: Sequence[int] = (),
        width: float = 1.0,
        adjust: Sequence[int] | int | None = None,
        head: str = "depthwise",
        weighted: bool = False,
        anchors: int = 5,
    ) -> None:
        super().__init__()
        self.backbone = BACKBONES[backbone](width, used_layers)
        channels: list[int] = self.backbone.out_channels  # type: ignore[assignment]
        self.neck: nn.Module | None = None
        if isinstance(adjust, int):
            self.neck = SingleNeck(channels[0], adjust)
            channels = [adjust]
        elif adjust is not None:
            self.neck = Neck(channels, adjust)
            channels = list(adjust)
        self.rpn_head: DepthwiseRPN | MultiRPN | UPChannelRPN | FusedRPN = _head(head, anchors, channels, weighted)
        self.kernel_names = self.rpn_head.kernel_names

    def template(self, z: Tensor) -> tuple[Tensor, ...]:
        """Return the kernels, cls and loc of each level: [N, C, k, k]; of an up-channel head [N, 2K | 4K, C, k, k]."""
        kernels: tuple[Tensor, ...] = self.rpn_head.template(self._features(z, crop=True))
        return kernels

    def search(self, x: Tensor, *kernels: Tensor) -> tuple[Tensor, ...]:
        """Return cls [N, 2K, S, S] and loc [N, 4K, S, S]."""
        maps: tuple[Tensor, ...] = self.rpn_head.search(self._features(x, crop=False), *kernels)
        return maps

    def fused(self) -> "SiamRPNpp":
        """Return the same network with its depthwise head merged: one kernel [N, 2C, k, k] and one correlation a level.

        An up-channel head gains nothing (measured in ONNX Runtime), so its network returns itself.
        """
        if isinstance(self.rpn_head, UPChannelRPN | FusedRPN):
            return self
        net = copy.deepcopy(self)
        net.rpn_head = FusedRPN(self.rpn_head)
        net.kernel_names = net.rpn_head.kernel_names
        return net

    def _features(self, crops: Tensor, crop: bool) -> list[Tensor]:
        maps: list[Tensor] = self.backbone(crops)
        if self.neck is not None:
            maps = self.neck(maps, crop)
        return maps


def _head(head: str, anchors: int, channels: Sequence[int], weighted: bool) -> DepthwiseRPN | MultiRPN | UPChannelRPN:
    if head == "upchannel":
        return UPChannelRPN(anchors, channels[0])
    if len(channels) > 1:
        return MultiRPN(anchors, channels, weighted)
    return DepthwiseRPN(anchors, channels[0], channels[0])
