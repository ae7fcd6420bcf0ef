"""Operators written so that torch.compile fuses them with their neighbours, where a library's kernel is slow.

On an H200 cuDNN takes fifty microseconds for a depth-wise correlation or a dilated depth-wise convolution, a product of
one row takes two kernels, and the bias of a convolution is a separate one (bench/NOTES.md). Ordinary depth-wise
convolutions stay cuDNN's: written out they are no faster, and take PyTorch several times as long to compile.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Attributes = dict[str, Any]
Shape = Sequence[int] | None
MOST_TAPS = 49
"""Weights of a channel up to which a depth-wise convolution is written as a sum."""


def fusible(kind: str, a: Attributes, shapes: Sequence[Shape], constant_weight: bool) -> Any:
    """Return what computes an operator of ONNX by sums and products; None where its library should.

    `shapes`: of its inputs, None where one is not known; `constant_weight`: whether the second is a constant.
    """
    if kind == "Gemm" and shapes[0] is not None and shapes[0][0] == 1 and not a.get("transA"):
        return row_times_matrix
    x, weight = shapes[0], shapes[1] if len(shapes) > 1 else None
    if kind != "Conv" or x is None or weight is None or len(x) != 4 or len(weight) != 4:
        return None
    channels, _, rows, columns = weight
    groups = a.get("group", 1)
    if groups == rows * columns == 1 and set(a.get("strides", (1,))) == {1} and not any(a.get("pads", ())):
        return pointwise
    is_depthwise = 1 < channels == x[1] == groups and rows * columns <= MOST_TAPS
    is_slow = not constant_weight or max(a.get("dilations", (1,))) > 1
    return depthwise if is_depthwise and is_slow else None


def depthwise(a: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return a depth-wise convolution as a sum of shifted products, one for each weight of a channel."""
    top, left, bottom, right = a.get("pads", (0, 0, 0, 0))
    x = F.pad(x, (left, right, top, bottom)).float()
    (down, across), (lines, columns) = a.get("strides", (1, 1)), a.get("dilations", (1, 1))
    rows, width = weight.shape[2:]
    height_out = (x.shape[2] - (rows - 1) * lines - 1) // down + 1
    width_out = (x.shape[3] - (width - 1) * columns - 1) // across + 1
    total: Tensor | None = None
    for row in range(rows):
        for column in range(width):
            first, second = row * lines, column * columns
            part = x[:, :, first : first + (height_out - 1) * down + 1 : down]
            part = part[..., second : second + (width_out - 1) * across + 1 : across]
            product = part * weight[:, 0, row, column].float().reshape(1, -1, 1, 1)
            total = product if total is None else total + product
    assert total is not None
    if bias is not None:
        total = total + bias.float().reshape(1, -1, 1, 1)
    return total.to(weight.dtype)


def pointwise(a: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return a convolution by single weights as a matrix product, which adds the bias in the same kernel."""
    targets, channels, height, width = x.shape
    rows, matrix = x.permute(0, 2, 3, 1).reshape(-1, channels), weight.reshape(weight.shape[0], channels).t()
    product = rows @ matrix if bias is None else torch.addmm(bias, rows, matrix)
    return product.reshape(targets, height, width, -1).permute(0, 3, 1, 2)


def row_times_matrix(a: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return a product of one row."""
    rows = weight if a.get("transB") else weight.t()
    out: Any = (x.float() * rows.float()).sum(1, keepdim=True).t() * a.get("alpha", 1.0)
    if bias is not None:
        out = out + bias.float() * a.get("beta", 1.0)
    row: Tensor = out.to(weight.dtype)
    return row
