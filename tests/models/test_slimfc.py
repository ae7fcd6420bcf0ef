"""SlimFC: LightFC's maps from a slimmer network, and what it says before training."""

from collections.abc import Iterator

import pytest
import torch

from trk.models.light import Block, Trunk
from trk.models.lightfc import LightFC
from trk.models.slimfc import FILLED, RARE, SlimFC


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    torch.manual_seed(0)
    with torch.no_grad():
        yield


def _crops(search: int, count: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.rand(count, 3, 128, 128) * 255, torch.rand(count, 3, search, search) * 255


@pytest.mark.parametrize("search", [192, 256])
def test_its_maps_have_the_form_of_lightfcs(search: int) -> None:
    z, x = _crops(search, 1)
    ours, theirs = (net.search(x, *net.template(z)) for net in (SlimFC().eval(), LightFC().eval()))
    assert [part.shape for part in ours] == [part.shape for part in theirs]
    assert ours[0].shape[-1] == search // 16
    assert SlimFC.map_names == LightFC.map_names


def test_before_training_targets_are_rare_and_of_the_size_that_they_had() -> None:
    net = SlimFC().eval()
    z, x = _crops(256)
    score, size, offset = net.search(x, *net.template(z))
    assert float(score.median()) == pytest.approx(RARE, rel=0.7)
    assert float((size - FILLED).abs().max()) < 0.1
    assert float((offset - 0.5).abs().max()) < 0.4


def test_a_pair_is_the_same_alone_and_beside_others() -> None:
    net = SlimFC().eval()
    z, x = _crops(192)
    together = net.search(x, *net.template(z))
    alone = net.search(x[1:], *net.template(z[1:]))
    for one, other in zip(together, alone, strict=True):
        assert torch.allclose(one[1:], other, atol=1e-5)


def test_imagenets_blocks_fit_all_but_the_last_two() -> None:
    ours, theirs = SlimFC().trunk.blocks, list(Trunk().blocks)[3:]
    fits = []
    for one, other in zip(ours, theirs, strict=True):
        assert isinstance(one, Block)
        assert isinstance(other, Block)
        assert one.spatial.stride == other.spatial.stride
        assert one.project.out_channels == other.project.out_channels
        fits.append(one.spatial.out_channels == other.spatial.out_channels)
    assert fits == [True] * 8 + [False] * 2
