"""Seeded random weights: for speed, which does not depend on training. They track nothing."""

from typing import Any

import torch
from torch import nn

from ..models.network import SiameseNet
from .graphs import image
from .reference import Crops


def randomise(net: SiameseNet, seed: int, crops: Crops, channels: str) -> None:
    """Give `net` random weights from `seed`: He-scaled convolutions, batch norms that saw the crops once.

    `crops` are the bundle's reference crops, `channels` the network's order of colours. The batch norms keep
    activations in the range of a trained network's, so that timings meet no denormals or infinities. The same seed,
    network and crops give the same weights.
    """
    search = image(crops.searches[0][0], channels)
    template = [image(crops.template, channels), *([crops.size] if net.template_takes_size else [])]
    generator = torch.Generator().manual_seed(seed)
    hooks = []
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            fan_in = module.weight[0].numel()
            nn.init.normal_(module.weight, 0.0, (1.0 / fan_in) ** 0.5, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            hooks.append(module.register_forward_pre_hook(_settle))
    net.eval()
    with torch.no_grad():
        net.search(search, *net.template(*template))
        for hook in hooks:
            hook.remove()
        _calm_kernels(net, template, search)


def _calm_kernels(net: SiameseNet, template: list[torch.Tensor], search: torch.Tensor) -> None:
    """Scale the convolutions that make kernels over all channels, [N, O, C, h, w], so that their maps have variance 1.

    Their correlation adds C h w products and has no batch norm behind it: unscaled, it is tens wide and a box's
    exp(dw) overflows. `kernel_x` makes the map `x`, linearly.
    """
    made: dict[int, nn.Conv2d] = {}
    hooks = [
        module.register_forward_hook(lambda conv, _, output: made.update({output.data_ptr(): conv}))
        for module in net.modules()
        if isinstance(module, nn.Conv2d)
    ]
    kernels = net.template(*template)
    for hook in hooks:
        hook.remove()
    maps = dict(zip(net.map_names, net.search(search, *kernels), strict=True))
    for name, kernel in zip(net.kernel_names, kernels, strict=True):
        values = maps.get(name.removeprefix("kernel_"))
        conv = made.get(kernel.data_ptr())
        # A kernel that is a feature map of the backbone is left alone: the search runs that layer too.
        if kernel.dim() == 5 and kernel.shape[1] > 1 and conv is not None and values is not None:
            conv.weight /= values.double().std()


def _settle(norm: Any, inputs: tuple[torch.Tensor, ...]) -> None:
    """Take the statistics of what is about to be normalised.

    In float64: sums in float32 depend on how many threads add them up, and these weights are made again elsewhere.
    """
    x = inputs[0].double()
    norm.running_mean.copy_(x.mean((0, 2, 3)))
    norm.running_var.copy_(x.var((0, 2, 3)))
