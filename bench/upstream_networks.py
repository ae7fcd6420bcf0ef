"""Networks in PyTorch eager as the upstream repositories run them: what each keeps of the template, what it repeats.

None folds a batch norm or merges a convolution. PySOT, NanoTrack and SiamDW keep the template's features and make the
kernels from them again in every frame; DaSiamRPN keeps the kernels. All but siamfc-pytorch leave the recording of
gradients on while they track.

Source: STVIR/pysot:pysot/models/model_builder.py, HonglinChu/SiamTrackers:NanoTrack/nanotrack/models/model_builder.py,
foolwood/DaSiamRPN:code/net.py, researchmm/SiamDW:lib/models/siamrpn.py and siamfc.py,
huanglianghua/siamfc-pytorch:siamfc/siamfc.py.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models.alexnet import AlexNet, AlexNetLegacy
from ..models.dasiamrpn import DaSiamRPN
from ..models.nanotrack import NanoTrack
from ..models.network import SiameseNet
from ..models.rpn import up_channel_kernels
from ..models.siamdw import SiamDWFC, SiamDWRPN
from ..models.siamfc import SiamFC
from ..models.siamrpnpp import SiamRPNpp

Kept = Any


class Style(NamedTuple):
    """How one upstream runs its networks."""

    template: Callable[[Any, Tensor], Kept]
    """(network, template crop [1, 3, T, T]) -> what is kept for all later frames."""
    search: Callable[[Any, Kept, Tensor], tuple[Tensor, ...]]
    """(network, what was kept, search crops [K, 3, S, S]) -> the maps."""
    gradients: bool
    """Whether tracking records gradients."""


class EagerNetwork:
    """`net` run as its upstream does; `gradients` overrides whether gradients are recorded.

    `device`: where PyTorch runs it; crops come from the host, and the maps stay there. `compiled`: its search is
    compiled by torch.compile, which no upstream does; on a GPU PyTorch captures what it compiled in a CUDA graph.
    """

    def __init__(
        self, net: SiameseNet, gradients: bool | None = None, device: str = "cpu", compiled: bool = False
    ) -> None:
        self.device = device
        self.net = net.eval().to(device)
        self.style = STYLES[type(net)]
        self.gradients = self.style.gradients if gradients is None else gradients
        self._kept: Kept = None
        _pool_first(net)
        self._search = self.style.search
        if compiled:
            mode = "default" if device == "cpu" else "reduce-overhead"
            self._search = torch.compile(self.style.search, mode=mode, dynamic=False)

    def template(self, crop: Tensor) -> None:
        """Keep what upstream keeps of the template crop [1, 3, T, T] float32."""
        with torch.set_grad_enabled(self.gradients):
            self._kept = self.style.template(self.net, crop.to(self.device))

    def search(self, crops: Tensor) -> tuple[Tensor, ...]:
        """Return the maps of search crops [K, 3, S, S] float32."""
        with torch.set_grad_enabled(self.gradients):
            return self._search(self.net, self._kept, crops.to(self.device))


def _pysot_features(net: SiamRPNpp, z: Tensor) -> list[Tensor]:
    maps: list[Tensor] = net.backbone(z)
    if net.neck is not None:
        maps = net.neck(maps, True)
    return maps


def _siamdw_search(net: SiamDWRPN, zf: Tensor, x: Tensor) -> tuple[Tensor, ...]:
    head = net.connect_model
    cls = up_channel_kernels(head.template_cls(zf), net.cls_outputs)
    return net.search(x, cls, up_channel_kernels(head.template_reg(zf), net.loc_outputs))


STYLES: dict[type[SiameseNet], Style] = {
    SiamRPNpp: Style(
        template=_pysot_features,
        search=lambda net, zf, x: net.search(x, *net.rpn_head.template(zf)),
        gradients=True,
    ),
    NanoTrack: Style(
        template=lambda net, z: net.backbone(z),
        search=lambda net, zf, x: net.search(x, *net.ban_head.template(zf)),
        gradients=True,
    ),
    DaSiamRPN: Style(
        template=lambda net, z: net.template(z),
        search=lambda net, kernels, x: net.search(x, *kernels),
        gradients=True,
    ),
    SiamDWRPN: Style(template=lambda net, z: net.features(z), search=_siamdw_search, gradients=True),
    SiamDWFC: Style(
        template=lambda net, z: net.features(z),
        search=lambda net, zf, x: (F.conv2d(net.features(x), zf) * net.out_scale,),
        gradients=True,
    ),
    SiamFC: Style(
        template=lambda net, z: net.backbone(z),
        search=lambda net, zf, x: (F.conv2d(net.backbone(x), zf) * net.out_scale,),
        gradients=False,
    ),
}
"""Networks that have an upstream to be run like."""


def _pool_first(net: nn.Module) -> None:
    """Put each max-pool of PySOT's and DaSiamRPN's AlexNets before its ReLU, as upstream has it: less to rectify."""
    for module in net.modules():
        if isinstance(module, AlexNet | AlexNetLegacy):
            for layers in module.children():
                _swap(layers)
        elif isinstance(module, DaSiamRPN):
            _swap(module.featureExtract)


def _swap(layers: nn.Module) -> None:
    if isinstance(layers, nn.Sequential):
        for i in range(len(layers) - 1):
            if isinstance(layers[i], nn.ReLU) and isinstance(layers[i + 1], nn.MaxPool2d):
                layers[i], layers[i + 1] = layers[i + 1], layers[i]
