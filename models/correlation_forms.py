"""The same correlation written in several ways: which is fastest, or builds at all, depends on the runtime.

Every form takes search features and the kernels of each target and gives the same map up to rounding. `FORMS` names
them; bench/NOTES.md has their times. All but `grouped` are free of the batch size: they export with any number of
targets, where a convolution's group count has to be a number.

Source: SiamRPN++ sec. 3.4 (depth-wise), SiamFC sec. 2 and SiamRPN sec. 3.2 (all channels). The forms are ours.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

Correlation = Callable[[Tensor, Tensor], Tensor]


class Form(NamedTuple):
    """One way to write both correlations, without padding."""

    depthwise: Correlation
    """x [N, C, H, W] and kernel [N, C, h, w] (as `prepare` returned it) give [N, C, H', W']."""
    full: Correlation
    """x [N * s, C, H, W] and kernel [N, O, C, h, w] give [N * s, O, H', W']."""
    any_batch: bool
    """Whether a graph in this form may leave the number of targets open."""
    prepare: Callable[[Tensor, int], Tensor] | None = None
    """What the template branch does to a depth-wise kernel, given the width of the (padded) search features."""
    what: str = ""


def depthwise_grouped(x: Tensor, kernel: Tensor) -> Tensor:
    """All targets along the channels of one image: one convolution with N * C groups."""
    n, c, h, w = kernel.shape
    flat = x.reshape(1, n * c, x.shape[2], x.shape[3])
    out = F.conv2d(flat, kernel.reshape(n * c, 1, h, w), groups=n * c)
    return out.reshape(n, c, out.shape[2], out.shape[3])


def full_grouped(x: Tensor, kernel: Tensor) -> Tensor:
    """One convolution with a group for each target; with one target an ordinary one."""
    n, o, c, h, w = kernel.shape
    if n == 1:
        return F.conv2d(x, kernel[0])
    s = x.shape[0] // n
    flat = x.reshape(n, s, c, x.shape[2], x.shape[3]).transpose(0, 1).reshape(s, n * c, x.shape[2], x.shape[3])
    out = F.conv2d(flat, kernel.reshape(n * o, c, h, w), groups=n)
    return (
        out.reshape(s, n, o, out.shape[2], out.shape[3]).transpose(0, 1).reshape(n * s, o, out.shape[2], out.shape[3])
    )


def depthwise_shift(x: Tensor, kernel: Tensor) -> Tensor:
    """A sum over the kernel's positions of shifted maps times one number per channel."""
    h, w = kernel.shape[2:]
    height, width = x.shape[2] - h + 1, x.shape[3] - w + 1
    out = x[:, :, :height, :width] * kernel[:, :, :1, :1]
    for i in range(h):
        for j in range(w):
            if i or j:
                out = out + x[:, :, i : i + height, j : j + width] * kernel[:, :, i : i + 1, j : j + 1]
    return out


def gemm_then_shift(x: Tensor, kernel: Tensor) -> Tensor:
    """Return [N, O, H', W']: `x` [N, C, H, W] correlated with O kernels a target, channels last: [N, O, h, w, C].

    One matrix product, every cell of the kernels with every cell of the map, then sums of shifted maps: rows first,
    then columns. With few kernels and many channels this takes less than half of a convolution's time in ONNX Runtime,
    which lays out h * w copies of the map, and it needs no group for each target.
    """
    _, o, h, w, c = kernel.shape
    height, width = x.shape[2] - h + 1, x.shape[3] - w + 1
    products = kernel.reshape(-1, o * h * w, c) @ x.reshape(-1, c, x.shape[2] * x.shape[3])
    products = products.reshape(-1, o, h, w, x.shape[2], x.shape[3])
    rows = products[:, :, 0, :, :height]
    for shift in range(1, h):
        rows = rows + products[:, :, shift, :, shift : shift + height]
    out = rows[:, :, 0, :, :width]
    for shift in range(1, w):
        out = out + rows[:, :, shift, :, shift : shift + width]
    return out


def full_shift(x: Tensor, kernel: Tensor) -> Tensor:
    """`gemm_then_shift` of kernels that lie channels first."""
    return gemm_then_shift(x, _each_crop(x, kernel).permute(0, 1, 3, 4, 2))


def depthwise_gather(x: Tensor, kernel: Tensor) -> Tensor:
    """Windows laid side by side by one Gather, then a matrix product per channel."""
    c, h, w = kernel.shape[1:]
    out = kernel.reshape(-1, c, 1, h * w) @ _windows(x, h, w)
    return out.reshape(-1, c, x.shape[2] - h + 1, x.shape[3] - w + 1)


def full_gather(x: Tensor, kernel: Tensor) -> Tensor:
    """Windows laid side by side by one Gather, then one matrix product a target."""
    o, c, h, w = kernel.shape[1:]
    windows = _windows(x, h, w)
    out = _each_crop(x, kernel).reshape(-1, o, c * h * w) @ windows.reshape(-1, c * h * w, windows.shape[3])
    return out.reshape(-1, o, x.shape[2] - h + 1, x.shape[3] - w + 1)


def banded(kernel: Tensor, width: int) -> Tensor:
    """Return [N, C, h * width, W']: the matrix that a row of windows is multiplied with, of `kernel` [N, C, h, w].

    Row i * width + x, column j hold kernel[i, x - j]: a Toeplitz band for each row of the kernel. The template branch
    makes it once, and a frame costs one product of matrices.
    """
    c, h, w = kernel.shape[1:]
    columns = width - w + 1
    # A row of the kernel with W' zeros behind it, repeated, is the band read along its diagonals.
    line = F.pad(kernel, (0, columns)).unsqueeze(3).expand(-1, c, h, columns, w + columns)
    flat = line.reshape(-1, c, h, columns * (w + columns))[:, :, :, : columns * width]
    return flat.reshape(-1, c, h, columns, width).transpose(3, 4).reshape(-1, c, h * width, columns)


def depthwise_toeplitz(x: Tensor, kernel: Tensor) -> Tensor:
    """Rows under each other times the banded kernel that `banded` made: one product of matrices per channel."""
    width = x.shape[3]
    h = kernel.shape[2] // width
    height = x.shape[2] - h + 1
    rows = torch.cat([x[:, :, i : i + height] for i in range(h)], 3)
    return rows @ kernel


def _windows(x: Tensor, h: int, w: int) -> Tensor:
    """Return [N, C, h * w, H' * W']: every window's values at one position of the kernel."""
    height, width = x.shape[2] - h + 1, x.shape[3] - w + 1
    taps = (torch.arange(h).reshape(-1, 1) * x.shape[3] + torch.arange(w)).reshape(-1, 1)
    places = (torch.arange(height).reshape(-1, 1) * x.shape[3] + torch.arange(width)).reshape(1, -1)
    index = (taps + places).reshape(-1).to(x.device)
    flat = x.reshape(-1, x.shape[1], x.shape[2] * x.shape[3])
    return flat.index_select(2, index).reshape(-1, x.shape[1], h * w, height * width)


def _each_crop(x: Tensor, kernel: Tensor) -> Tensor:
    """Repeat the kernels of a target for each of its crops (the scales of SiamFC)."""
    scales = 1 if x.shape[0] == kernel.shape[0] else x.shape[0] // kernel.shape[0]
    return kernel if scales == 1 else kernel.repeat_interleave(scales, 0)


FORMS = {
    "grouped": Form(depthwise_grouped, full_grouped, False, what="convolution, targets as groups"),
    "shift": Form(depthwise_shift, full_shift, True, what="matrix product or scaling, then shifted sums"),
    "gather": Form(depthwise_gather, full_gather, True, what="windows by Gather, then matrix product"),
    "toeplitz": Form(depthwise_toeplitz, full_gather, True, banded, "banded kernel from the template branch"),
}
"""The first is the one that every bundle has unless another is asked for."""

RUNTIME_FORMS = {"onnxruntime": ("grouped",), "tensorrt": ("grouped", "gather")}
"""Forms to try for each runtime, best first: the next where a graph in this one does not build (bench/NOTES.md)."""
