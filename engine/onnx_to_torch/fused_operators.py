"""What nodes put together compute, besides the operators of ONNX: written for torch.compile on a GPU."""

from collections.abc import Callable
from math import isqrt
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .kernels import convolution_relu, depthwise

Attributes = dict[str, Any]
LONG = 1024
"""Values from which on the largest is sought in rows: 3125 and what they are made of took 8 us, 73984 took 22."""
PACKED = 16
"""Channels that four pixels of a picture become."""


def argmax_rows(length: int) -> int:
    """Return into how many rows `length` values are cut: about as many as each then holds; 1 where they stay."""
    return next((rows for rows in range(isqrt(length), 0, -1) if length % rows == 0), 1) if length >= LONG else 1


def _depthwise(a: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return a depth-wise convolution between activations, by [rows, columns, C] or [images * C, 1, rows, columns]."""
    if weight.ndim == 4:
        weight = weight.reshape(-1, x.shape[1], *weight.shape[2:]).permute(0, 2, 3, 1).contiguous()
        weight = weight.squeeze(0) if len(weight) == 1 else weight
    x, settings = x.permute(0, 2, 3, 1).contiguous(), (a["strides"], a["dilations"], a["pads"], a["before"], a["after"])
    out: Tensor = depthwise(x, weight, bias, *settings)
    return out.permute(0, 3, 1, 2)


def _conv_relu(a: Attributes, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    x, weight = (value.contiguous(memory_format=torch.channels_last) for value in (x, weight))
    out: Tensor = convolution_relu(x, weight, bias, a["strides"], a["dilations"], a["pads"][:2])
    return out


def _pack(a: Attributes, x: Tensor) -> Tensor:
    """Return every 2x2 pixels of a padded map as one of PACKED channels: by row, column and colour, then zeros."""
    (rows, columns), (top, left) = a["sizes"], a["pads"]
    images, colours, height, width = x.shape
    x = F.pad(x, (left, 2 * columns - left - width, top, 2 * rows - top - height))
    pixels = x.reshape(images, colours, rows, 2, columns, 2).permute(0, 2, 4, 3, 5, 1)
    return F.pad(pixels.reshape(images, rows, columns, 4 * colours), (0, PACKED - 4 * colours)).permute(0, 3, 1, 2)


def _pointwise(a: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return a convolution by single weights as a matrix product, which adds the bias in the same kernel."""
    return _as_product(x, weight, lambda rows, m: rows @ m if bias is None else torch.addmm(bias, rows, m))


def _pointwise_relu(a: Attributes, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return _as_product(x, weight, lambda rows, matrix: torch._addmm_activation(bias, rows, matrix))


def _as_product(x: Tensor, weight: Tensor, product: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    targets, channels, height, width = x.shape
    rows, matrix = x.permute(0, 2, 3, 1).reshape(-1, channels), weight.reshape(weight.shape[0], channels).t()
    return product(rows, matrix).reshape(targets, height, width, -1).permute(0, 3, 1, 2)


def _long_argmax(a: Attributes, x: Tensor) -> Tensor:
    """Return the first of the largest along the last axis, [..., 1]: row by row, for which there is a block each."""
    rows = x.reshape(*x.shape[:-1], argmax_rows(x.shape[-1]), -1)
    largest, columns = rows.max(-1)
    row = largest.argmax(-1, keepdim=True)
    place: Tensor = row * rows.shape[-1] + columns.gather(-1, row)
    return place


def _row_gemm(a: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return a product of one row as sums, which torch.compile fuses: a library takes two kernels."""
    rows = weight if a.get("transB") else weight.t()
    out: Any = (x.float() * rows.float()).sum(1, keepdim=True).t() * a.get("alpha", 1.0)
    if bias is not None:
        out = out + bias.float() * a.get("beta", 1.0)
    row: Tensor = out.to(weight.dtype)
    return row


FUSED_OPERATORS: dict[str, Callable[..., Tensor]] = {
    "ConvRelu": _conv_relu,
    "Depthwise": _depthwise,
    "LongArgMax": _long_argmax,
    "Pack": _pack,
    "Pointwise": _pointwise,
    "PointwiseRelu": _pointwise_relu,
    "RowGemm": _row_gemm,
}
"""What `fused_nodes` puts in, besides the operators of ONNX."""
