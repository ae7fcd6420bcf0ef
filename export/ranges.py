"""How large the numbers in a network get on real crops: what FP16 can hold, and what it can't."""

from collections.abc import Iterable
from math import isfinite
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ExportError
from ..models.network import SiameseNet
from .reference import Crops
from .typed import LARGEST, forward, layers

HEADROOM = 4.0
"""A layer whose values come nearer to the largest FP16 number than this factor is FP32: other videos go further."""


def largest(net: SiameseNet, samples: Iterable[Crops], channels: str) -> dict[str, float]:
    """Return the largest absolute value that goes into or comes out of each layer of `net` (FP32, folded).

    In the order in which the layers first run; one that never runs is left out. Raises ExportError where a value is not
    finite.
    """
    found: dict[str, float] = {}
    names = {module: name for name, module in layers(net)}

    def seen(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        values = [value for value in (*inputs, output) if isinstance(value, Tensor)]
        highest = [float(value.abs().max()) for value in values]
        if not all(map(isfinite, highest)):
            raise ExportError(
                f"layer {names[module]} gives numbers that are not finite in FP32: are the weights whole?"
            )
        found[names[module]] = max(*highest, found.get(names[module], 0.0))

    hooks = [module.register_forward_hook(seen) for module in names]
    try:
        with torch.no_grad():
            for crops in samples:
                forward(net, crops, channels)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def too_large(ranges: dict[str, float]) -> list[str]:
    """Return the layers of `ranges` that come too near to the end of FP16, in order."""
    return [name for name, value in ranges.items() if value > LARGEST / HEADROOM]
