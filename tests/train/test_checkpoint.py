"""A run goes on exactly: from its state alone, and after a kill."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import TINY, seeded
from train_data import moving_squares

from trk.engine.geometry import Geometry
from trk.errors import CheckpointError, TrkError
from trk.train.checkpoint import LATEST, load, save
from trk.train.families import family_loss
from trk.train.loop import METRICS, Run, Settings
from trk.train.pairs import PairBatches
from trk.train.schedule import Schedule
from trk.train.tracks import Track

SCHEDULE = Schedule(1e-2, 1e-3, "log", 0.1, 1e-3, optimiser="adamw")
SMALL = Settings(12, checkpoint_every=4, log_every=1)


def _run(out: Path, tracks: list[Track], settings: Settings = SMALL) -> Run:
    return Run(seeded(), PairBatches(tracks, Geometry(), 255, 4), family_loss(TINY), SCHEDULE, settings, out)


def _parameters(run: Run) -> dict[str, torch.Tensor]:
    return {**run.net.state_dict(), **{f"average.{k}": v for k, v in run.average.state_dict().items()}}


class KilledError(Exception):
    """Stands for a kill between two steps."""


def test_a_run_interrupted_between_checkpoints_ends_with_the_same_parameters(tmp_path: Path) -> None:
    tracks = moving_squares(tmp_path / "data")
    whole = _run(tmp_path / "whole", tracks)
    whole.train()

    def kill(step: int, means: dict[str, float]) -> None:
        if step == 7:
            raise KilledError

    first = _run(tmp_path / "parts", tracks)
    with pytest.raises(KilledError):
        first.train(progress=kill)
    torch.manual_seed(1234)  # whatever else ran in between
    second = _run(tmp_path / "parts", tracks)
    second.resume()
    assert second.step == 4
    second.train()

    for name, value in _parameters(whole).items():
        assert torch.equal(value, _parameters(second)[name]), name
    lines = [(tmp_path / run / METRICS).read_text().splitlines() for run in ("whole", "parts")]
    steps = [[line.split(",")[:2] for line in found] for found in lines]
    assert steps[0] == steps[1]


def test_a_checkpoint_is_whole_whenever_the_process_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, torch; from pathlib import Path; from trk.train.checkpoint import save\n"
        "step = 0\n"
        "while True:\n"
        "    step += 1; save(Path(sys.argv[1]), {'step': step, 'x': torch.full((200_000,), float(step))})\n"
    )
    path = tmp_path / LATEST
    process = subprocess.Popen([sys.executable, "-c", code, str(path)], cwd=tmp_path)
    try:
        seen: set[int] = set()
        while len(seen) < 4:  # files under that name, one after the other
            assert process.poll() is None
            with contextlib.suppress(FileNotFoundError):
                seen.add(path.stat().st_mtime_ns)
            time.sleep(0.001)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    state = load(path)
    assert (state["x"] == float(state["step"])).all()


def test_a_damaged_checkpoint_is_an_error_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / LATEST
    with pytest.raises(CheckpointError, match="start without --resume"):
        load(path)
    path.write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(CheckpointError, match="no checkpoint of trk-train"):
        load(path)
    save(path, {"other": 1})
    with pytest.raises(CheckpointError, match="no step"):
        load(path)


def test_the_loss_falls(tmp_path: Path) -> None:
    losses: list[float] = []
    run = _run(tmp_path / "run", moving_squares(tmp_path / "data"), Settings(40, log_every=1, checkpoint_every=100))
    run.train(progress=lambda step, means: losses.append(means["loss"]))
    assert np.mean(losses[-8:]) < 0.8 * np.mean(losses[:8])


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    run = _run(tmp_path / "run", moving_squares(tmp_path / "data"))
    run.train()
    more = _run(tmp_path / "run", run.batches.tracks, Settings(20))  # type: ignore[attr-defined]
    more.resume()
    with torch.no_grad():
        more.net.project.weight.fill_(float("nan"))
    with pytest.raises(TrkError, match="lower the rate"):
        more.train()
    assert load(tmp_path / "run" / LATEST)["step"] == 12
