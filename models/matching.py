"""Tracking without training: cosines between ImageNet features of the first frame's target and of every place.

SiamFC's idea on frozen MobileNetV2 features of stride 8 and 16. What is common to the whole neighbourhood of the target
is taken away from every cell, so that cosines tell things apart. The template branch sees the target at three
scales and makes a kernel of each; the search branch sees one crop a frame, and its three maps say which scale fits.
That costs a third of three crops a frame. A Gaussian as wide as the target keeps the background out of the kernels.

Source: SiamFC sec. 2-3; MobileNetV2 sec. 3 (the expansion layers); bench/NOTES.md, "The untrained default", for every
choice.
"""

import torch
from torch import Tensor

from .correlation_forms import gemm_then_shift
from .light import EXPANDED, Trunk
from .network import SiameseNet

SCALES = 3
CELLS = (9, 5)
"""Side of the kernels, in cells of stride 8 and 16: odd, around the cell one pixel behind the middle of a 255 crop."""
STRIDES = (8, 16)
MASK = 0.5
"""Standard deviation of the Gaussian, as a share of the target's width and height."""


class Matching(SiameseNet):
    """The network: a frozen trunk and nothing else.

    `template` takes `SCALES` crops of each target, one after the other, and the target's size in the middle one. A
    kernel from a smaller crop, in which the target is larger, answers to a larger target.
    """

    kernel_names = ("kernel_shallow", "kernel_deep", "kernel_mean")
    map_names = ("shallow", "deep")
    template_takes_size = True

    def __init__(self) -> None:
        super().__init__()
        self.trunk = Trunk()

    def features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is compared, [N, 192, 32, 32] and [N, 576, 16, 16], of crops [N, 3, 255, 255], RGB 0..255."""
        return self.trunk.expanded(*self.trunk(x))

    def template(self, z: Tensor, size: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        """Return kernels [N, 3, 9, 9, 192] and [N, 3, 5, 5, 576], and the mean feature [N, 768, 1, 1].

        z: crops [N * 3, 3, 255, 255], RGB 0..255, those of a target together; size: [N, 2] w, h in pixels of the middle
        crop. The response of a kernel is the mean cosine over its cells, weighed by the Gaussian: 1 in its own crop.
        """
        kernels, means = [], []
        for layer, cells, stride in zip(self.features(z), CELLS, STRIDES, strict=True):
            crops = layer.float().reshape(-1, SCALES, *layer.shape[1:])
            mean = crops.mean((1, 3, 4), keepdim=True)
            first = layer.shape[-1] // 2 - cells // 2
            middle = crops[:, :, :, first : first + cells, first : first + cells]
            mask = gaussian(size, cells, stride)
            kernel = unit(middle - mean) * (mask / mask.sum((3, 4), keepdim=True))
            kernels.append(kernel.permute(0, 1, 3, 4, 2))
            means.append(mean.squeeze(1))
        return *kernels, torch.cat(means, 1)

    def search(self, x: Tensor, *kernels: Tensor) -> tuple[Tensor, ...]:
        """Return the maps [N, 3, 24, 24] and [N, 3, 12, 12], cosines, of crops `x` [N, 3, 255, 255], RGB 0..255."""
        *matched, means = kernels
        layers = zip(self.features(x), matched, torch.split(means, list(EXPANDED), 1), strict=True)
        return tuple(gemm_then_shift(unit(layer.float() - mean), kernel) for layer, kernel, mean in layers)


def unit(cells: Tensor) -> Tensor:
    """Return `cells` [..., C, H, W] with the vector of every cell, along C, of length 1.

    Squares are summed by a matrix product: ONNX Runtime's reductions along an axis that is not the last take ten times
    as long.
    """
    squares = cells.square().flatten(-2)
    lengths = torch.ones(1, squares.shape[-2], device=cells.device) @ squares
    return cells * (lengths + 1e-12).rsqrt().reshape(*cells.shape[:-3], 1, *cells.shape[-2:])


def gaussian(size: Tensor, cells: int, stride: int) -> Tensor:
    """Return [N, 1, 1, cells, cells]: how much each cell belongs to a target of w, h `size` [N, 2], in crop pixels.

    The middle cell lies on pixel 128 of a crop whose middle is 127.
    """
    at = (torch.arange(cells, device=size.device) - cells // 2) * float(stride) + 1.0
    line = torch.exp(-0.5 * (at / (MASK * size.unsqueeze(2))).square())
    return (line[:, 1].unsqueeze(2) * line[:, 0].unsqueeze(1)).reshape(-1, 1, 1, cells, cells)
