"""Pairs as features: written whole, read back in batches that their number decides, and what heads learn of them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from random_networks import network
from train_data import moving_squares

from trk.engine.geometry import Geometry
from trk.errors import SourceError
from trk.models.registry import find
from trk.models.slimfc import SlimFC
from trk.train.distil import crops
from trk.train.feature_pairs import STRANGERS, FeaturePairBatches, HeadLoss, write_feature_pairs
from trk.train.pairs import PairBatches, sampling_for
from trk.train.teacher import Teacher

LIGHTFC, SLIM = find("lightfc"), find("slimfc")


@pytest.fixture(scope="module")
def lightfc() -> Teacher:
    """LightFC with random weights."""
    return Teacher(LIGHTFC, network("lightfc"))


def _batches(folder: Path) -> PairBatches:
    tracks = moving_squares(folder, tracks=2, frames=2)
    sampling = sampling_for(8.0, negative=0.5)
    return PairBatches(tracks, Geometry.model_validate(SLIM.geometry), 256, 2, sampling=sampling)


def _nothing(done: int, total: int) -> None:
    """Nobody is told."""


def _made(folder: Path, count: int, *, own: bool = False, present: Callable[[int], bool] = lambda row: True) -> Path:
    """Features that tell their row, their branch, whose they are and where they lie: one channel each, and columns."""
    folder.mkdir(parents=True)
    for offset, name in enumerate(("teacher", "own") if own else ("teacher",)):
        for branch, side in (("z", 3), ("x", 5)):
            rows = np.arange(count, dtype=np.float16).reshape(-1, 1, 1, 1)
            columns = np.arange(side, dtype=np.float16).reshape(1, 1, 1, -1)
            values = np.broadcast_to(rows, (count, 1, side, side)), np.broadcast_to(columns, (count, 1, side, side))
            np.save(folder / f"{name}_{branch}.npy", np.concatenate([*values], 1) + np.float16(100 * offset))
    np.save(folder / "present.npy", np.array([present(row) for row in range(count)]))
    return folder


def test_features_are_written_whole_and_are_those_of_the_crops(tmp_path: Path, lightfc: Teacher) -> None:
    torch.manual_seed(0)
    student, told = SlimFC().eval(), []
    folder = tmp_path / "cache" / "pairs"
    write_feature_pairs(folder, lightfc, student, _batches(tmp_path / "data"), 3, lambda *at: told.append(at))
    assert told == [(2, 3), (3, 3)]
    assert [path.name for path in folder.parent.iterdir()] == ["pairs"]
    shapes = {path.stem: np.load(path).shape for path in folder.iterdir()}
    z, x = (3, 96, 8, 8), (3, 96, 16, 16)
    assert shapes == {"teacher_z": z, "teacher_x": x, "own_z": z, "own_x": x, "present": (3,)}
    first, second = (_batches(tmp_path / f"data {number}").make(number) for number in range(2))
    assert np.load(folder / "present.npy").tolist() == [*first.present.tolist(), second.present[0].item()]
    with torch.no_grad():
        for name, net in (("teacher", lightfc.featured), ("own", student)):
            for branch, pixels in zip("zx", crops(first, LIGHTFC, lightfc.device), strict=True):
                kept, found = (
                    torch.from_numpy(np.load(folder / f"{name}_{branch}.npy")[:2]).float(),
                    net.features(pixels),
                )
                assert float((kept - found).abs().mean() / found.std()) < 0.05


class StoppedError(Exception):
    """Stands for a kill."""


def test_a_run_that_is_stopped_leaves_no_folder_and_nothing_of_it_is_kept(tmp_path: Path, lightfc: Teacher) -> None:
    torch.manual_seed(0)
    batches, folder = _batches(tmp_path / "data"), tmp_path / "pairs"

    def stop(done: int, total: int) -> None:
        raise StoppedError

    with pytest.raises(StoppedError):
        write_feature_pairs(folder, lightfc, SlimFC().eval(), batches, 4, stop)
    assert not folder.exists()
    batches.count = 0
    write_feature_pairs(folder, lightfc, None, batches, 2, _nothing)
    assert {path.stem for path in folder.iterdir()} == {"teacher_z", "teacher_x", "present"}


def test_a_batch_depends_on_the_seed_and_its_number_alone(tmp_path: Path) -> None:
    folder = _made(tmp_path / "pairs", 40)
    one, late, other = (FeaturePairBatches(folder, 8, seed) for seed in (1, 1, 2))
    batches = [one.next() for _ in range(4)]
    late.restore({"count": 3})
    again = late.next()
    assert torch.equal(again.teacher[0], batches[3].teacher[0])
    assert torch.equal(again.teacher[1], batches[3].teacher[1])
    assert torch.equal(again.present, batches[3].present)
    assert late.state() == one.state() == {"count": 4}
    assert not torch.equal(batches[0].teacher[1], batches[1].teacher[1])
    assert not torch.equal(batches[0].teacher[1], other.next().teacher[1])


def test_templates_of_other_pairs_are_marked_absent(tmp_path: Path) -> None:
    batches = FeaturePairBatches(_made(tmp_path / "pairs", 64, present=lambda row: row % 8 != 0), 16, 0)
    strangers = total = 0
    for _ in range(60):
        batch = batches.next()
        z, x = (part[:, 0, 0, 0].long() for part in batch.teacher)
        assert torch.equal(batch.present, (z == x) & (x % 8 != 0))
        assert len(set(x.tolist())) == 16
        strangers += int((z != x).sum())
        total += 16
    assert strangers / total == pytest.approx(STRANGERS, abs=0.04)


def test_one_pair_alone_has_no_stranger(tmp_path: Path) -> None:
    batches = FeaturePairBatches(_made(tmp_path / "pairs", 1), 1, 0)
    assert all(bool(batches.next().present.all()) for _ in range(40))


def test_all_features_of_a_batch_are_mirrored_or_none(tmp_path: Path) -> None:
    batches = FeaturePairBatches(_made(tmp_path / "pairs", 20, own=True), 4, 0)
    seen = set()
    for _ in range(12):
        batch = batches.next()
        mirrored = [
            torch.equal(part[0, 1, 0] % 100, torch.arange(part.shape[3]).float().flip(0))
            for part in (*batch.teacher, *batch.own)
        ]
        assert len(set(mirrored)) == 1
        seen.add(mirrored[0])
        assert torch.equal(batch.own[0][:, 0], batch.teacher[0][:, 0] + 100)
    assert seen == {True, False}


def test_without_features_of_its_own_a_student_is_given_the_teachers(tmp_path: Path) -> None:
    batch = FeaturePairBatches(_made(tmp_path / "pairs", 20), 4, 0).next()
    assert all(torch.equal(own, theirs) for own, theirs in zip(batch.own, batch.teacher, strict=True))


def test_a_folder_without_pairs_and_a_batch_that_it_cant_fill_are_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "teacher_z.npy").write_text("no array")
    for name in ("other", "text"):
        with pytest.raises(SourceError, match="holds no pairs of features: name a folder") as raised:
            FeaturePairBatches(tmp_path / name, 4, 0)
        assert len(str(raised.value).splitlines()) == 1
    with pytest.raises(SourceError, match="holds 3 pairs, fewer than a batch of 4"):
        FeaturePairBatches(_made(tmp_path / "few", 3), 4, 0)


def test_heads_learn_the_teachers_maps_of_its_own_features(tmp_path: Path, lightfc: Teacher) -> None:
    folder = tmp_path / "pairs"
    write_feature_pairs(folder, lightfc, None, _batches(tmp_path / "data"), 4, _nothing)
    batch, loss = FeaturePairBatches(folder, 2, 0).next(), HeadLoss(lightfc, SLIM)
    torch.manual_seed(0)
    net = SlimFC().train()
    optimiser = torch.optim.AdamW(net.head.parameters(), 1e-3)
    found = []
    for _ in range(5):
        parts = loss(net, batch)
        optimiser.zero_grad()
        parts["loss"].backward()
        optimiser.step()
        found.append(float(parts["loss"].detach()))
    assert found[-1] < 0.95 * found[0]
    assert all(parameter.grad is None for parameter in net.trunk.parameters())
    with torch.no_grad():
        present = batch._replace(present=torch.ones(2, dtype=torch.bool))
        assert float(loss(lightfc.featured, present)["loss"]) == pytest.approx(0.0, abs=1e-5)
