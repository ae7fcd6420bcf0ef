import json
import shutil

import numpy as np
import pytest

from trk.cli.command import EXIT_ERROR, EXIT_INTERRUPTED, run
from trk.cli.tune import command
from trk.cli.values import parse_settings
from trk.engine.tracker import Tracker

pytest.importorskip("optuna", reason="optuna is not installed (trk-engine[eval])")


@pytest.fixture
def data(clip, tmp_path):
    """The moving square's first frames, twice."""
    for name in ("one", "two"):
        place = tmp_path / "set" / name
        place.mkdir(parents=True)
        for image in sorted(clip.folder.iterdir())[:6]:
            shutil.copy(image, place)
        np.savetxt(place / "groundtruth.txt", clip.boxes[:6], "%g", ",")
    return tmp_path / "set"


def tune(data, bundle, *words):
    return run(command, [str(data), "--bundle", str(bundle), "--trials", "3", "--threads", "1", *map(str, words)])


def test_what_is_printed_is_what_other_commands_take(data, tiny_trk, tmp_path, capsys):
    out = tmp_path / "tuned.json"
    assert tune(data, tiny_trk, "--out", out, "--param", "scale_lr", "--param", "window_influence") == 0
    printed = capsys.readouterr()
    words = printed.out.split()
    values = parse_settings(words[1::2])
    assert set(words[::2]) == {"--set"}
    found = json.loads(out.read_text())
    assert found["params"] == pytest.approx(values)
    assert set(values) == {"scale_lr", "window_influence"}
    assert {*found["tuned_on"]} ^ {*found["reported_on"]} == {"one", "two"}
    assert len(found["trials"]) == 3
    assert found["trials"][0]["params"] == {"scale_lr": 0.3, "window_influence": 0.2}
    assert "on 1 clips held out" in printed.err
    Tracker(tiny_trk, params=values)


def test_an_interrupted_search_tells_the_best_so_far_and_writes_nothing(data, tiny_trk, tmp_path, monkeypatch, capsys):
    from trk.cli import tune as module

    measure, asked = module.measure, []

    def interrupted(*words):
        if len(asked) == 1:
            raise KeyboardInterrupt
        asked.append(words)
        return measure(*words)

    monkeypatch.setattr(module, "measure", interrupted)
    assert tune(data, tiny_trk, "--out", tmp_path / "tuned.json") == EXIT_INTERRUPTED
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "interrupted after 1 trials; the best so far, not checked on clips held out: --set" in printed.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set"]


BAD = {
    "unknown parameter": (["--param", "zoom"], "no parameter 'zoom'"),
    "unknown preset": (["--preset", "none"], "no preset 'none'"),
    "one clip": (["--only", "one"], "1 clip: tuning needs at least two"),
    "all held out": (["--hold-out", "1"], "hold-out"),
    "no trials": (["--trials", "1"], "trials"),
    "out into nowhere": (["--out", "no/where.json"], "no folder no"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_exit_code_2(case, data, tiny_trk, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words, expected = BAD[case]
    assert tune(data, tiny_trk, *words) == EXIT_ERROR
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("trk-tune: ")
    assert printed.err.count("\n") == 1
    assert expected in printed.err
