"""The two branches of a tracker as modules to export: uint8 crops in, kernels or the next box out."""

import torch
from torch import Tensor, nn

from ..models.network import SiameseNet


def image(crop: Tensor, channels: str) -> Tensor:
    """Return [N, 3, H, W] float32 of `crop` uint8 [N, H, W, 3] BGR. TensorRT wants the cast first."""
    pixels = crop.to(torch.float32).permute(0, 3, 1, 2)
    # Flipped as planes: ONNX Runtime takes ten times as long to turn round three values per pixel.
    return pixels.flip(1) if channels == "RGB" else pixels


class TemplateGraph(nn.Module):
    """crop (and size) -> kernels."""

    def __init__(self, net: SiameseNet, channels: str) -> None:
        super().__init__()
        self.net = net
        self.channels = channels

    def forward(self, crop: Tensor, *size: Tensor) -> tuple[Tensor, ...]:
        """Return the kernels of `crop` uint8 [N * scales, T, T, 3]; `size` [N, 2] only where the network takes it."""
        return self.net.template(image(crop, self.channels), *size)


class SearchGraph(nn.Module):
    """crop, size, params, kernels -> box, score, best, and the maps they were made from."""

    def __init__(self, net: SiameseNet, step: nn.Module, channels: str) -> None:
        super().__init__()
        self.net = net
        self.step = step
        self.channels = channels

    def forward(self, crop: Tensor, size: Tensor, params: Tensor, *kernels: Tensor) -> tuple[Tensor, ...]:
        """Return what `SearchOutput` describes, then the network's maps, of `crop` uint8 [N * scales, S, S, 3].

        The step is float32 whatever the network is.
        """
        maps = tuple(values.float() for values in self.net.search(image(crop, self.channels), *kernels))
        return (*self.step(*maps, size, params), *maps)
