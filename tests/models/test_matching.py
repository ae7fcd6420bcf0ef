"""The untrained matching: what its kernels mean, which way boxes move and grow, and its graphs."""

from functools import cache

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from trk.export.graphs import SearchGraph, TemplateGraph
from trk.export.onnx_graph import to_onnx
from trk.export.verify import run
from trk.models import correlation
from trk.models.correlation_forms import gemm_then_shift
from trk.models.light import EXPANDED
from trk.models.matching import CELLS, Matching, gaussian
from trk.models.matching_step import REACH, MatchingStep
from trk.weights.checkpoint import read_checkpoint
from trk.weights.recognise import load_into
from trk.weights.shipped import HERE, shipped_weights

SIZE = (72.0, 56.0)
STEP = 1.05
PARAMS = torch.tensor([1.0, 0.2, 0.5, STEP])
STILL = REACH * (2 * REACH + 1) + REACH


@cache
def network() -> Matching:
    net = Matching().eval()
    load_into(net, read_checkpoint(shipped_weights("mobilenetv2_imagenet.safetensors").path))
    return net


@cache
def picture() -> np.ndarray:
    frame = cv2.imread(str(HERE / "astronaut.jpg"))
    assert frame is not None
    return cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


def crop(cx: float, cy: float, side: float) -> Tensor:
    """The square of `side` around the point, 255 px: [1, 3, 255, 255], RGB."""
    scale = side / 255
    matrix = np.array([[scale, 0, cx - 127 * scale], [0, scale, cy - 127 * scale]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    pixels = cv2.warpAffine(picture(), matrix, (255, 255), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return torch.from_numpy(pixels).permute(2, 0, 1).unsqueeze(0).float()


def pyramid(cx: float, cy: float, side: float) -> Tensor:
    return torch.cat([crop(cx, cy, side * STEP**step) for step in (-1, 0, 1)])


FACE = (222.0, 120.0, 300.0)
PATCH = (350.0, 330.0, 260.0)


@torch.no_grad()
def track(z: Tensor, x: Tensor, size: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    net = network()
    size = torch.tensor([SIZE]).expand(len(x), 2) if size is None else size
    box, score, best = MatchingStep(255)(*net.search(x, *net.template(z, size)), size, PARAMS)
    return box, score, best


def test_shapes_of_kernels_and_maps():
    net = network()
    with torch.no_grad():
        kernels = net.template(pyramid(*FACE), torch.tensor([SIZE]))
        maps = net.search(crop(*FACE), *kernels)
    assert [tuple(kernel.shape) for kernel in kernels] == [
        *((1, 3, cells, cells, channels) for channels, cells in zip(EXPANDED, CELLS, strict=True)),
        (1, sum(EXPANDED), 1, 1),
    ]
    assert [tuple(m.shape) for m in maps] == [(1, 3, 24, 24), (1, 3, 12, 12)]
    assert len(kernels) == len(net.kernel_names)
    assert len(maps) == len(net.map_names)


def test_a_target_that_has_not_moved_scores_one_and_stays():
    box, score, best = track(pyramid(*FACE), crop(*FACE))
    np.testing.assert_allclose(box[0], [0, 0, *SIZE], atol=1e-4)
    assert score.item() == pytest.approx(1.0, abs=1e-4)
    assert best.item() == STILL


@pytest.mark.parametrize(("dx", "dy"), [(9, 0), (0, -14), (-30, 22), (41, 35), (-3, 5)])
@pytest.mark.parametrize("place", [FACE, PATCH])
def test_a_shift_of_the_frame_moves_the_box_by_as_much(place, dx, dy):
    cx, cy, side = place
    pixel = side / 255
    box, score, _ = track(pyramid(*place), crop(cx - dx * pixel, cy - dy * pixel, side))
    np.testing.assert_allclose(box[0, :2], [dx, dy], atol=2)
    assert score.item() > 0.7


@pytest.mark.parametrize("place", [FACE, PATCH])
@pytest.mark.parametrize(("larger", "direction"), [(1.06, 1), (0.94, -1)])
def test_a_target_that_grows_makes_the_box_grow(place, larger, direction):
    cx, cy, side = place
    box, _, _ = track(pyramid(*place), crop(cx, cy, side / larger))
    factor = 1 + 0.5 * (STEP**direction - 1)
    np.testing.assert_allclose(box[0, 2:], [SIZE[0] * factor, SIZE[1] * factor], rtol=1e-5)
    np.testing.assert_allclose(box[0, :2], 0, atol=2)


def test_the_score_falls_where_the_target_is_not():
    _, here, _ = track(pyramid(*FACE), crop(*FACE))
    _, elsewhere, _ = track(pyramid(*FACE), crop(*PATCH))
    assert elsewhere.item() < 0.5 < here.item()


def test_two_targets_together_equal_each_alone():
    places = [FACE, PATCH]
    sizes = torch.tensor([SIZE, (40.0, 90.0)])
    z, x = [pyramid(*place) for place in places], [crop(cx + 8, cy - 5, side) for cx, cy, side in places]
    together = track(torch.cat(z), torch.cat(x), sizes)
    for i in range(2):
        for both, alone in zip(together, track(z[i], x[i], sizes[i : i + 1]), strict=True):
            torch.testing.assert_close(both[i : i + 1], alone, rtol=1e-4, atol=1e-4)


def test_what_lies_far_from_the_target_does_not_count():
    """Noise outside the kernels' Gaussian changes the response by little, inside it by much."""
    noise = 255 * torch.rand(1, 3, 255, 255, generator=torch.Generator().manual_seed(0))
    inside = torch.zeros(1, 1, 255, 255)
    inside[..., 127 - 40 : 128 + 40, 127 - 50 : 128 + 50] = 1
    seen = crop(*FACE)
    _, kept, _ = track(pyramid(*FACE), seen * inside + noise * (1 - inside))
    _, covered, _ = track(pyramid(*FACE), noise * inside + seen * (1 - inside))
    assert kept.item() > 2 * covered.item()


def test_correlation_by_products_equals_the_convolution():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 7, 12, 11, generator=generator)
    kernel = torch.randn(2, 3, 7, 5, 4, generator=generator)
    expected = correlation.full(x, kernel)
    torch.testing.assert_close(gemm_then_shift(x, kernel.permute(0, 1, 3, 4, 2)), expected, rtol=1e-4, atol=1e-4)


def test_the_gaussian_follows_the_targets_width_and_height():
    wide = gaussian(torch.tensor([[80.0, 30.0]]), 9, 8)[0, 0, 0]
    tall = gaussian(torch.tensor([[30.0, 80.0]]), 9, 8)[0, 0, 0]
    torch.testing.assert_close(wide, tall.t())
    assert wide[4, 0] > 3 * wide[0, 4]
    assert 0.99 < wide.max() <= 1


def test_the_window_holds_the_box_where_the_map_is_flat():
    box, _, best = MatchingStep(255)(torch.zeros(1, 3, 24, 24), torch.zeros(1, 3, 12, 12), torch.tensor([SIZE]), PARAMS)
    assert best.item() == STILL
    assert torch.isfinite(box).all()


def test_both_graphs_equal_pytorch():
    net, size = network(), torch.tensor([SIZE])
    z, x = (crops.permute(0, 2, 3, 1).flip(3).to(torch.uint8) for crops in (pyramid(*FACE), crop(226, 117, 300)))
    template = TemplateGraph(net, "RGB").eval()
    search = SearchGraph(net, MatchingStep(255), "RGB").eval()
    with torch.no_grad():
        kernels = template(z, size)
        expected = search(x, size, PARAMS, *kernels)
    exported = run(
        to_onnx(template, (z, size), ["crop", "size"], net.kernel_names), {"crop": z.numpy(), "size": size.numpy()}
    )
    for name, kernel in zip(net.kernel_names, kernels, strict=True):
        np.testing.assert_allclose(exported[name], kernel.numpy(), atol=1e-5)
    inputs = {"crop": x, "size": size, "params": PARAMS, **dict(zip(net.kernel_names, kernels, strict=True))}
    outputs = ["box", "score", "best", *net.map_names]
    graph = to_onnx(search, tuple(inputs.values()), list(inputs), outputs)
    found = run(graph, {name: values.numpy() for name, values in inputs.items()})
    for name, values in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(found[name], values.numpy(), atol=1e-4, err_msg=name)
