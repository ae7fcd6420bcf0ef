"""One small network of each kind with random weights, and crops for it."""

from collections.abc import Callable

import torch

from trk.models.dasiamrpn import DaSiamRPN
from trk.models.fear import Fear
from trk.models.lightfc import LightFC
from trk.models.nanotrack import NanoTrack
from trk.models.network import SiameseNet
from trk.models.sasiam import SASiam
from trk.models.siamdw import SiamDWFC, SiamDWRPN
from trk.models.siamfc import SiamFC
from trk.models.siamrpnpp import SiamRPNpp

NETWORKS: dict[str, Callable[[], SiameseNet]] = {
    "siamfc": SiamFC,
    "siamrpn++ alexnet": lambda: SiamRPNpp("alexnetlegacy", width=0.5),
    "siamrpn++ up-channel": lambda: SiamRPNpp("alexnet", width=0.25, head="upchannel"),
    "siamrpn++ resnet-18": lambda: SiamRPNpp("resnet18", used_layers=(2, 3, 4), adjust=(16, 16, 16), weighted=True),
    "siamrpn++ unequal levels": lambda: SiamRPNpp("mobilenetv2", used_layers=(3, 5, 7), width=0.5, adjust=(8, 16, 32)),
    "dasiamrpn": DaSiamRPN,
    "siamdw fc": lambda: SiamDWFC("CIResNeXt-22"),
    "siamdw rpn": lambda: SiamDWRPN("CIResNet-16", "thinner"),
    "sasiam": SASiam,
    "nanotrack 1": lambda: NanoTrack(1),
    "nanotrack 2": lambda: NanoTrack(2),
    "nanotrack 3": lambda: NanoTrack(3),
    "lightfc": LightFC,
    "fear": Fear,
}


def network(name: str) -> SiameseNet:
    torch.manual_seed(0)
    net = NETWORKS[name]().eval()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.6, 1.4)
            torch.nn.init.uniform_(module.running_var, 0.6, 1.4)
            torch.nn.init.normal_(module.bias, 0, 0.1)
            torch.nn.init.normal_(module.running_mean, 0, 0.1)
    return net


def crops(net: SiameseNet, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    side = 255 if isinstance(net, SASiam) else 127
    generator = torch.Generator().manual_seed(1)
    return (
        255 * torch.rand(count, 3, side, side, generator=generator),
        255 * torch.rand(count, 3, 183, 183, generator=generator),
    )
