"""What a student learns: nothing where it agrees, no score where nothing is, and something of every kind of maps."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from random_networks import network
from tiny import TINY, TINY_ANCHORS, TINY_POINTS, seeded
from torch import Tensor
from train_data import moving_squares

from trk.engine.geometry import Geometry
from trk.export.weights import choose
from trk.models.network import SiameseNet
from trk.models.registry import find
from trk.models.row import Row
from trk.models.slimfc import SlimFC
from trk.train.distil import FeatureLoss, PairLoss, WholeLoss, centre_maps, crops, map_loss, proposal_maps, score_map
from trk.train.gradients import forward_gradients
from trk.train.pairs import PairBatch, PairBatches, Sampling, sampling_for
from trk.train.teacher import Teacher

LIGHTFC, SLIM, LIGHT = find("lightfc"), find("slimfc"), find("siamrpnpp", "light")
PRESENT = torch.tensor([True, True, False])


@pytest.fixture(scope="module")
def lightfc() -> Teacher:
    """LightFC with random weights."""
    return Teacher(LIGHTFC, network("lightfc"))


def _batch(folder: Path, row: Row, count: int = 2, sampling: Sampling | None = None) -> PairBatch:
    tracks = moving_squares(folder, tracks=2, frames=2)
    geometry = Geometry.model_validate(row.geometry)
    sampling = sampling or sampling_for(8.0, negative=0.0)
    return PairBatches(tracks, geometry, row.searches[0].size, count, sampling=sampling).make(0)


def _score(seed: int, channels: int = 1) -> Tensor:
    return torch.rand(3, channels, 8, 8, generator=torch.Generator().manual_seed(seed)) * 0.9 + 0.05


def _centre(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Score, size and offset as a network of the centre kind gives them."""
    size, offset = (_score(seed + number, 2) for number in (10, 20))
    return _score(seed), size, offset


def test_equal_maps_of_centres_teach_nothing() -> None:
    goal = _centre(0)
    ours = [part.clone().requires_grad_() for part in goal]
    parts = centre_maps(ours, goal, torch.ones(3, dtype=torch.bool))
    assert {name: float(value.detach()) for name, value in parts.items()} == pytest.approx(
        {"loss": 0.0, "cls": 0.0, "sides": 0.0, "loc": 0.0}, abs=1e-6
    )
    for gradient in torch.autograd.grad(parts["loss"], ours):
        assert float(gradient.abs().max()) < 1e-5


def test_equal_maps_of_proposals_teach_nothing() -> None:
    goal = _score(0, 5), torch.randn(3, 20, 8, 8, generator=torch.Generator().manual_seed(1))
    ours = [part.clone().requires_grad_() for part in goal]
    parts = proposal_maps(ours, goal, torch.ones(3, dtype=torch.bool))
    assert float(parts["loss"].detach()) == pytest.approx(0.0, abs=1e-6)
    assert float(parts["loc"]) == 0.0
    for gradient in torch.autograd.grad(parts["loss"], ours):
        assert float(gradient.abs().max()) < 1e-5


def test_equal_score_maps_have_no_gradient() -> None:
    goal = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    ours = goal.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(score_map([ours], [goal], torch.ones(3, dtype=torch.bool))["loss"], ours)
    assert float(gradient.abs().max()) < 1e-6


def test_a_box_that_is_off_costs_more_the_further_it_is() -> None:
    score, size, offset = _centre(0)
    losses = [
        float(centre_maps((score, size, offset + off), (score, size, offset), PRESENT)["loc"])
        for off in (0.0, 0.2, 0.4, 0.8)
    ]
    assert losses == sorted(losses)
    assert losses[1] > losses[0]


@pytest.mark.parametrize("sure", [0.05, 0.95])
def test_where_nothing_is_present_a_zero_score_is_learned_whatever_the_teacher_says(sure: float) -> None:
    absent = torch.zeros(3, dtype=torch.bool)
    score, size, offset = (part.requires_grad_() for part in _centre(0))
    parts = centre_maps((score, size, offset), (torch.full_like(score, sure), *_centre(5)[1:]), absent)
    found, of_size, of_offset = torch.autograd.grad(parts["loss"], (score, size, offset))
    assert (found > 0).all()
    assert float(of_size.abs().max()) == float(of_offset.abs().max()) == 0.0

    logits = torch.zeros(3, 1, 8, 8, requires_grad=True)
    (found,) = torch.autograd.grad(score_map([logits], [torch.full_like(logits, 5.0)], absent)["loss"], logits)
    assert (found > 0).all()

    scores, boxes = _score(0, 5).requires_grad_(), torch.randn(3, 20, 8, 8, requires_grad=True)
    parts = proposal_maps((scores, boxes), (torch.full_like(scores, sure), torch.zeros_like(boxes)), absent)
    found, of_boxes = torch.autograd.grad(parts["loss"], (scores, boxes))
    assert (found > 0).all()
    assert float(of_boxes.abs().max()) == 0.0


def test_absent_pairs_say_nothing_about_boxes_beside_present_ones() -> None:
    score, size, offset = _centre(0)
    size.requires_grad_()
    (gradient,) = torch.autograd.grad(centre_maps((score, size, offset), _centre(5), PRESENT)["loss"], size)
    assert [bool(one.any()) for one in gradient] == PRESENT.tolist()


def test_a_pair_of_logits_and_one_logit_are_the_same_score() -> None:
    pairs, points = map_loss(TINY_ANCHORS), map_loss(TINY_POINTS)
    generator = torch.Generator().manual_seed(0)
    cls, goal = (torch.randn(3, 10, 8, 8, generator=generator) for _ in range(2))
    loc = torch.randn(3, 20, 8, 8, generator=generator)
    single = [part[:, 5:] - part[:, :5] for part in (cls, goal)]
    two, one = pairs((cls, loc), (goal, loc), PRESENT), pairs((single[0], loc), (single[1], loc), PRESENT)
    assert float(two["loss"]) == pytest.approx(float(one["loss"]), rel=1e-5)
    assert float(two["loss"]) > 0
    point = cls[:, :2], loc[:, :4]
    assert float(points(point, point, torch.ones(3, dtype=torch.bool))["loss"]) == pytest.approx(0, abs=1e-6)


KINDS: dict[str, tuple[Row, Row, Callable[[], SiameseNet]]] = {
    "centre": (SLIM, LIGHTFC, lambda: network("lightfc")),
    "light": (LIGHT, LIGHT, lambda: choose("siamrpnpp", "light", None)[1]),
    "nanotrack": (find("nanotrack", "v2"), find("nanotrack", "v2"), lambda: network("nanotrack 2")),
    "fear": (find("fear"), find("fear"), lambda: network("fear")),
    "anchors": (TINY_ANCHORS, TINY_ANCHORS, lambda: seeded(1, TINY_ANCHORS)),
    "points": (TINY_POINTS, TINY_POINTS, lambda: seeded(1, TINY_POINTS)),
    "score map": (TINY, TINY, lambda: seeded(1, TINY)),
}
"""Rows of student and teacher, and the teacher."""


@pytest.mark.parametrize("kind", KINDS)
def test_a_student_of_every_kind_comes_nearer_to_its_teacher(tmp_path: Path, kind: str) -> None:
    row, teachers_row, teachers_net = KINDS[kind]
    torch.manual_seed(0)
    net = row.build().train()
    loss = PairLoss(Teacher(teachers_row, teachers_net()), row)
    batch = _batch(tmp_path, row)
    optimiser = torch.optim.AdamW([one for one in net.parameters() if one.requires_grad], 5e-4)
    found = []
    with forward_gradients():
        for _ in range(5):
            value = loss(net, batch)["loss"]
            optimiser.zero_grad()
            value.backward()
            if not found:
                learning = [one for one in net.parameters() if one.requires_grad]
                reached = [one for one in learning if one.grad is not None and bool(one.grad.any())]
                assert all(bool(torch.isfinite(one.grad).all()) for one in reached)
                assert len(reached) > 0.7 * len(learning)
            optimiser.step()
            found.append(float(value.detach()))
    assert all(np.isfinite(found))
    assert found[-1] < 0.95 * found[0]


def test_features_of_the_teacher_cost_nothing_and_their_mean_costs_one(tmp_path: Path, lightfc: Teacher) -> None:
    batch = _batch(tmp_path, LIGHTFC)
    loss = FeatureLoss(lightfc, batch)
    with torch.no_grad():
        assert float(loss(lightfc.featured, batch)["loss"]) == 0.0
        theirs = [lightfc.featured.features(part) for part in crops(batch, LIGHTFC, lightfc.device)]
        means = [part.mean((0, 2, 3), keepdim=True).expand_as(part) for part in theirs]
        assert float(loss.of([theirs[0], means[1]], theirs)) == pytest.approx(0.75, abs=0.02)
        assert float(loss.of(means, theirs)) == pytest.approx(1.0, abs=0.35)


def test_the_whole_is_the_loss_of_maps_and_that_of_features(tmp_path: Path, lightfc: Teacher) -> None:
    torch.manual_seed(0)
    net, batch = SlimFC().eval(), _batch(tmp_path, SLIM)
    features = FeatureLoss(lightfc, batch)
    with torch.no_grad():
        whole = WholeLoss(lightfc, SLIM, features)(net, batch)
        maps, apart = PairLoss(lightfc, SLIM)(net, batch), features(net, batch)
    assert float(whole["features"]) == pytest.approx(float(apart["loss"]), rel=1e-4)
    assert float(whole["loss"]) == pytest.approx(float(maps["loss"] + apart["loss"]), rel=1e-4)
    assert float(whole["cls"]) == pytest.approx(float(maps["cls"]), rel=1e-4)


def test_apart_the_trunk_learns_from_the_features_alone(tmp_path: Path, lightfc: Teacher) -> None:
    torch.manual_seed(0)
    net, batch = SlimFC().eval(), _batch(tmp_path, SLIM)
    features = FeatureLoss(lightfc, batch)
    trunk, head = list(net.trunk.parameters()), list(net.head.parameters())
    apart = WholeLoss(lightfc, SLIM, features, apart=True)(net, batch)
    found = torch.autograd.grad(apart["loss"], [*trunk, *head], retain_graph=True)
    alone = torch.autograd.grad(features(net, batch)["loss"], trunk)
    for one, other in zip(found, alone, strict=False):
        assert torch.allclose(one, other, rtol=1e-3, atol=1e-6)
    assert all(bool(one.any()) for one in found[len(trunk) :])
