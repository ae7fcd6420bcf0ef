"""Correlation against the definition: a sum over positions and channels, target by target."""

import pytest
import torch
from torch import Tensor

from trk.models import correlation


def valid(x: Tensor, kernel: Tensor) -> Tensor:
    """The correlation [H', W'] of x [C, H, W] with one kernel [C, h, w], written out."""
    _, h, w = kernel.shape
    rows, columns = x.shape[1] - h + 1, x.shape[2] - w + 1
    values = [(x[:, i : i + h, j : j + w] * kernel).sum() for i in range(rows) for j in range(columns)]
    return torch.stack(values).reshape(rows, columns)


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("targets", [1, 3])
def test_depthwise_correlates_each_channel_of_each_target_alone(targets: int, padding: int) -> None:
    x, kernel = torch.randn(targets, 4, 7, 8), torch.randn(targets, 4, 3, 2)
    out = correlation.depthwise(x, kernel, padding)
    padded = torch.nn.functional.pad(x, (padding,) * 4)
    expected = [[valid(padded[n, c : c + 1], kernel[n, c : c + 1]) for c in range(4)] for n in range(targets)]
    torch.testing.assert_close(out, torch.stack([torch.stack(maps) for maps in expected]))


@pytest.mark.parametrize("scales", [1, 3])
@pytest.mark.parametrize("targets", [1, 2])
def test_full_gives_every_crop_of_a_target_its_own_kernels(targets: int, scales: int) -> None:
    x, kernel = torch.randn(targets * scales, 4, 7, 7), torch.randn(targets, 5, 4, 3, 3)
    out = correlation.full(x, kernel)
    expected = [
        [valid(x[n * scales + s], kernel[n, o]) for o in range(5)] for n in range(targets) for s in range(scales)
    ]
    torch.testing.assert_close(out, torch.stack([torch.stack(maps) for maps in expected]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("targets", [1, 2])
def test_pixelwise_numbers_template_pixels_row_by_row(targets: int) -> None:
    x, kernel = torch.randn(targets, 6, 4, 5), torch.randn(targets, 6, 2, 3)
    out = correlation.pixelwise(x, kernel)
    assert out.shape == (targets, 6, 4, 5)
    for n in range(targets):
        for row in range(2):
            for column in range(3):
                expected = (x[n] * kernel[n, :, row, column, None, None]).sum(0)
                torch.testing.assert_close(out[n, 3 * row + column], expected)
