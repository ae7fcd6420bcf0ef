"""SlimFC's trunk begins where ImageNet's blocks, turned, and a stem taught for a moment come nearest to its teacher."""

from pathlib import Path

import pytest
import torch
from random_networks import network
from torch import nn
from torch.nn import functional as F
from train_data import moving_squares

from trk.engine.geometry import Geometry
from trk.models.light import Block, Trunk
from trk.models.registry import find
from trk.models.slimfc import SlimFC
from trk.train import start as starting
from trk.train.distil import FeatureLoss
from trk.train.pairs import PairBatches, sampling_for
from trk.train.parts import IMAGENET, read_parts
from trk.train.start import FLOOR, STREAMS, _narrowed, align, regression, start_slimfc
from trk.train.taught import start
from trk.train.teacher import Teacher
from trk.weights.shipped import shipped_weights

LIGHTFC, SLIM = find("lightfc"), find("slimfc")


def _imagenet() -> Trunk:
    trunk = Trunk()
    trunk.load_state_dict(read_parts(shipped_weights(IMAGENET).path, "trunk."))
    return trunk


def _batches(folder: Path, count: int = 2) -> PairBatches:
    tracks = moving_squares(folder, tracks=2, frames=2)
    return PairBatches(tracks, Geometry.model_validate(SLIM.geometry), 256, count, sampling=sampling_for(8.0))


@torch.no_grad()
def _streams(trunk: Trunk, x: torch.Tensor) -> list[torch.Tensor]:
    """What the streams hold at their ends."""
    x, found = F.relu6(trunk.stem(x)), []
    for number, block in enumerate(trunk.blocks, start=1):
        x = block(x)
        if number in {last for _, last in STREAMS}:
            found.append(x)
    return found


def test_turned_blocks_compute_the_same_in_another_basis() -> None:
    torch.manual_seed(0)
    trunk, x = _imagenet(), torch.randn(4, 3, 160, 160)
    before = _streams(trunk, x)
    goals = [torch.randn_like(one) + one.roll(1, 1) for one in before]
    align(trunk.blocks, before, goals)
    after = _streams(trunk, x)
    for old, new, goal in zip(before, after, goals, strict=True):
        turn, shift = (part.float() for part in regression(old, goal))
        wanted = torch.einsum("oc,nchw->nohw", turn, old) + shift.reshape(1, -1, 1, 1)
        assert float((new - wanted).abs().max() / wanted.std()) < 1e-3
        assert not torch.allclose(new, old, atol=0.5)


def test_a_turned_stream_is_nearer_to_its_goal() -> None:
    torch.manual_seed(0)
    x = torch.randn(4, 12, 8, 8)
    mixed = torch.einsum("oc,nchw->nohw", torch.randn(12, 12), x) + torch.randn(12).reshape(1, -1, 1, 1)
    turn, shift = regression(x, mixed)
    found = torch.einsum("oc,nchw->nohw", turn.float(), x) + shift.float().reshape(1, -1, 1, 1)
    assert float((found - mixed).square().mean()) < 0.1 * float((x - mixed).square().mean())


def test_a_turn_can_be_turned_back_where_the_goal_is_flat() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 12, 8, 8)
    goal = x.clone()
    goal[:, 8:] = 3.0
    turn, shift = regression(x, goal)
    values = torch.linalg.svdvals(turn)
    assert float(values.min()) >= 0.99 * FLOOR * float(values.median())
    assert torch.allclose((turn @ x.double().mean((0, 2, 3)) + shift)[8:], torch.full((4,), 3.0).double(), atol=1e-6)


def test_a_narrower_block_keeps_the_strongest_channels_in_their_order() -> None:
    torch.manual_seed(0)
    wide, narrow = Block(8, 8, 1, 6), Block(8, 8, 1, 4)
    assert wide.expand is not None
    with torch.no_grad():
        weak = torch.randperm(48)[:16]
        wide.project.weight[:, weak] *= 1e-3
    _narrowed(wide, narrow)
    kept = sorted(set(range(48)) - set(weak.tolist()))
    assert torch.equal(narrow.expand.weight, wide.expand.weight[kept])  # type: ignore[union-attr]
    assert torch.equal(narrow.spatial.bias, wide.spatial.bias[kept])  # type: ignore[index,arg-type]
    assert torch.equal(narrow.project.weight, wide.project.weight[:, kept])
    x = torch.randn(1, 8, 6, 6)
    with torch.no_grad():
        assert float((narrow(x) - wide(x)).abs().max()) < 0.02 * float(wide(x).std())


def test_a_block_of_the_same_width_is_copied() -> None:
    torch.manual_seed(0)
    theirs, ours = Block(8, 8, 1, 6), Block(8, 8, 1, 6)
    _narrowed(theirs, ours)
    assert all(torch.equal(value, theirs.state_dict()[name]) for name, value in ours.state_dict().items())


def test_a_started_trunk_is_nearer_to_the_teacher_than_a_fresh_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starting, "STEM_STEPS", 8)
    teacher = Teacher(LIGHTFC, network("lightfc"))
    batches = _batches(tmp_path)
    loss, other = FeatureLoss(teacher, batches.make(100)), batches.make(101)
    torch.manual_seed(0)
    net, told = SlimFC(), []
    head = {name: value.clone() for name, value in net.head.state_dict().items()}
    with torch.no_grad():
        fresh = float(loss(net, other)["loss"])
    start_slimfc(net, _imagenet(), teacher, batches.next, lambda *at: told.append(at))
    with torch.no_grad():
        started = float(loss(net, other)["loss"])
    assert started < 0.9 * fresh
    assert told == [(step, 8) for step in range(1, 9)]
    assert all(torch.equal(value, head[name]) for name, value in net.head.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in net.trunk.blocks.parameters())


@pytest.mark.parametrize("kind", ["student", "teacher"])
def test_who_has_no_way_to_begin_keeps_what_it_was_built_with(tmp_path: Path, kind: str) -> None:
    """A student of another model; a teacher of LightFC's row whose blocks can't be seen, as those of a bundle."""
    torch.manual_seed(0)
    lightfc = network("lightfc")
    hidden = nn.Module()
    net = network("lightfc") if kind == "student" else SlimFC()
    teacher = Teacher(LIGHTFC, lightfc if kind == "student" else hidden)  # type: ignore[arg-type]
    before = {name: value.clone() for name, value in net.state_dict().items()}
    batches = _batches(tmp_path)
    start(net, teacher, batches, lambda done, total: None)
    assert batches.count == 0
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_a_run_begins_with_its_first_batch_whatever_the_start_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starting, "STEM_STEPS", 1)
    batches = _batches(tmp_path)
    first = batches.make(0)
    start(SlimFC(), Teacher(LIGHTFC, network("lightfc")), batches, lambda done, total: None)
    assert torch.equal(batches.next().x, first.x)
