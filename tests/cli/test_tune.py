import json
import shutil

import numpy as np
import pytest

from trk.cli.command import EXIT_ERROR, EXIT_INTERRUPTED, run
from trk.cli.eval import command as evaluate
from trk.cli.run import command as track_command
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
    assert {name: found["params"][name] for name in values} == pytest.approx(values)
    assert set(values) == {*found["searched"]} == {"scale_lr", "window_influence"}
    assert {*found["tuned_on"]} ^ {*found["reported_on"]} == {"one", "two"}
    assert len(found["trials"]) == 3
    assert found["trials"][0]["params"] == {"scale_lr": 0.3, "window_influence": 0.2}
    assert "on 1 clips held out" in printed.err
    Tracker(tiny_trk, params=values)


def test_several_runs_judge_a_set_of_values(data, tiny_trk, tmp_path, capsys):
    found = []
    for runs in (1, 4):
        out = tmp_path / f"tuned{runs}.json"
        assert tune(data, tiny_trk, "--out", out, "--param", "scale_lr", "--runs", runs) == 0
        assert "on 1 clips held out" in capsys.readouterr().err
        found.append(json.loads(out.read_text()))
    once, four = found
    assert (once["runs"], four["runs"]) == (1, 4)
    assert once["tuned_on"] == four["tuned_on"]
    assert once["trials"][0]["params"] == four["trials"][0]["params"]
    assert once["trials"][0]["value"] != four["trials"][0]["value"]


def test_folds_report_on_every_clip(data, tiny_trk, tmp_path, capsys):
    out = tmp_path / "tuned.json"
    assert tune(data, tiny_trk, "--out", out, "--param", "scale_lr", "--folds", 2) == 0
    printed = capsys.readouterr()
    assert "on 2 clips, each held out once" in printed.err
    assert "95 % interval" in printed.err
    found = json.loads(out.read_text())
    assert sorted(found["folds"]) == [["one"], ["two"]]
    assert len(found["chosen_without_fold"]) == 2
    assert [sorted(trial["clips"]) for trial in found["trials"]] == [["one", "two"]] * 3
    for one, other in (("one", "two"), ("two", "one")):
        best = max(found["trials"], key=lambda trial: trial["clips"][other])
        assert found["chosen_without_fold"][found["folds"].index([one])] == best["params"]


def test_the_file_that_is_written_is_a_preset_for_other_commands(data, clip, tiny_trk, tmp_path, capsys):
    tuned, boxes = tmp_path / "tuned.json", tmp_path / "boxes.json"
    assert tune(data, tiny_trk, "--out", tuned, "--preset", "steady", "--param", "scale_lr") == 0
    params = json.loads(tuned.read_text())["params"]
    assert params["window_influence"] == 0.4  # of the preset that was started from, which was not searched
    words = ["--bundle", str(tiny_trk), "--preset", str(tuned), "--threads", "1", "--quiet"]
    track = [str(clip.folder), "--init", clip.init, *words, "--boxes", str(boxes), "--set", "scale_penalty=0.9"]
    assert run(track_command, track) == 0
    assert json.loads(boxes.read_text())["params"] == pytest.approx({**params, "scale_penalty": 0.9})
    assert run(evaluate, [str(data), *words, "--out", str(tmp_path / "out")]) == 0
    assert tune(data, tiny_trk, "--preset", tuned, "--param", "scale_lr") == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "can't be read (No such file or directory)"),
        ("{", "is no preset"),
        ('{"params": {}}', "is no preset"),
        ('{"params": {"lr": "much"}}', "is no preset"),
        ('{"params": {"lr": NaN}}', "is no preset"),
        ("[1]", "is no preset"),
        ('{"params": {"nerve": 1}}', "no parameter 'nerve'"),
    ],
)
def test_a_file_that_is_no_preset_is_told(text, said, clip, tiny_trk, tmp_path, capsys):
    path = tmp_path / "preset.json"
    if text is not None:
        path.write_text(text)
    words = [str(clip.folder), "--init", clip.init, "--bundle", str(tiny_trk), "--preset", str(path)]
    assert run(track_command, words) == EXIT_ERROR
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1


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
    "more folds than clips": (["--folds", "3"], "2 clips can't be shared out over 3 folds: --folds 2 is the most"),
    "folds and a share": (["--folds", "2", "--hold-out", "0.5"], "exclude each other"),
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
