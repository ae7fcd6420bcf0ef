"""Cross-correlation of search features with the kernels of each target, written once for every network.

A batch of targets is laid out along the channels of one image, so that one grouped convolution serves all of them:
the form that ONNX Runtime runs fastest on a CPU and that TensorRT builds (bench/NOTES.md). Convolutions need the group
count as a number: an exported graph has a fixed batch.
"""

import torch.nn.functional as F
from torch import Tensor


def depthwise(x: Tensor, kernel: Tensor, padding: int = 0) -> Tensor:
    """Return [N, C, H', W']: every channel of `x` [N, C, H, W] correlated with its own kernel [N, C, h, w].

    Source: SiamRPN++ sec. 3.4; STVIR/pysot:pysot/core/xcorr.py.
    """
    n, c, h, w = kernel.shape
    flat = x.reshape(1, n * c, x.shape[2], x.shape[3])
    out = F.conv2d(flat, kernel.reshape(n * c, 1, h, w), padding=padding, groups=n * c)
    return out.reshape(n, c, out.shape[2], out.shape[3])


def full(x: Tensor, kernel: Tensor) -> Tensor:
    """Return [N * s, O, H', W']: all channels of `x` [N * s, C, H, W] correlated with O kernels a target, [N, O, C,
    h, w].

    `s` crops of each target lie next to each other (the scales of SiamFC); they share the target's kernels.
    Source: SiamFC sec. 2 (O = 1); SiamRPN sec. 3.2 (O = 2k and 4k).
    """
    n, o, c, h, w = kernel.shape
    if n == 1:
        return F.conv2d(x, kernel[0])
    s = x.shape[0] // n
    flat = x.reshape(n, s, c, x.shape[2], x.shape[3]).transpose(0, 1).reshape(s, n * c, x.shape[2], x.shape[3])
    out = F.conv2d(flat, kernel.reshape(n * o, c, h, w), groups=n)
    return (
        out.reshape(s, n, o, out.shape[2], out.shape[3]).transpose(0, 1).reshape(n * s, o, out.shape[2], out.shape[3])
    )


def pixelwise(x: Tensor, kernel: Tensor) -> Tensor:
    """Return [N, h*w, H, W]: every pixel of the template [N, C, h, w] taken as a 1x1 kernel over `x` [N, C, H, W].

    Source: HonglinChu/SiamTrackers:NanoTrack (pixel-wise correlation of Alpha-Refine).
    """
    n, c, h, w = kernel.shape
    weights = kernel.reshape(n, c, h * w).transpose(1, 2)
    return (weights @ x.reshape(n, c, -1)).reshape(n, h * w, x.shape[2], x.shape[3])
