"""NanoTrack V1, V2 and V3: MobileNetV3 features under the heads of `ban`.

Source: HonglinChu/SiamTrackers:NanoTrack. There is no paper.
"""

import copy

from torch import Tensor

from .ban import HeadV1, HeadV2, HeadV3
from .ban_fused import FusedHeadV2, FusedHeadV3
from .mobilenetv3 import MobileNetV3
from .network import SiameseNet
from .rpn import AdjustLayer

Head = HeadV1 | HeadV2 | HeadV3 | FusedHeadV2 | FusedHeadV3

VERSIONS: dict[int, tuple[int, type[HeadV1] | type[HeadV2] | type[HeadV3], int]] = {
    1: (8, HeadV1, 64),
    2: (8, HeadV2, 64),
    3: (9, HeadV3, 96),
}
"""Backbone blocks, head, and the channels of the dead neck."""


class NanoTrack(SiameseNet):
    """NanoTrack of `version` 1, 2 or 3.

    cls are logits, background then foreground; loc are the distances left, top, right, bottom from a point of the
    grid, in crop pixels. The checkpoints hold a `neck` that upstream never runs; it is here for them to load, and
    never runs either.
    """

    map_names = ("cls", "loc")

    def __init__(self, version: int = 3) -> None:
        super().__init__()
        blocks, head, neck = VERSIONS[version]
        self.backbone = MobileNetV3(blocks)
        self.neck = AdjustLayer(neck, neck)
        self.ban_head: Head = head(self.backbone.out_channels)
        self.kernel_names = head.kernel_names

    def fused(self) -> "NanoTrack":
        """Return the same network with its two branches merged (V2, V3); V1 returns itself."""
        net = copy.deepcopy(self)
        if isinstance(self.ban_head, HeadV2):
            net.ban_head = FusedHeadV2(self.ban_head)
        elif isinstance(self.ban_head, HeadV3):
            net.ban_head = FusedHeadV3(self.ban_head)
        else:
            return self
        net.kernel_names = net.ban_head.kernel_names
        return net

    def template(self, z: Tensor) -> tuple[Tensor, ...]:
        """Return the kernels that the version's head names, of 127 px crops."""
        return self.ban_head.template(self.backbone(z))

    def search(self, x: Tensor, *kernels: Tensor) -> tuple[Tensor, ...]:
        """Return cls [N, 2, S, S] and loc [N, 4, S, S]; 255 px give S = 16 (V1, V2) or 15 (V3)."""
        cls, log_distances = self.ban_head.search(self.backbone(x), *kernels)
        return cls, log_distances.float().exp()
