"""A network typed in FP16 on the PyTorch side, so that one ONNX file means the same on every runtime.

Every layer takes what it is given in its own type and gives it on. Batch norms are folded first, in double precision.
FP32 stay: batch norms that can't be folded, correlations over all channels (thousands of terms a sum), whatever the
models themselves compute with `.float()` (normalisation, means, lengths, exponentials), the step, and the layers that
`wide` names. uint8 goes in, FP32 comes out; kernels have the type that the template branch gives them.
"""

import copy
from collections.abc import Collection, Iterator

import torch
from torch import Tensor, nn

from ..models.correlation import Correlation, Full
from ..models.folding import fold_norms
from ..models.network import SiameseNet
from .graphs import image
from .reference import Crops

LARGEST = 65504.0
"""The largest finite number in FP16."""
LAYERS = (nn.Conv2d, nn.Linear, nn.BatchNorm2d, Correlation)
ALWAYS_WIDE = (nn.BatchNorm2d, Full)


def folded(net: SiameseNet, crops: Crops, channels: str) -> SiameseNet:
    """Return a copy of `net` whose batch norms are in the convolutions before them."""
    net = copy.deepcopy(net)
    fold_norms(net, lambda: forward(net, crops, channels))
    return net


@torch.no_grad()
def forward(net: SiameseNet, crops: Crops, channels: str) -> tuple[tuple[Tensor, ...], list[tuple[Tensor, ...]]]:
    """Return the kernels of the crops, and the maps of each search crop."""
    template = [image(crops.template, channels), *([crops.size] if net.template_takes_size else [])]
    kernels = net.template(*template)
    return kernels, [net.search(image(crop, channels), *kernels) for crop, _ in crops.searches]


def layers(net: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield what has a type of its own, by name, in the order of definition."""
    return ((name, module) for name, module in net.named_modules() if isinstance(module, LAYERS))


def half_layers(net: nn.Module) -> list[str]:
    """Return the names of the layers that are FP16 unless they are named as wide."""
    return [name for name, module in layers(net) if not isinstance(module, ALWAYS_WIDE)]


def typed(net: SiameseNet, wide: Collection[str] = (), emulated: bool = False) -> SiameseNet:
    """Return a copy of `net` (folded) in FP16, the layers in `wide` in FP32.

    `emulated`: layers compute in FP32 what they would in FP16 with sums in FP32, as ONNX Runtime does on a CPU and
    tensor cores do; many times faster here than PyTorch's own FP16, and not to be exported.
    """
    net = copy.deepcopy(net)
    for name, module in layers(net):
        half = name not in wide and not isinstance(module, ALWAYS_WIDE)
        if half and emulated:
            for parameter in module.parameters(recurse=False):
                parameter.data = parameter.data.half().float()
            module.register_forward_pre_hook(_through_half)
            module.register_forward_hook(_to_half)
        else:
            dtype = torch.float16 if half else torch.float32
            module.to(dtype)
            module.register_forward_pre_hook(_Cast(dtype))
    return net


class _Cast:
    """Brings what a layer is given to its type."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(value.to(self.dtype) for value in inputs)


def _through_half(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(value.half().float() for value in inputs)


def _to_half(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return output.half()
