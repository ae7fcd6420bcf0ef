"""The heads of NanoTrack V2 and V3 with class and box branch run as one: the same maps from half the nodes.

The 1x1 convolution of the search features before a pixel-wise correlation is linear, so it moves into the kernel and
is not run per frame at all: K'(A x + a) = (K'A) x + K'a. All else lies side by side, class channels first. V1's
towers differ in shape from each other and stay as they are.
"""

import torch
from torch import Tensor, nn

from . import correlation
from .ban import PIXELS, HeadV2, HeadV3, PixelwiseXCorr
from .folding import affine, as_conv, block_diagonal, convolution, side_by_side

CLASSES = 2


class FusedPixelwise(nn.Module):
    """Two `PixelwiseXCorr` as one of 128 channels."""

    def __init__(self, parts: tuple[PixelwiseXCorr, PixelwiseXCorr]) -> None:
        super().__init__()
        self.conv_kernel = _kernel_convolution(parts)
        self.correlate = correlation.Pixelwise()
        self.fc = side_by_side([nn.Sequential(p.CA_layer.fc1, nn.ReLU(), p.CA_layer.fc2, nn.Sigmoid()) for p in parts])
        self.conv = side_by_side([p.conv for p in parts]) if hasattr(parts[0], "conv") else nn.Identity()

    def template(self, zf: Tensor) -> tuple[Tensor, Tensor]:
        """Return the kernels [N, C, 16, 8], one 8x8 above the other, and what is added behind them [N, 128, 1, 1]."""
        out: Tensor = self.conv_kernel(zf)
        c = (out.shape[1] - 2) // 2
        return torch.cat([out[:, :c], out[:, c : 2 * c]], 2), out[:, 2 * c :].reshape(-1, 2 * PIXELS, 1, 1)

    def search(self, xf: Tensor, kernel: Tensor, offset: Tensor) -> Tensor:
        """Return [N, 128, S, S]."""
        corr = self.correlate(xf, kernel) + offset
        out: Tensor = self.conv(corr * self.fc(corr.float().mean((2, 3), keepdim=True)))
        return out


class FusedHeadV2(nn.Module):
    """`HeadV2`, merged."""

    kernel_names = ("kernel_pw", "kernel_pw_offset")

    def __init__(self, head: HeadV2) -> None:
        super().__init__()
        self.corr_pw = FusedPixelwise((head.corr_pw_cls, head.corr_pw_reg))
        self.tower = side_by_side([head.cls_pw_tower, head.bbox_pw_tower])
        self.pred = _predictions(head.cls_pred, head.bbox_pred)

    def template(self, zf: Tensor) -> tuple[Tensor, ...]:
        """Return the pixel-wise kernels [N, 48, 16, 8] and their offsets [N, 128, 1, 1]."""
        return self.corr_pw.template(zf)

    def search(self, xf: Tensor, *kernels: Tensor) -> tuple[Tensor, Tensor]:
        """Return class logits [N, 2, 16, 16] and the logarithms of the distances [N, 4, 16, 16]."""
        out = self.pred(self.tower(self.corr_pw.search(xf, *kernels)))
        return out[:, :CLASSES], out[:, CLASSES:]


class FusedHeadV3(nn.Module):
    """`HeadV3`, merged; what narrows the concatenated correlations becomes a sum of two convolutions."""

    kernel_names = ("kernel_pw", "kernel_pw_offset", "kernel_dw")

    def __init__(self, head: HeadV3) -> None:
        super().__init__()
        depthwise = (head.corr_dw_cls, head.corr_dw_reg)
        self.corr_pw = FusedPixelwise((head.corr_pw_cls, head.corr_pw_reg))
        self.dw_kernel = side_by_side([d.conv_kernel for d in depthwise], shared_input=True)
        self.dw_search = side_by_side([d.conv_search for d in depthwise], shared_input=True)
        self.dw_correlate = correlation.Depthwise(padding=1)
        down = [affine(as_conv(down[0])) for down in (head.down_cls, head.down_reg)]
        bias = torch.cat([b for _, b in down])
        self.down_pw = convolution(torch.cat([w[:, :PIXELS] for w, _ in down]), bias, groups=2)
        self.down_dw = convolution(torch.cat([w[:, PIXELS:] for w, _ in down]), torch.zeros_like(bias), groups=2)
        self.tower = side_by_side([head.cls_tower, head.bbox_tower])
        self.pred = _predictions(head.cls_logits, head.bbox_pred)

    def template(self, zf: Tensor) -> tuple[Tensor, ...]:
        """Return the kernels [N, 96, 16, 8], their offsets [N, 128, 1, 1] and the depthwise kernels [N, 192, 4, 4]."""
        return *self.corr_pw.template(zf), self.dw_kernel(zf[:, :, 2:6, 2:6])

    def search(self, xf: Tensor, *kernels: Tensor) -> tuple[Tensor, Tensor]:
        """Return class logits [N, 2, 15, 15] and the logarithms of the distances [N, 4, 15, 15]."""
        pw = self.corr_pw.search(xf, *kernels[:2])
        dw = self.dw_correlate(self.dw_search(xf), kernels[2])
        out = self.pred(self.tower(self.down_pw(pw) + self.down_dw(dw)))
        return out[:, :CLASSES], out[:, CLASSES:]


@torch.no_grad()
def _kernel_convolution(parts: tuple[PixelwiseXCorr, PixelwiseXCorr]) -> nn.Conv2d:
    """Return the convolution from template features to A'K of both parts [2C], then a'K of both [2]."""
    weights, biases, offset_weights, offset_biases = [], [], [], []
    for part in parts:
        kernel_weight, kernel_bias = _matrix(part.conv_kernel)
        search_weight, search_bias = _matrix(part.conv_search)
        weights.append(search_weight.T @ kernel_weight)
        biases.append(search_weight.T @ kernel_bias)
        offset_weights.append((search_bias @ kernel_weight)[None])
        offset_biases.append((search_bias @ kernel_bias)[None])
    return convolution(torch.cat(weights + offset_weights)[:, :, None, None], torch.cat(biases + offset_biases))


def _matrix(layers: nn.Module) -> tuple[Tensor, Tensor]:
    assert isinstance(layers, nn.Sequential)
    weight, bias = affine(as_conv(layers[0]), layers[1])
    return weight[:, :, 0, 0], bias


def _predictions(cls: nn.Sequential, loc: nn.Sequential) -> nn.Conv2d:
    return convolution(*block_diagonal([affine(as_conv(cls[0])), affine(as_conv(loc[0]))]))
