import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from nano import nano_bundle

from trk.bench.stages import TRACKING
from trk.cli.bench import command
from trk.cli.command import EXIT_ERROR, EXIT_INTERRUPTED, run
from trk.weights.shipped import default_bundle

QUICK = ("--frames", "6", "--warmup", "3", "--rounds", "2")


@pytest.fixture(scope="module")
def nano(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return nano_bundle(tmp_path_factory)


def test_a_bundle_is_measured_per_thread_count(clip, tiny_trk, tmp_path, capsys):
    out = tmp_path / "speed.json"
    words = [str(clip.video), "--init", clip.init, "--bundle", str(tiny_trk), "--threads", "1", "--threads", "2"]
    assert run(command, [*words, *QUICK, "--json", str(out)]) == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "bundle.trk" in printed.err
    assert "320x240, 6 frames, 2 rounds" in printed.err
    found = json.loads(out.read_text())
    assert [(entry["how"], entry["threads"]) for entry in found["entries"]] == [("onnxruntime", 1), ("onnxruntime", 2)]
    for entry in found["entries"]:
        assert entry["frames"] == 10  # five of six frames in each of two rounds: the first of a block is not counted
        assert entry["fps"] == pytest.approx(1e3 / entry["total"]["median_ms"], rel=1e-3)
        for part in ("total", "cpu", *TRACKING):
            assert entry[part]["q1_ms"] <= entry[part]["median_ms"] <= entry[part]["q3_ms"] <= entry[part]["p99_ms"]
        assert entry["about"]["model"] == "tiny"
        assert len(entry["about"]["sha256"]) == 64
        assert len(entry["round_median_ms"]) == 2
    assert found["clip"] == {"name": "clip.mp4", "frames": 6, "size": [320, 240], "init": list(clip.boxes[0])}
    assert found["ratios"] == []
    assert found["machine"]["cpu"]
    assert found["versions"]["onnxruntime"]
    assert f"--bundle {tiny_trk} --threads 1 --threads 2 --frames 6 --warmup 3 --rounds 2" in found["command"]


def test_json_on_stdout_is_nothing_but_json(clip, tiny_trk, capsys):
    words = [str(clip.folder), "--init", clip.init, "--bundle", str(tiny_trk), *QUICK, "--json", "-"]
    assert run(command, words) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["clip"]["name"] == "frames"
    assert "onnxruntime" in printed.err


def test_quiet_prints_no_table(clip, tiny_trk, capsys):
    words = [str(clip.video), "--init", clip.init, "--bundle", str(tiny_trk), *QUICK, "--quiet"]
    assert run(command, words) == 0
    assert capsys.readouterr() == ("", "")


def test_a_bundle_is_compared_with_its_upstream(clip, nano, capsys):
    words = [str(clip.video), "--init", clip.init, "--bundle", str(nano), *QUICK, "--json", "-"]
    assert run(command, [*words, "--against", "upstream-style", "--against", "upstream-no-grad"]) == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert [entry["how"] for entry in found["entries"]] == ["onnxruntime", "upstream-style", "upstream-no-grad"]
    assert [ratio["slow"] for ratio in found["ratios"]] == ["upstream-style", "upstream-no-grad"]
    for ratio in found["ratios"]:
        for part in ("total", "search", "crop_and_host", "cpu"):
            assert len(ratio[part]["rounds"]) == 2
            assert 0 < ratio[part]["min"] <= ratio[part]["median"] <= ratio[part]["max"]
        assert ratio["boxes"]["largest_difference_px"] <= 0.05
        assert ratio["boxes"]["frames_compared"] >= 3
    assert "nano.trk, 1 thread: onnxruntime is" in printed.err
    assert "random weights: they show speed and track nothing" in printed.err


def test_bundles_of_one_name_are_told_apart_by_their_paths(clip, tiny_trk, tmp_path, capsys):
    other = tmp_path / tiny_trk.name
    other.write_bytes(tiny_trk.read_bytes())
    words = [str(clip.video), "--init", clip.init, "--bundle", str(tiny_trk), "--bundle", str(other), *QUICK]
    assert run(command, [*words, "--json", "-", "--quiet"]) == 0
    names = [entry["bundle"] for entry in json.loads(capsys.readouterr().out)["entries"]]
    assert names == [str(tiny_trk), str(other)]


def test_the_sample_and_the_default_bundle_are_measured_where_none_is_named(capsys):
    assert run(command, ["--frames", "3", "--warmup", "1", "--rounds", "1", "--json", "-", "--quiet"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["clip"]["name"], found["clip"]["size"]) == ("sample bunny", [1280, 720])
    assert [entry["bundle"] for entry in found["entries"]] == [default_bundle().name]


def test_pytorch_stays_out_unless_it_is_compared_with(clip, tiny_trk):
    words = [str(clip.video), "--init", clip.init, "--bundle", str(tiny_trk), *QUICK, "--quiet"]
    program = (
        "import sys; from trk.cli.bench import command; from trk.cli.command import run; "
        f"code = run(command, {words!r}); sys.exit(code or 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=clip.folder, check=False).returncode == 0


BAD: dict[str, tuple[Callable[[Any], list[str]], str]] = {
    "no init": (lambda at: [str(at.video)], "no target: give its box in the first frame as --init"),
    "init alone": (lambda at: ["--init", "1,2,3,4"], "the sample brings its own box"),
    "start alone": (lambda at: ["--start", "3"], "--start goes with a VIDEO"),
    "malformed init": (lambda at: [str(at.video), "--init", "1,2,x"], "is not x,y,w,h"),
    "init outside": (lambda at: [str(at.video), "--init", "900,2,10,10"], "is outside the frame 320x240"),
    "init without area": (lambda at: [str(at.video), "--init", "9,2,0,10"], "has no area"),
    "missing video": (lambda at: ["none.mp4", "--init", at.init], "none.mp4"),
    "late start": (lambda at: [str(at.video), "--init", at.init, "--start", "19"], "3 are the least"),
    "no threads": (lambda at: [str(at.video), "--init", at.init, "--threads", "0"], "threads"),
    "no rounds": (lambda at: [str(at.video), "--init", at.init, "--rounds", "0"], "rounds"),
    "unknown baseline": (lambda at: [str(at.video), "--init", at.init, "--against", "caffe"], "upstream-style"),
    "no upstream": (lambda at: [str(at.video), "--init", at.init, "--against", "upstream-style"], "tiny"),
    "missing bundle": (lambda at: [str(at.video), "--init", at.init, "--bundle", "none.trk"], "no bundle at none.trk"),
    "not a bundle": (lambda at: [str(at.video), "--init", at.init, "--bundle", str(at.video)], "is not a bundle"),
    "json into nowhere": (lambda at: [str(at.video), "--init", at.init, "--json", "no/where.json"], "no folder no"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_exit_code_2(case, clip, tiny_trk, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words, expected = BAD[case]
    given = words(clip)
    bundle = [] if "--bundle" in given else ["--bundle", str(tiny_trk)]
    assert run(command, [*given, *bundle, *([] if "--rounds" in given else QUICK)]) == EXIT_ERROR
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("trk-bench: ")
    assert printed.err.count("\n") == 1
    assert expected in printed.err


def test_ctrl_c_leaves_nothing_half_written(clip, tiny_trk, tmp_path, monkeypatch, capsys):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("trk.cli.bench.measure", interrupted)
    words = [str(clip.video), "--init", clip.init, "--bundle", str(tiny_trk), *QUICK]
    assert run(command, [*words, "--json", str(tmp_path / "speed.json")]) == EXIT_INTERRUPTED
    assert list(tmp_path.iterdir()) == []


def test_against_without_torch_says_what_to_install(clip, tiny_trk, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "trk.bench.upstream_style", None)
    words = [str(clip.video), "--init", clip.init, "--bundle", str(tiny_trk), "--against", "upstream-style"]
    assert run(command, words) == EXIT_ERROR
    assert "pip install 'trk-engine[export]'" in capsys.readouterr().err
