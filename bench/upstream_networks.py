"""Networks in PyTorch eager as the upstream repositories run them: what each keeps of the template, what it repeats.

None folds a batch norm or merges a convolution, but for LightFC the first ones of its head. PySOT, NanoTrack and SiamDW
keep the template's features and make the kernels from them again in every frame; LightFC and FEAR keep features that
are correlated as they are; DaSiamRPN keeps the kernels. All but siamfc-pytorch and LightFC leave the recording of
gradients on while they track.

Source: STVIR/pysot:pysot/models/model_builder.py, HonglinChu/SiamTrackers:NanoTrack/nanotrack/models/model_builder.py,
foolwood/DaSiamRPN:code/net.py, researchmm/SiamDW:lib/models/siamrpn.py and siamfc.py,
huanglianghua/siamfc-pytorch:siamfc/siamfc.py, LiYunfengLYF/LightFC:lib/models and lib/test/tracker/lightfc.py,
PinataFarms/FEARTracker:model_training/model and model_training/tracker/fear_tracker.py.
"""

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models.alexnet import AlexNet, AlexNetLegacy
from ..models.dasiamrpn import DaSiamRPN
from ..models.fear import ConvNorm, Fear
from ..models.lightfc import BRANCHES, SURE, Head, LightFC, RepN33
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
    prepare: Callable[[Any], Any] = lambda net: net
    """network -> what its tracker makes of it after loading, the given one left as it is where that differs."""


class EagerNetwork:
    """`net` run as its upstream does; `gradients` overrides whether gradients are recorded.

    `device`: where PyTorch runs it; crops come from the host, and the maps stay there. `compiled`: its search is
    compiled by torch.compile, which no upstream does; on a GPU PyTorch captures what it compiled in a CUDA graph.
    """

    def __init__(
        self, net: SiameseNet, gradients: bool | None = None, device: str = "cpu", compiled: bool = False
    ) -> None:
        self.device = device
        self.style = STYLES[type(net)]
        self.net: Any = self.style.prepare(net).eval().to(device)
        self.gradients = self.style.gradients if gradients is None else gradients
        self._kept: Kept = None
        _pool_first(self.net)
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


def _lightfc_deployed(net: LightFC) -> LightFC:
    """Return `net` with one 3x3 convolution in place of the two in which each branch of its head begins."""
    deployed = net.tracked()
    for name in BRANCHES:
        first = getattr(deployed.head, f"conv1_{name}")
        assert isinstance(first, RepN33)
        setattr(deployed.head, f"conv1_{name}", first.merged())
    return deployed


def _lightfc_search(net: LightFC, zf: Tensor, x: Tensor) -> tuple[Tensor, ...]:
    fused = net.fusion(net.backbone(x), zf)
    assert isinstance(net.head, Head)
    maps = {}
    for name in BRANCHES:
        out = fused
        for layer in net.head.branch(name):
            out = layer(out)
        maps[name] = out
    return maps["ctr"].sigmoid().clamp(*SURE), maps["size"].sigmoid().clamp(*SURE), maps["offset"]


def _fear_in_place(net: Fear) -> Fear:
    """Return `net` with the trunk's values rectified in place, as FBNet's code does: less to allocate."""
    net = copy.deepcopy(net)
    for module in net.modules():
        if isinstance(module, ConvNorm) and module.rectifies:
            module.rectifies = False
            module.bn = nn.Sequential(module.bn, nn.ReLU(inplace=True))  # type: ignore[assignment]
    return net


def _fear_search(net: Fear, zf: Tensor, x: Tensor) -> tuple[Tensor, ...]:
    cls, log_distances = net.connect_model(net.neck(net.encoder(x)), zf)
    return cls, log_distances.exp()


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
    LightFC: Style(
        template=lambda net, z: net.backbone(z), search=_lightfc_search, gradients=False, prepare=_lightfc_deployed
    ),
    Fear: Style(
        template=lambda net, z: net.neck(net.encoder(z)), search=_fear_search, gradients=True, prepare=_fear_in_place
    ),
}
"""Networks that have an upstream to be run like. The last two take crops that are normalised."""


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
