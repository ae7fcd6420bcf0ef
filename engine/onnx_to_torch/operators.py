"""The ONNX operators that exported graphs consist of, in PyTorch.

Source: onnx/onnx:docs/Operators.md, opset 18. Only what the graphs of bundles use, and of that only what they ask for.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Attributes = dict[str, Any]
Operator = Callable[..., Any]
"""Takes the attributes, then the inputs: tensors, or lists of whole numbers where SETTINGS says so."""

SETTINGS = {
    "Expand": (1,),
    "Pad": (1, 2, 3),
    "ReduceL2": (1,),
    "ReduceMax": (1,),
    "ReduceMean": (1,),
    "ReduceMin": (1,),
    "ReduceSum": (1,),
    "Reshape": (1,),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "Squeeze": (1,),
    "Unsqueeze": (1,),
}
"""Inputs that are shapes, axes and places: they have to be constants."""

TYPES = {1: torch.float32, 2: torch.uint8, 6: torch.int32, 7: torch.int64, 9: torch.bool, 10: torch.float16}
"""Numbers of ONNX's element types."""


def _wide(function: Operator) -> Operator:
    """Sum products of FP16 in FP32 and round once, on a CPU: as tensor cores do, and far faster than its own FP16."""

    def widened(a: Attributes, *inputs: Tensor | None) -> Tensor:
        first = inputs[0]
        assert first is not None
        if first.dtype != torch.float16 or first.device.type != "cpu":
            return function(a, *inputs)  # type: ignore[no-any-return]
        out: Tensor = function(a, *(None if value is None else value.float() for value in inputs))
        return out.half()

    return widened


def _conv(a: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    top, left, bottom, right = a.get("pads", (0, 0, 0, 0))
    if (top, left) != (bottom, right):
        x = F.pad(x, (left, right, top, bottom))
        top = left = 0
    strides, dilations = a.get("strides", (1, 1)), a.get("dilations", (1, 1))
    return F.conv2d(x, weight, bias, strides, (top, left), dilations, a.get("group", 1))


def _gemm(a: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    x = x.t() if a.get("transA") else x
    weight = weight.t() if a.get("transB") else weight
    out: Tensor = (x @ weight) * a.get("alpha", 1.0)
    return out if bias is None else out + bias * a.get("beta", 1.0)


def _max_pool(a: Attributes, x: Tensor) -> Tensor:
    top, left, _, _ = a.get("pads", (0, 0, 0, 0))
    return F.max_pool2d(x, a["kernel_shape"], a.get("strides", (1, 1)), (top, left))


def _batch_norm(a: Attributes, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    return F.batch_norm(x, mean, variance, scale, bias, False, 0.0, a.get("epsilon", 1e-5))


def _slice(
    a: Attributes,
    x: Tensor,
    starts: Sequence[int],
    ends: Sequence[int],
    axes: Sequence[int] | None = None,
    steps: Sequence[int] | None = None,
) -> Tensor:
    for number, (start, end) in enumerate(zip(starts, ends, strict=True)):
        axis, step = axes[number] if axes else number, steps[number] if steps else 1
        size = x.shape[axis]
        if step == -1:
            first = min(start + size if start < 0 else start, size - 1)
            last = -1 if end < -size else (end + size if end < 0 else end)
            x = x.narrow(axis, last + 1, first - last).flip(axis)
        else:
            first, last = (min(max(at + size if at < 0 else at, 0), size) for at in (start, end))
            x = x[(slice(None),) * (axis % x.ndim) + (slice(first, max(first, last), step),)]
    return x


def _reshape(a: Attributes, x: Tensor, shape: Sequence[int]) -> Tensor:
    kept = not a.get("allowzero")
    return x.reshape([x.shape[at] if side == 0 and kept else side for at, side in enumerate(shape)])


def _pad(
    a: Attributes, x: Tensor, pads: Sequence[int], value: Sequence[float] | None = None, axes: Any = None
) -> Tensor:
    sides = list(range(x.ndim)) if axes is None else [axis % x.ndim for axis in axes]
    before = dict(zip(sides, pads[: len(sides)], strict=True))
    after = dict(zip(sides, pads[len(sides) :], strict=True))
    flat = [pad for axis in reversed(range(x.ndim)) for pad in (before.get(axis, 0), after.get(axis, 0))]
    return F.pad(x, flat, value=float(value[0]) if value else 0.0)


def _split(a: Attributes, x: Tensor, sizes: Sequence[int] | None = None) -> tuple[Tensor, ...]:
    axis = a.get("axis", 0)
    if sizes:
        return torch.split(x, list(sizes), axis)
    return torch.split(x, -(-x.shape[axis] // a["num_outputs"]), axis)


def _gather(a: Attributes, x: Tensor, index: Tensor) -> Tensor:
    axis = a.get("axis", 0)
    found = x.index_select(axis, index.reshape(-1))
    return found.reshape((*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]))


def _squeeze(a: Attributes, x: Tensor, axes: Sequence[int] | None = None) -> Tensor:
    return x.squeeze() if axes is None else x.squeeze(tuple(axes))


def _unsqueeze(a: Attributes, x: Tensor, axes: Sequence[int]) -> Tensor:
    rank = x.ndim + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = x.unsqueeze(axis)
    return x


def _expand(a: Attributes, x: Tensor, shape: Sequence[int]) -> Tensor:
    return x * torch.ones((), dtype=x.dtype, device=x.device).expand(tuple(shape))


def _reduce(function: Operator) -> Operator:
    def reduced(a: Attributes, x: Tensor, axes: Sequence[int] | None = None) -> Tensor:
        where = list(range(x.ndim)) if axes is None else list(axes)
        out: Tensor = function(x, where, bool(a.get("keepdims", 1)))
        return out

    return reduced


def _fold(function: Operator) -> Operator:
    def folded(a: Attributes, first: Tensor, *others: Tensor) -> Tensor:
        for other in others:
            first = function(first, other)
        return first

    return folded


def _plain(function: Operator) -> Operator:
    return lambda a, *inputs: function(*inputs)


def _div(x: Tensor, y: Tensor) -> Tensor:
    return x / y if x.is_floating_point() else torch.div(x, y, rounding_mode="trunc")


def _clip(a: Attributes, x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    return torch.clamp(x, low, high)


OPERATORS: dict[str, Operator] = {
    "Abs": _plain(torch.abs),
    "Add": _plain(torch.add),
    "And": _plain(torch.logical_and),
    "ArgMax": lambda a, x: x.argmax(a.get("axis", 0), bool(a.get("keepdims", 1))),
    "AveragePool": lambda a, x: F.avg_pool2d(x, a["kernel_shape"], a.get("strides", (1, 1))),
    "BatchNormalization": _batch_norm,
    "Cast": lambda a, x: x.to(TYPES[a["to"]]),
    "Clip": _clip,
    "Concat": lambda a, *inputs: torch.cat(inputs, a["axis"]),
    "Conv": _wide(_conv),
    "Div": _plain(_div),
    "Equal": _plain(torch.eq),
    "Erf": _plain(torch.erf),
    "Exp": _plain(torch.exp),
    "Expand": _expand,
    "Floor": _plain(torch.floor),
    "Gather": _gather,
    "GatherElements": lambda a, x, index: x.gather(a.get("axis", 0), index),
    "Gemm": _wide(_gemm),
    "GlobalAveragePool": lambda a, x: x.mean((2, 3), True),
    "Greater": _plain(torch.gt),
    "GreaterOrEqual": _plain(torch.ge),
    "HardSigmoid": lambda a, x: (x * a.get("alpha", 0.2) + a.get("beta", 0.5)).clamp(0.0, 1.0),
    "HardSwish": _plain(F.hardswish),
    "Identity": _plain(lambda x: x),
    "Less": _plain(torch.lt),
    "LessOrEqual": _plain(torch.le),
    "Log": _plain(torch.log),
    "MatMul": _wide(lambda a, x, y: x @ y),
    "Max": _fold(torch.maximum),
    "MaxPool": _max_pool,
    "Min": _fold(torch.minimum),
    "Mul": _plain(torch.mul),
    "Neg": _plain(torch.neg),
    "Not": _plain(torch.logical_not),
    "Pad": _pad,
    "Pow": _plain(torch.pow),
    "Reciprocal": _plain(torch.reciprocal),
    "ReduceL2": _reduce(lambda x, axes, keep: x.square().sum(axes, keep).sqrt()),
    "ReduceMax": _reduce(torch.amax),
    "ReduceMean": _reduce(torch.mean),
    "ReduceMin": _reduce(torch.amin),
    "ReduceSum": _reduce(torch.sum),
    "Relu": _plain(torch.relu),
    "Reshape": _reshape,
    "Round": _plain(torch.round),
    "Sigmoid": _plain(torch.sigmoid),
    "Sign": _plain(torch.sign),
    "Slice": _slice,
    "Softmax": lambda a, x: x.softmax(a.get("axis", -1)),
    "Split": _split,
    "Sqrt": _plain(torch.sqrt),
    "Squeeze": _squeeze,
    "Sub": _plain(torch.sub),
    "Sum": _fold(torch.add),
    "Transpose": lambda a, x: x.permute(a["perm"]),
    "Unsqueeze": _unsqueeze,
    "Where": _plain(torch.where),
}
"""Name in ONNX: what it does."""
