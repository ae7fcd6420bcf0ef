"""What a row costs to run: parameters and floating-point operations, counted without computing anything."""

from typing import NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from .row import Row


class Cost(NamedTuple):
    """Parameters, and GFLOP (two per multiply-add) of the template branch once and the search branch per frame."""

    parameters: int
    template_gflop: float
    search_gflop: float
    template_size: int


def cost(row: Row) -> Cost:
    """Return the cost of `row` at its first search size, by tracing it on PyTorch's meta device."""
    size = int(row.geometry.get("template_size", 127))
    with torch.device("meta"), torch.no_grad():
        net = row.build().eval()
        z = torch.empty(len(row.geometry.get("template_steps", (0,))), 3, size, size)
        x = torch.empty(len(row.geometry.get("search_steps", (0,))), 3, row.searches[0].size, row.searches[0].size)
        with FlopCounterMode(display=False) as template:
            kernels = net.kernels(z, torch.empty(1, 2))
        with FlopCounterMode(display=False) as search:
            net.search(x, *kernels)
    return Cost(
        sum(parameter.numel() for parameter in net.parameters()),
        template.get_total_flops() / 1e9,
        search.get_total_flops() / 1e9,
        size,
    )
