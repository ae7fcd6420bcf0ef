"""trk-train: from a folder of sequences to weights, killed and resumed on the way."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import judges
import numpy as np
import pytest
from random_networks import network
from safetensors.numpy import load_file
from train_data import moving_squares

from trk.cli.command import EXIT_INTERRUPTED, run
from trk.cli.train import command
from trk.export.weights import choose
from trk.train import session, start, validate
from trk.train.checkpoint import load
from trk.train.loop import Run, Settings
from trk.train.session import OWN
from trk.weights.checkpoint import write_safetensors

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
        (["--resume", "--steps", "9"], "leave --steps out"),
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


@pytest.fixture(scope="module")
def lightfc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of LightFC, as a file."""
    path = tmp_path_factory.mktemp("teacher") / "lightfc.safetensors"
    write_safetensors(path, network("lightfc").state_dict(), {"model": "lightfc/mobilenetv2"})
    return path


def _taught(data: Path, out: Path, teacher: Path, *more: str) -> int:
    words = ["--model", "slimfc", "--data", f"got10k:{data}", "--teacher", str(teacher), "--batch", "2", "--quiet"]
    return run(command, [*words, "--out", str(out), *more])


@pytest.mark.parametrize("stage", ["trunk", "heads", "both", "whole"])
def test_every_stage_with_a_teacher_leaves_weights_that_can_be_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lightfc: Path, stage: str
) -> None:
    monkeypatch.setattr(start, "STEM_STEPS", 2)
    moving_squares(tmp_path / "data")
    cache = ["--cache", str(tmp_path / "cache"), "--pairs", "4"] if stage == "heads" else []
    out = tmp_path / "run"
    assert _taught(tmp_path / "data", out, lightfc, "--stage", stage, "--steps", "2", *cache) == 0
    row, net, provenance = choose(None, None, out / "weights.safetensors")
    assert (row.name, provenance.licence) == ("slimfc/base", OWN)
    assert (tmp_path / "cache").exists() == (stage == "heads")
    # The average follows what learns, a little behind.
    state = load(out / "latest.pt")
    apart = [name for name, _ in net.named_parameters() if bool((state["net"][name] != state["average"][name]).any())]
    learned = {name.partition(".")[0] for name in apart}
    assert learned == {"trunk": {"trunk"}, "heads": {"head"}}.get(stage, {"trunk", "head"})


def test_a_killed_run_with_a_teacher_resumes_to_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lightfc: Path
) -> None:
    monkeypatch.setattr(start, "STEM_STEPS", 2)
    monkeypatch.setattr(session, "Settings", partial(Settings, checkpoint_every=1))
    moving_squares(tmp_path / "data")
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert _taught(tmp_path / "data", whole, lightfc, "--steps", "3") == 0
    checkpoint = Run.checkpoint

    def killed(self: Run) -> None:
        checkpoint(self)
        if self.step == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Run, "checkpoint", killed)
        assert _taught(tmp_path / "data", parts, lightfc, "--steps", "3") == EXIT_INTERRUPTED
    assert not (parts / "weights.safetensors").exists()
    assert run(command, ["--resume", "--out", str(parts), "--quiet"]) == 0
    first, second = (load_file(folder / "weights.safetensors") for folder in (whole, parts))
    assert first.keys() == second.keys()
    assert all((first[name] == second[name]).all() for name in first)


def test_heads_learn_on_a_trunk_that_was_taught_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lightfc: Path
) -> None:
    monkeypatch.setattr(start, "STEM_STEPS", 1)
    moving_squares(tmp_path / "data")
    trunk, heads, cache = tmp_path / "trunk", tmp_path / "heads", tmp_path / "cache"
    assert _taught(tmp_path / "data", trunk, lightfc, "--stage", "trunk", "--steps", "1") == 0
    words = ["--stage", "heads", "--steps", "1", "--cache", str(cache), "--pairs", "2"]
    assert _taught(tmp_path / "data", heads, lightfc, *words, "--init", f"trunk={trunk / 'latest.pt'}") == 0
    assert {path.stem for path in cache.iterdir()} >= {"own_z", "own_x"}
    taught, kept = load(trunk / "latest.pt")["average"], load(heads / "latest.pt")["net"]
    names = [name for name in taught if name.startswith("trunk.")]
    assert len(names) > 20
    assert all(bool((taught[name] == kept[name]).all()) for name in names)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "slimfc", "--teacher", "{lightfc}", "--stage", "heads"], "name a folder for them as --cache"),
        (["--model", "slimfc", "--stage", "trunk"], "name one as --teacher"),
        (["--model", "slimfc", "--teacher", "nothing"], "no file is there, and trk knows no model 'nothing'"),
        (["--model", "nanotrack", "--teacher", "{lightfc}"], "whose maps are no lesson for nanotrack"),
        (
            ["--model", "siamrpnpp", "--teacher", "siamrpnpp/light", "--stage", "trunk"],
            "wants a model with features of its own: siamrpnpp/light has none",
        ),
        (["--model", "slimfc", "--init", "trunk={lightfc}"], "has no parameter of this model in trunk"),
        (["--model", "slimfc", "--init", "gone.pt"], "gone.pt can't be read"),
        (["--model", "slimfc", "--val", "empty"], "no sequence in empty"),
    ],
)
def test_what_a_teacher_a_stage_or_a_start_lacks_is_told_in_one_line_and_leaves_no_run(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    lightfc: Path,
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    moving_squares(tmp_path / "data")
    (tmp_path / "empty").mkdir()
    words = [word.format(lightfc=lightfc) for word in arguments]
    assert run(command, [*words, "--data", "got10k:data", "--batch", "2", "--out", "run", "--quiet"]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_the_weights_are_those_of_the_best_validation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(validate, "_judge", judges.by_step)
    moving_squares(tmp_path / "data")
    (tmp_path / "data" / "accuracies.json").write_text(json.dumps({2: 0.5, 4: 0.8, 6: 0.1}))
    words = [*SMALL[:-1], "--data", f"got10k:{tmp_path / 'data'}", "--val", str(tmp_path / "data"), "--val-every", "2"]
    out = tmp_path / "run"
    assert run(command, [*words, "--out", str(out)]) == 0
    assert "best accuracy 0.8500" in capsys.readouterr().err
    best, last = (load(out / "snapshots" / f"{step:08d}.pt")["net"] for step in (4, 6))
    weights = load_file(out / "weights.safetensors")
    apart = 0
    for name, value in weights.items():
        assert np.array_equal(value, best[name].numpy().astype(value.dtype))
        apart += not np.array_equal(value, last[name].numpy().astype(value.dtype))
    assert apart > 0


def test_clips_without_a_validation_are_no_best_accuracy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    moving_squares(tmp_path / "data")
    words = [*SMALL[:-1], "--data", f"got10k:{tmp_path / 'data'}", "--val", str(tmp_path / "data"), "--val-every", "0"]
    assert run(command, [*words, "--out", str(tmp_path / "run")]) == 0
    assert "accuracy" not in capsys.readouterr().err
