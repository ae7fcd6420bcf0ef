"""Every family's loss can be learned from a batch of pairs, and the light model's cached features are its own."""

from pathlib import Path

import pytest
import torch
from train_data import moving_squares

from trk.engine.geometry import Geometry
from trk.models import correlation
from trk.models.light import LightNet, light_step, matched_response
from trk.models.registry import find
from trk.train.families import family_loss
from trk.train.features import SHAPES, Rounds, write_round
from trk.train.gradients import forward_gradients
from trk.train.pairs import PairBatches, sampling_for
from trk.train.samples import Plan


@pytest.mark.parametrize(
    ("model", "variant"),
    [
        ("siamfc", None),
        ("siamrpn", None),
        ("nanotrack", "v2"),
        ("siamrpnpp", "light"),
        ("siamdw_fc", None),
        ("siamdw_rpn", None),
        ("lightfc", None),
        ("fear", None),
    ],
)
def test_a_step_down_the_gradient_lowers_the_loss_of_its_batch(tmp_path: Path, model: str, variant: str | None) -> None:
    row = find(model, variant)
    torch.manual_seed(0)
    net = row.build().eval()  # running statistics: the same batch gives the same loss twice
    tracks = moving_squares(tmp_path, tracks=2, frames=2)
    geometry = Geometry.model_validate(row.geometry)
    batch = PairBatches(tracks, geometry, row.searches[0].size, 2, sampling=sampling_for(8.0, negative=0.0)).make(0)
    loss = family_loss(row)
    learning = [parameter for parameter in net.parameters() if parameter.requires_grad]
    with forward_gradients():
        before = loss(net, batch)["loss"]
        gradients = torch.autograd.grad(before, learning, allow_unused=True)
    assert torch.isfinite(before)
    norm = sum(float(g.square().sum()) for g in gradients if g is not None)
    assert norm > 0
    with torch.no_grad():
        # The steps are tried from long to short: one of them has to go down.
        for size in (1e-1, 1e-2, 1e-3, 1e-4, 1e-5):
            moves = [None if g is None else g * (size / norm**0.5) for g in gradients]
            _move(learning, moves, -1.0)
            after = float(loss(net, batch)["loss"])
            _move(learning, moves, 1.0)
            if after < float(before):
                return
    pytest.fail(f"no step down the gradient lowers the loss {float(before):.4f}")


def _move(parameters: list[torch.nn.Parameter], moves: list[torch.Tensor | None], sign: float) -> None:
    for parameter, move in zip(parameters, moves, strict=True):
        if move is not None:
            parameter.add_(move, alpha=sign)


def test_cached_features_give_the_maps_of_the_crops_they_were_made_of(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = LightNet().eval()
    z, x, size = torch.rand(1, 3, 159, 159) * 255, torch.rand(1, 3, 223, 223) * 255, torch.tensor([[50.0, 70.0]])
    with torch.no_grad():
        kernels = net.template(z, size)
        cls, cos, _ = net.search(x, *kernels)
        parts = net.heads_search(*net.trunk_search(x), *net.heads_template(*net.trunk_template(z), size))
    assert torch.allclose(cls, parts[0], atol=1e-5)
    assert torch.allclose(cos, parts[1].mean(1, keepdim=True), atol=1e-5)
    assert cls.shape[-1] == 17


def test_a_round_of_features_is_written_whole_and_read_back(tmp_path: Path) -> None:
    tracks = moving_squares(tmp_path / "data", tracks=2)
    plan = Plan(video=2, regions=0)
    write_round(tmp_path / "cache" / "round-000", LightNet().eval(), tracks, 0, plan, lambda done, total: None)
    rounds = Rounds(tmp_path / "cache", 1)
    assert rounds.names == ["round-000"]
    (arrays,) = rounds.rounds
    assert {name: arrays[name].shape for name in SHAPES} == {name: (4, *shape) for name, shape in SHAPES.items()}
    assert not list((tmp_path / "cache").glob("*.part"))


def test_calibration_makes_the_first_frame_exact() -> None:
    torch.manual_seed(0)
    net = LightNet().eval()
    loc = torch.rand(1, 4, 9, 9) * 4 + 20
    loc[:, :, 3:6, 3:6] = torch.tensor([20.0, 26.0, 30.0, 22.0]).reshape(1, 4, 1, 1)
    steps = torch.tensor([-8.0, 0.0, 8.0])
    loc[:, 0, 3:6, 3:6] += steps
    loc[:, 2, 3:6, 3:6] -= steps
    loc[:, 1, 3:6, 3:6] += steps[:, None]
    loc[:, 3, 3:6, 3:6] -= steps[:, None]
    size = torch.tensor([[40.0, 60.0]])
    scale, offset = net._calibration(loc, size).flatten(1).split(2, 1)
    sides = torch.tensor([[50.0, 48.0]])
    centre = torch.tensor([[5.0, -2.0]])
    assert torch.allclose(sides * scale, size)
    assert torch.allclose(centre + sides * offset, torch.zeros(1, 2), atol=1e-6)


def test_the_light_step_follows_the_untrained_response_where_it_is_told_to() -> None:
    step = light_step(21, 255)
    cls = torch.full((1, 1, 21, 21), -3.0)
    cls[0, 0, 10, 12] = 3.0
    cos = torch.zeros(1, 1, 21, 21)
    cos[0, 0, 10, 8] = 0.9
    loc = torch.full((1, 4, 21, 21), 30.0)
    size = torch.tensor([[60.0, 60.0]])
    for fusion, column in ((0.0, 12), (1.0, 8)):
        _, score, best = step(cls, cos, loc, size, torch.tensor([0.0, 0.0, 0.5, fusion]))
        assert int(best) == 10 * 21 + column
        assert float(score) == pytest.approx(0.9526 if fusion == 0 else 0.9, abs=1e-3)


def test_the_light_steps_box_is_the_mean_of_equal_neighbours_and_of_nothing_far_away() -> None:
    step = light_step(21, 255)
    cls = torch.full((1, 1, 21, 21), -9.0)
    loc = torch.full((1, 4, 21, 21), 30.0)
    # Two neighbours that are equally sure, their boxes 8 px apart and of 60 and 80 px; a third one far away.
    cls[0, 0, 10, 10] = cls[0, 0, 10, 11] = cls[0, 0, 2, 2] = 2.0
    loc[0, :, 10, 11] = 40.0
    size = torch.tensor([[60.0, 60.0]])
    box, *_ = step(cls, torch.zeros(1, 1, 21, 21), loc, size, torch.tensor([0.0, 0.01, 1.0, 0.0]))
    rate = torch.sigmoid(torch.tensor(2.0))
    assert box[0, 0] == pytest.approx(4.0, abs=0.05)
    assert box[0, 1] == pytest.approx(0.0, abs=0.05)
    assert box[0, 2:].tolist() == pytest.approx([float(60 + 10 * rate)] * 2, abs=0.3)


def test_the_fast_correlations_are_equal_to_the_plain_ones() -> None:
    torch.manual_seed(0)
    x, kernel = torch.randn(3, 8, 12, 12, requires_grad=True), torch.randn(3, 8, 5, 5, requires_grad=True)
    plain = correlation.depthwise(x, kernel)
    expected = torch.autograd.grad(plain.square().sum(), (x, kernel))
    with forward_gradients():
        fast = correlation.depthwise(x, kernel)
        found = torch.autograd.grad(fast.square().sum(), (x, kernel))
    assert torch.allclose(plain, fast, atol=1e-4)
    for one, other in zip(expected, found, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-2)
    assert torch.allclose(correlation.full(x, kernel[:, None]), matched_response(x, kernel), atol=1e-4)
    assert correlation.depthwise.__module__ == "trk.models.correlation"
