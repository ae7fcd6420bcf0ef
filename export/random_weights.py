"""Seeded random weights: for speed, which does not depend on training. They track nothing."""

import torch
from torch import Tensor, nn

from ..models.network import SiameseNet


def randomise(net: SiameseNet, seed: int, template: Tensor, size: Tensor, search: Tensor) -> None:
    """Give `net` random weights from `seed`: He-scaled convolutions, batch norms that saw the crops once.

    template: [K, 3, T, T], search: [K, 3, S, S] float32, 0..255. The batch norms keep activations in the range of a
    trained network's, so that timings meet no denormals or infinities.
    """
    generator = torch.Generator().manual_seed(seed)
    norms = []
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            fan_in = module.weight[0].numel()
            nn.init.normal_(module.weight, 0.0, (1.0 / fan_in) ** 0.5, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            norms.append((module, module.momentum))
            module.momentum = 1.0
    net.train()
    with torch.no_grad():
        kernels = net.kernels(template, size)
        net.search(search, *kernels)
    net.eval()
    for norm, momentum in norms:
        norm.momentum = momentum
