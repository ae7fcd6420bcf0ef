"""Merging layers that run side by side into one layer, and batch norms into the convolutions before them.

Sums are made in double precision, so that a merged layer differs from its parts by rounding alone.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


def as_conv(module: nn.Module) -> nn.Conv2d:
    """Return `module`, which is a convolution."""
    assert isinstance(module, nn.Conv2d)
    return module


@torch.no_grad()
def affine(conv: nn.Conv2d, norm: nn.Module | None = None) -> tuple[Tensor, Tensor]:
    """Return weight [O, I / groups, k, k] and bias [O], double, of a convolution and of the batch norm behind it."""
    weight = conv.weight.double()
    bias = weight.new_zeros(conv.out_channels) if conv.bias is None else conv.bias.double()
    if norm is None:
        return weight, bias
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    return weight * scale[:, None, None, None], norm.bias.double() + (bias - norm.running_mean.double()) * scale


@torch.no_grad()
def convolution(weight: Tensor, bias: Tensor, groups: int = 1, padding: int = 0, stride: int = 1) -> nn.Conv2d:
    """Return the convolution of weight [O, I / groups, k, k] and bias [O]."""
    outputs, inputs, side, _ = weight.shape
    conv = nn.Conv2d(inputs * groups, outputs, side, stride, padding, groups=groups)
    assert conv.bias is not None
    conv.weight.copy_(weight)
    conv.bias.copy_(bias)
    return conv


def side_by_side(sequences: Sequence[nn.Sequential], shared_input: bool = False) -> nn.Sequential:
    """Return one sequence that does what `sequences` do, which are alike layer for layer.

    Their channels lie one after the other. With `shared_input` all of them read the same channels; otherwise each reads
    its own share of the input's.
    """
    layers: list[nn.Module] = []
    columns = list(zip(*sequences, strict=True))
    for index, column in enumerate(columns):
        if isinstance(column[0], nn.BatchNorm2d):
            assert isinstance(columns[index - 1][0], nn.Conv2d)
            continue
        if not isinstance(column[0], nn.Conv2d):
            layers.append(column[0])
            continue
        convs = [as_conv(module) for module in column]
        following = columns[index + 1] if index + 1 < len(columns) else (None,)
        norms = following if isinstance(following[0], nn.BatchNorm2d) else [None] * len(convs)
        parts = [affine(conv, norm) for conv, norm in zip(convs, norms, strict=True)]
        groups = 1 if shared_input and not layers else sum(conv.groups for conv in convs)
        weight = torch.cat([weight for weight, _ in parts])
        bias = torch.cat([bias for _, bias in parts])
        layers.append(convolution(weight, bias, groups, int(convs[0].padding[0])))
    return nn.Sequential(*layers)


def block_diagonal(parts: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Return weight and bias of the 1x1 convolution in which each part keeps its own inputs and outputs."""
    weight: Tensor = torch.block_diag(*(weight[:, :, 0, 0] for weight, _ in parts))  # type: ignore[no-untyped-call]
    return weight[:, :, None, None], torch.cat([bias for _, bias in parts])


Calls = Callable[[], object]


@torch.no_grad()
def fold_norms(net: nn.Module, run: Calls) -> None:
    """Put every batch norm of `net` that follows a convolution, and it alone, into that convolution.

    Which follows which is seen while `run` runs the network. What is folded becomes `nn.Identity`, under the same name.
    """
    made: dict[int, tuple[Tensor, nn.Conv2d]] = {}
    pairs: dict[nn.BatchNorm2d, nn.Conv2d] = {}
    hooks = []

    def gave(module: nn.Module, _: object, output: Tensor) -> None:
        made[id(output)] = output, as_conv(module)

    def took(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        found = made.get(id(inputs[0]))
        if found is not None and isinstance(module, nn.BatchNorm2d):
            pairs[module] = found[1]

    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            hooks.append(module.register_forward_hook(gave))
        elif isinstance(module, nn.BatchNorm2d):
            hooks.append(module.register_forward_pre_hook(took))
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    names = {module: name for name, module in net.named_modules()}
    for norm, conv in pairs.items():
        weight, bias = affine(conv, norm)
        conv.weight.copy_(weight)
        conv.bias = nn.Parameter(bias.to(conv.weight.dtype), requires_grad=False)
        parent, _, name = names[norm].rpartition(".")
        setattr(net.get_submodule(parent), name, nn.Identity())
