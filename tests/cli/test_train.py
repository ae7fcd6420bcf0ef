"""trk-train: from a folder of sequences to weights, killed and resumed on the way."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.numpy import load_file
from train_data import moving_squares

from trk.cli.command import run
from trk.cli.train import command
from trk.export.weights import choose
from trk.train.session import OWN

COMMAND = [sys.executable, "-c", "import sys; from trk.cli.train import main; sys.argv[0] = 'trk-train'; main()"]
SMALL = ["--model", "nanotrack", "--variant", "v2", "--steps", "6", "--batch", "2", "--quiet"]


def _train(data: Path, out: Path, *more: str) -> int:
    return run(command, [*SMALL, "--data", f"got10k:{data}", "--out", str(out), *more])


def test_a_run_leaves_weights_metrics_options_and_a_checkpoint(tmp_path: Path) -> None:
    moving_squares(tmp_path / "data")
    assert _train(tmp_path / "data", tmp_path / "run") == 0
    written = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"weights.safetensors", "metrics.csv", "options.json", "latest.pt"} <= written
    with (tmp_path / "run" / "metrics.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert rows[-1]["step"] == "6"
    assert float(rows[-1]["loss"]) > 0
    assert json.loads((tmp_path / "run" / "options.json").read_text())["model"] == "nanotrack"


def test_weights_say_whose_they_are_and_a_run_how_to_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    moving_squares(tmp_path / "data")
    words = [*SMALL[:-1], "--data", f"got10k:{tmp_path / 'data'}", "--out", str(tmp_path / "run")]
    assert run(command, words) == 0
    out, told = capsys.readouterr()
    assert out == f"{tmp_path / 'run'}\n"
    assert f"trk-export --weights {tmp_path / 'run' / 'weights.safetensors'}" in told
    assert "accuracy" not in told
    row, _, provenance = choose(None, None, tmp_path / "run" / "weights.safetensors")
    assert (row.name, provenance.licence, provenance.notice) == ("nanotrack/v2", OWN, "")


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_weights(tmp_path: Path) -> None:
    moving_squares(tmp_path / "data")
    arguments = ["--model", "nanotrack", "--variant", "v2", "--steps", "230", "--batch", "2", "--quiet"]
    arguments += ["--data", f"got10k:{tmp_path / 'data'}"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*COMMAND, *arguments, "--out", str(whole)], check=True, env=environment, cwd=tmp_path)
    process = subprocess.Popen([*COMMAND, *arguments, "--out", str(parts)], env=environment, cwd=tmp_path)
    while not (parts / "latest.pt").exists():
        assert process.poll() is None
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    resume = [*COMMAND, "--resume", "--quiet", "--out", str(parts)]
    subprocess.run(resume, check=True, env=environment, cwd=tmp_path)
    first, second = (load_file(folder / "weights.safetensors") for folder in (whole, parts))
    assert all((first[name] == second[name]).all() for name in first)


def test_a_finished_run_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    moving_squares(tmp_path / "data")
    assert _train(tmp_path / "data", tmp_path / "run") == 0
    assert _train(tmp_path / "data", tmp_path / "run") == 2
    assert "holds a run already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--data", "got10k:."], "no model"),
        (["--model", "nanotrack"], "no data"),
        (["--model", "nanotrak", "--data", "got10k:."], "did you mean nanotrack"),
        (["--model", "nanotrack", "--data", "what:."], "names no layout"),
        (["--model", "siamfc", "--data", "got10k:.", "--cache", "c"], "frozen trunk"),
        (["--resume"], "no run of trk-train"),
    ],
)
def test_what_makes_no_sense_is_told_in_one_line_and_leaves_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(command, [*arguments, "--out", "run", "--quiet"]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "run" / "options.json").exists()
