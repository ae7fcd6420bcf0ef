"""Cross-correlation of search features with the kernels of each target, written once for every network.

A batch of targets is laid out along the channels of one image, so that one grouped convolution serves all of them:
the form that ONNX Runtime runs fastest on a CPU and that TensorRT builds (bench/NOTES.md). Convolutions need the group
count as a number: an exported graph has a fixed batch. `set_form` writes a network's correlations in another way.
"""

from collections.abc import Iterable

import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import ModelError
from .correlation_forms import FORMS, depthwise_grouped, full_grouped

GROUPED = "grouped"


def depthwise(x: Tensor, kernel: Tensor, padding: int = 0) -> Tensor:
    """Return [N, C, H', W']: every channel of `x` [N, C, H, W] correlated with its own kernel [N, C, h, w].

    Source: SiamRPN++ sec. 3.4; STVIR/pysot:pysot/core/xcorr.py.
    """
    if padding:
        n, c, h, w = kernel.shape
        flat = x.reshape(1, n * c, x.shape[2], x.shape[3])
        out = F.conv2d(flat, kernel.reshape(n * c, 1, h, w), padding=padding, groups=n * c)
        return out.reshape(n, c, out.shape[2], out.shape[3])
    return depthwise_grouped(x, kernel)


def full(x: Tensor, kernel: Tensor) -> Tensor:
    """Return [N * s, O, H', W']: all channels of `x` [N * s, C, H, W] correlated with O kernels a target, [N, O, C,
    h, w].

    `s` crops of each target lie next to each other (the scales of SiamFC); they share the target's kernels.
    Source: SiamFC sec. 2 (O = 1); SiamRPN sec. 3.2 (O = 2k and 4k).
    """
    return full_grouped(x, kernel)


def pixelwise(x: Tensor, kernel: Tensor) -> Tensor:
    """Return [N, h*w, H, W]: every pixel of the template [N, C, h, w] taken as a 1x1 kernel over `x` [N, C, H, W].

    Source: HonglinChu/SiamTrackers:NanoTrack (pixel-wise correlation of Alpha-Refine).
    """
    _, c, h, w = kernel.shape
    weights = kernel.reshape(-1, c, h * w).transpose(1, 2)
    return (weights @ x.reshape(-1, c, x.shape[2] * x.shape[3])).reshape(-1, h * w, x.shape[2], x.shape[3])


class Correlation(nn.Module):
    """A correlation as a layer without parameters: it has a name in its network, and a form."""

    form = GROUPED


class Depthwise(Correlation):
    """`depthwise` in one of FORMS."""

    def __init__(self, padding: int = 0) -> None:
        super().__init__()
        self.padding = padding

    def forward(self, x: Tensor, kernel: Tensor) -> Tensor:
        """Return [N, C, H', W'] of x [N, C, H, W]; kernel [N, C, h, w], or what `prepared` made of it."""
        if self.form == GROUPED:
            return depthwise(x, kernel, self.padding)
        padded = F.pad(x, (self.padding,) * 4) if self.padding else x
        return FORMS[self.form].depthwise(padded, kernel)

    def prepared(self, kernel: Tensor, width: int) -> Tensor:
        """Return what `forward` wants of `kernel` [N, C, h, w] where the search features are `width` wide."""
        prepare = FORMS[self.form].prepare
        return prepare(kernel, width + 2 * self.padding) if prepare else kernel


class Full(Correlation):
    """`full` in one of FORMS."""

    def forward(self, x: Tensor, kernel: Tensor) -> Tensor:
        """Return [N * s, O, H', W'] of x [N * s, C, H, W] and kernel [N, O, C, h, w]."""
        return full(x, kernel) if self.form == GROUPED else FORMS[self.form].full(x, kernel)


class Pixelwise(Correlation):
    """`pixelwise`, which is a matrix product in every form."""

    def forward(self, x: Tensor, kernel: Tensor) -> Tensor:
        """Return [N, h * w, H, W] of x [N, C, H, W] and kernel [N, C, h, w]."""
        return pixelwise(x, kernel)


def set_form(net: nn.Module, form: str) -> None:
    """Write the correlations of `net` in one of FORMS. Raises ModelError where there is none of that name.

    The form "toeplitz" wants depth-wise kernels that went through `Depthwise.prepared`.
    """
    if form not in FORMS:
        raise ModelError(f"no form of correlation {form!r}: choose one of {', '.join(FORMS)}")
    for module in correlations(net):
        module.form = form


def correlations(net: nn.Module) -> Iterable[Correlation]:
    """Yield the correlations of `net`."""
    return (module for module in net.modules() if isinstance(module, Correlation))
