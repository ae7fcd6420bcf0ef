"""Operators for torch.compile on a GPU that are one kernel where PyTorch's are several.

`trk::depthwise` is depthwise.cu; `trk::convolution_relu` is cuDNN's convolution with a bias and ReLU, which
torch.compile does not make by itself. On a CPU each is what PyTorch has: tests run it, and kernels are counted by it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..cuda.calls import Cuda, Kernel
from ..cuda.kernel_source import kernel_source

LARGEST = torch.finfo(torch.float32).max
THREADS = 256
LOADS = (16, 8)
"""Bytes that a thread may take at once, best first; else it takes a single value."""
SIGNATURE = (*[ctypes.c_void_p] * 4, *[ctypes.c_int] * 13, *[ctypes.c_float] * 4)
"""Of the arguments of depthwise.cu's kernel."""
DEFINES = ("HALF", "LANES", "ROWS", "COLUMNS", "SWISH_BEFORE", "SWISH")


class Activation(NamedTuple):
    """Clips values to what is between `low` and `high`; or, where `hard_swish` is 1, HardSwish."""

    low: float = -LARGEST
    high: float = LARGEST
    hard_swish: float = 0.0

    def __call__(self, x: Tensor) -> Tensor:
        """Return `x` after it."""
        return F.hardswish(x) if self.hard_swish else x.clamp(self.low, self.high)


class DepthwiseKernels:
    """depthwise.cu on one GPU, compiled for a size of weights when it is first asked for."""

    def __init__(self, cuda: Cuda):
        self._cuda = cuda
        self._made: dict[tuple[int, ...], Kernel] = {}

    def run(
        self, stream: int, out: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, *settings: Sequence[float]
    ) -> None:
        """Put a convolution into a stream: see `depthwise`, whose result `out` becomes."""
        strides, dilations, pads, before, after = settings
        *images, rows, columns, channels = weight.shape
        lanes = next((n for load in LOADS if channels % (n := load // x.element_size()) == 0), 1)
        count = out.numel() // lanes
        addresses = [0 if tensor is None else tensor.data_ptr() for tensor in (x, weight, bias, out)]
        packs = channels // lanes
        sizes = count, packs, rows * columns * packs if images else 0, *x.shape[1:3], *out.shape[1:3]
        key = x.dtype == torch.float16, lanes, rows, columns, before[2], after[2]
        self._cuda.run_kernel(
            self._kernel(*map(int, key)),
            (-(-count // THREADS), 1),
            THREADS,
            *(*addresses, *sizes, *strides, *dilations, *pads[:2], *before[:2], *after[:2]),
            stream=stream,
        )

    def _kernel(self, *key: int) -> Kernel:
        if key not in self._made:
            source = kernel_source("half.cu", "depthwise.cu", **dict(zip(DEFINES, key, strict=True)))
            self._made[key] = self._cuda.kernels(source, {"depthwise": SIGNATURE})["depthwise"]
        return self._made[key]


@torch.library.custom_op("trk::depthwise", mutates_args=(), device_types="cpu")
def depthwise(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    strides: Sequence[int],
    dilations: Sequence[int],
    pads: Sequence[int],
    before: Sequence[float],
    after: Sequence[float],
) -> Tensor:
    """Return a depth-wise convolution of [N, H, W, C] by [rows, columns, C], all contiguous; sums are FP32.

    Weights [N, rows, columns, C] are each image's own.
    `pads`: top, left, bottom, right, in zeros; `before` and `after`: an Activation each, of what comes in and goes out.
    """
    top, left, bottom, right = pads
    padded = F.pad(Activation(*before)(x.float()).permute(0, 3, 1, 2), (left, right, top, bottom))
    images, channels = padded.shape[:2]
    kernels = weight.float().expand(images, *weight.shape[-3:]).permute(0, 3, 1, 2).reshape(-1, 1, *weight.shape[-3:-1])
    sums = F.conv2d(padded.reshape(1, -1, *padded.shape[2:]), kernels, None, strides, 0, dilations, len(kernels))
    sums = sums.reshape(images, channels, *sums.shape[2:])
    if bias is not None:
        sums = sums + bias.float().reshape(1, -1, 1, 1)
    return Activation(*after)(sums).permute(0, 2, 3, 1).to(x.dtype).contiguous()


@depthwise.register_fake
def _empty_result(x: Tensor, weight: Tensor, bias: Tensor | None, *settings: Any) -> Tensor:
    strides, dilations, pads, _, _ = settings
    height, width = (
        (x.shape[1 + axis] + pads[axis] + pads[2 + axis] - (weight.shape[axis - 3] - 1) * dilations[axis] - 1)
        // strides[axis]
        + 1
        for axis in range(2)
    )
    return x.new_empty(x.shape[0], int(height), int(width), x.shape[3])


@depthwise.register_kernel("cuda")
def _(x: Tensor, weight: Tensor, bias: Tensor | None, *settings: Any) -> Tensor:
    out: Tensor = _empty_result(x, weight, bias, *settings)
    _kernels_of(x.device.index).run(torch.cuda.current_stream(x.device).cuda_stream, out, x, weight, bias, *settings)
    return out


@cache
def _kernels_of(gpu: int) -> DepthwiseKernels:
    return DepthwiseKernels(Cuda(index=gpu))


@torch.library.custom_op("trk::convolution_relu", mutates_args=(), device_types="cpu")
def convolution_relu(
    x: Tensor, weight: Tensor, bias: Tensor, strides: Sequence[int], dilations: Sequence[int], padding: Sequence[int]
) -> Tensor:
    """Return ReLU of a convolution; all lies channels last. `padding`: down and across."""
    sums = F.conv2d(x.float(), weight.float(), bias.float(), strides, padding, dilations)
    return sums.relu().to(x.dtype).contiguous(memory_format=torch.channels_last)


@convolution_relu.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor, *settings: Any) -> Tensor:
    strides, dilations, padding = settings
    out = F.conv2d(x, weight, bias, strides, padding, dilations)
    return torch.empty_like(out, memory_format=torch.channels_last)


@convolution_relu.register_kernel("cuda")
def _(x: Tensor, weight: Tensor, bias: Tensor, *settings: Any) -> Tensor:
    strides, dilations, padding = settings
    out = torch.cudnn_convolution_relu(x, weight, bias, strides, padding, dilations, 1)
    return out.contiguous(memory_format=torch.channels_last)
