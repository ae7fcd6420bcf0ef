"""Snapshots are judged beside the run, each once; the best stay, and a kill loses none."""

import csv
import json
from pathlib import Path

import judges
import pytest
import torch
from torch import nn
from train_data import moving_squares

from trk.errors import SourceError
from trk.models.registry import find
from trk.train import validate
from trk.train.checkpoint import load
from trk.train.validate import KEPT, SNAPSHOTS, VALIDATION, Validation, accuracies

SLIM = find("slimfc")
ACCURACIES = {10: 0.3, 20: 0.1, 30: 0.5, 40: 0.2, 50: 0.45, 60: 0.6, 70: 0.05}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Sequences, and the accuracy of each step for a judge that needs no network."""
    monkeypatch.setattr(validate, "_judge", judges.by_step)
    moving_squares(tmp_path / "clips", tracks=1)
    (tmp_path / "clips" / "accuracies.json").write_text(json.dumps(ACCURACIES))
    return tmp_path / "clips"


def _net(step: int) -> nn.Module:
    net = nn.Linear(1, 1)
    nn.init.constant_(net.weight, step)
    return net


def _judged(folder: Path) -> list[int]:
    return [int(line) for line in (folder / "judged.txt").read_text().split()]


def _kept(out: Path) -> list[int]:
    return sorted(int(path.stem) for path in (out / SNAPSHOTS).iterdir())


def _rows(out: Path) -> list[dict[str, str]]:
    with (out / VALIDATION).open() as stream:
        return list(csv.DictReader(stream))


def test_every_snapshot_is_judged_once_and_the_best_stay(tmp_path: Path, folder: Path) -> None:
    out = tmp_path / "run"
    validation = Validation(out, SLIM, folder, 1)
    for step in ACCURACIES:
        validation.submit(step, _net(step))
    validation.collect(wait=True)
    assert _judged(folder) == list(ACCURACIES)
    best = sorted(ACCURACIES, key=lambda step: ACCURACIES[step])[-KEPT:]
    assert _kept(out) == sorted(validation.best) == sorted(best)
    assert validation.best[60] == pytest.approx(0.65)
    state = validation.best_state()
    assert state is not None
    assert state["weight"].item() == 60
    rows = _rows(out)
    assert list(rows[0]) == ["step", "accuracy", "one", "two"]
    assert [(int(row["step"]), float(row["one"])) for row in rows] == list(ACCURACIES.items())
    assert all(float(row["accuracy"]) == pytest.approx(float(row["one"]) + 0.05) for row in rows)


def test_the_run_goes_on_while_a_snapshot_is_judged(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validate, "_judge", judges.when_told)
    validation = Validation(tmp_path / "run", SLIM, folder, 1)
    validation.submit(10, _net(10))
    validation.collect()
    assert validation.best == {}
    assert validation.best_state() is None
    (folder / "go").touch()
    validation.collect(wait=True)
    assert list(validation.best) == _judged(folder) == [10]


def test_a_snapshot_that_a_kill_left_unjudged_is_judged_on_resume(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    first = Validation(out, SLIM, folder, 1)
    first.submit(10, _net(10))
    first.collect(wait=True)
    monkeypatch.setattr(validate, "_judge", judges.when_told)
    first.submit(20, _net(20))
    assert first._process is not None
    first._process.kill()
    first._process.join()
    monkeypatch.setattr(validate, "_judge", judges.by_step)
    second = Validation(out, SLIM, folder, 1)
    assert list(second.best) == [10]
    second.submit(30, _net(30))
    second.collect(wait=True)
    assert _judged(folder) == [10, 20, 30]
    assert {step: round(value, 4) for step, value in second.best.items()} == {10: 0.35, 20: 0.15, 30: 0.55}


def test_a_step_that_was_judged_before_a_kill_is_not_judged_again(tmp_path: Path, folder: Path) -> None:
    out = tmp_path / "run"
    first = Validation(out, SLIM, folder, 1)
    for step in ACCURACIES:
        first.submit(step, _net(step))
    first.collect(wait=True)
    second = Validation(out, SLIM, folder, 1)
    for step in (20, 60, 70):
        second.submit(step, _net(step))
    second.collect(wait=True)
    assert _judged(folder) == list(ACCURACIES)
    assert second.best == pytest.approx(first.best)
    assert len(_rows(out)) == len(ACCURACIES)


def test_a_judgement_that_fails_is_an_error_in_one_line_and_can_be_made_later(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    monkeypatch.setattr(validate, "_judge", judges.failing)
    validation = Validation(out, SLIM, folder, 1)
    validation.submit(10, _net(10))
    with pytest.raises(SourceError, match=r"00000010.pt could not be judged on .*: see above") as raised:
        validation.collect(wait=True)
    assert len(str(raised.value).splitlines()) == 1
    assert _kept(out) == [10]
    monkeypatch.setattr(validate, "_judge", judges.by_step)
    again = Validation(out, SLIM, folder, 1)
    again.collect(wait=True)
    assert list(again.best) == [10]


def test_a_folder_without_sequences_is_told_before_anything_is_made(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="no sequence in") as raised:
        Validation(tmp_path / "run", SLIM, tmp_path / "empty", 1)
    assert len(str(raised.value).splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_networks_snapshot_is_exported_and_tracked_with(tmp_path: Path) -> None:
    moving_squares(tmp_path / "clips", tracks=1)
    torch.manual_seed(0)
    net = SLIM.build().eval()
    validation = Validation(tmp_path / "run", SLIM, tmp_path / "clips", 2)
    validation.submit(4, net)
    validation.collect(wait=True)
    (row,) = _rows(tmp_path / "run")
    assert list(row) == ["step", "accuracy", "sequence-0"]
    assert validation.best[4] == pytest.approx(float(row["sequence-0"]), abs=1e-3)
    expected = accuracies(SLIM, net, tmp_path / "clips", runs=2)
    assert expected["sequence-0"] == pytest.approx(validation.best[4], abs=1e-3)
    assert 0 < validation.best[4] < 1
    kept = load(tmp_path / "run" / SNAPSHOTS / "00000004.pt")["net"]
    assert all(torch.equal(value, kept[name]) for name, value in net.state_dict().items())
