import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from data_sets import boxes, images, lines, numbered

from trk.cli.command import EXIT_ERROR, EXIT_INTERRUPTED, run
from trk.cli.eval import command


@pytest.fixture
def data(clip, tmp_path):
    """Two sequences of the moving square: forwards, and backwards with an attribute."""
    for name, step in (("there", 1), ("back", -1)):
        place = tmp_path / "set" / name
        place.mkdir(parents=True)
        for number, image in enumerate(sorted(clip.folder.iterdir())[::step]):
            shutil.copy(image, place / f"{number:03d}.png")
        np.savetxt(place / "groundtruth.txt", clip.boxes[::step], "%g", ",")
    (tmp_path / "set" / "back" / "meta.json").write_text('{"attributes": ["backwards"]}')
    return tmp_path / "set"


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def evaluate(data, out, *words):
    return run(command, [str(data), "--out", str(out), *map(str, words)])


def figures(out, label):
    report = json.loads((out / "report.json").read_text())
    return next(one for one in report["trackers"] if one["tracker"] == label)


def test_bundles_and_peers_are_compared_in_a_table(data, out, tiny_trk, capsys):
    assert evaluate(data, out, "--bundle", tiny_trk, "--tracker", "stay", "--sequences") == 0
    printed = capsys.readouterr()
    rows = [line.split() for line in printed.out.splitlines()]
    assert rows[0][:3] == ["tracker", "AUC", "P@20"]
    assert [row[0] for row in rows[1:3]] == ["bundle", "stay"]
    assert rows[3][:3] == ["against", "bundle", "AUC"]
    assert rows[4][0] == "stay"
    assert rows[4][1].startswith("-")
    assert {"there", "back"} <= {row[0] for row in rows}
    assert "95 % interval" in printed.err
    assert "Fewer than 10 sequences" in printed.err
    tracked, stayed = figures(out, "bundle"), figures(out, "stay")
    assert tracked["figures"]["auc"]["mean"] > 0.7 > 0.4 > stayed["figures"]["auc"]["mean"]
    for figure in tracked["figures"].values():
        assert figure["interval_95"][0] <= figure["mean"] <= figure["interval_95"][1]
    behind = stayed["against_first"]["auc"]
    assert behind["mean"] == pytest.approx(stayed["figures"]["auc"]["mean"] - tracked["figures"]["auc"]["mean"])
    assert behind["interval_95"][0] <= behind["mean"] <= behind["interval_95"][1] < 0
    assert "against_first" not in tracked
    assert tracked["fps"] > 0
    assert [one["name"] for one in tracked["sequences"]] == ["back", "there"]
    assert (out / "results" / "folder" / "bundle" / "there.txt").read_text().count("\n") == 20


def test_the_default_bundle_is_evaluated_where_none_is_named(data, out, monkeypatch, tiny_trk, capsys):
    monkeypatch.setattr("trk.cli.eval.default_bundle", lambda: tiny_trk)
    assert evaluate(data, out, "--only", "there", "--json", "--quiet") == 0
    report = json.loads(capsys.readouterr().out)
    assert [one["tracker"] for one in report["trackers"]] == ["bundle"]
    assert report["convention"]["name"] == "ope"


def test_runs_that_are_done_are_not_made_again(data, out, tiny_trk, monkeypatch):
    words = ("--bundle", tiny_trk, "--quiet")
    assert evaluate(data, out, *words) == 0
    before = figures(out, "bundle")
    from trk.bench import evaluate as module

    made = []
    kept = module.work
    monkeypatch.setattr(module, "work", lambda *job: made.append(job[1].name) or kept(*job))
    assert evaluate(data, out, *words) == 0
    assert made == []
    assert figures(out, "bundle") == before
    assert evaluate(data, out, *words, "--set", "window_influence=0.35") == 0
    assert made == ["back", "there"]
    os.utime(data / "there" / "003.png", (1, 1))
    assert evaluate(data, out, *words) == 0
    assert made == ["back", "there", "there"]
    for path in (out / "runs").iterdir():
        path.write_text("{")  # an unreadable run is made again
    assert evaluate(data, out, *words) == 0
    assert made[3:] == ["back", "there"]


def test_another_ground_truth_is_counted_with_the_same_runs(data, out, tiny_trk, clip, monkeypatch):
    assert evaluate(data, out, "--bundle", tiny_trk, "--quiet") == 0
    before = figures(out, "bundle")["figures"]["auc"]["mean"]
    truth = clip.boxes.copy()
    truth[1:, :2] += 40
    np.savetxt(data / "there" / "groundtruth.txt", truth, "%g", ",")
    monkeypatch.setattr("trk.bench.evaluate.work", lambda *_: pytest.fail("ran again"))
    assert evaluate(data, out, "--bundle", tiny_trk, "--quiet") == 0
    assert figures(out, "bundle")["figures"]["auc"]["mean"] < before - 0.1


def test_an_interrupted_evaluation_goes_on_where_it_was(data, out, monkeypatch, capsys):
    from trk.bench import evaluate as module

    kept, made = module.work, []

    def interrupted(*job):
        if made:
            raise KeyboardInterrupt
        made.append(job[1].name)
        return kept(*job)

    monkeypatch.setattr(module, "work", interrupted)
    assert evaluate(data, out, "--tracker", "stay") == EXIT_INTERRUPTED
    assert "interrupted; 1 of 2 runs are in" in capsys.readouterr().err
    assert len(list((out / "runs").iterdir())) == 1
    monkeypatch.setattr(module, "work", lambda *job: made.append(job[1].name) or kept(*job))
    assert evaluate(data, out, "--tracker", "stay", "--quiet") == 0
    assert made == ["back", "there"]


def test_processes_find_what_one_finds(data, out, tmp_path, tiny_trk):
    assert evaluate(data, out, "--bundle", tiny_trk, "--quiet") == 0
    assert evaluate(data, tmp_path / "two", "--bundle", tiny_trk, "--quiet", "--jobs", "2") == 0
    assert figures(tmp_path / "two", "bundle")["figures"] == figures(out, "bundle")["figures"]


def test_several_runs_of_each_sequence_are_averaged(data, out, tiny_trk, capsys):
    assert evaluate(data, out, "--bundle", tiny_trk, "--runs", "3") == 0
    assert "Each sequence 3 times" in capsys.readouterr().err
    found = figures(out, "bundle")
    each = {one["name"]: one["figures"]["auc"] for one in found["sequences"]}
    assert set(each) == {"back", "back~2", "back~3", "there", "there~2", "there~3"}
    assert each["back"] == each["there~2"]  # one is the other backwards
    assert found["figures"]["auc"]["mean"] == pytest.approx(np.mean(list(each.values())))
    assert found["sequences_counted"] == 2
    assert (out / "results" / "folder" / "bundle-runs3" / "there~3.txt").read_text().count("\n") == 20
    assert (
        evaluate(data, out, "--tracker", f"results:{out / 'results' / 'folder' / 'bundle-runs3'}", "--runs", "2") == 2
    )
    assert "one run each" in capsys.readouterr().err


def test_results_of_others_are_counted(data, out, tmp_path, clip, capsys):
    place = tmp_path / "theirs"
    lines(place / "there.txt", clip.boxes.tolist())
    assert evaluate(data, out, "--tracker", f"results:{place}") == EXIT_ERROR
    printed = capsys.readouterr()
    assert "theirs failed on back: no results of back" in printed.err
    assert "1 (1 failed)" in printed.out
    assert "fewer sequences" in printed.err
    assert figures(out, "theirs")["figures"]["ao"]["mean"] == pytest.approx(1)
    assert figures(out, "theirs")["fps"] is None


def test_opencvs_tracker_runs_on_the_same_frames(data, out, capsys):
    assert evaluate(data, out, "--tracker", "opencv:mil", "--only", "there", "--quiet") == 0
    found = figures(out, "opencv-mil")
    assert found["fps"] > 0
    assert 0 < found["figures"]["ao"]["mean"] < 1  # MIL is random: how well it does is not ours to say
    assert (out / "results" / "folder" / "opencv-mil" / "there.txt").read_text().count("\n") == 20


def test_spoiled_sequences_are_left_out_and_told(data, out, capsys):
    (data / "back" / "004.png").write_bytes(b"")
    images(data / "short", numbered(3))
    lines(data / "short" / "groundtruth.txt", boxes(2))
    assert evaluate(data, out, "--tracker", "stay") == EXIT_ERROR
    printed = capsys.readouterr()
    assert "left out short: short: 3 images and 2 lines" in printed.err
    assert re.search(r"stay failed on back: .*004.png is empty", printed.err)
    assert figures(out, "stay")["sequences_counted"] == 1


def test_real_time_of_a_fast_tracker_is_its_accuracy(data, out):
    assert evaluate(data, out, "--tracker", "stay", "--quiet") == 0
    before = figures(out, "stay")["figures"]
    assert evaluate(data, out, "--tracker", "stay", "--quiet", "--realtime", "1") == 0
    assert figures(out, "stay")["figures"] == before
    assert json.loads((out / "report.json").read_text())["realtime_fps"] == 1
    assert len(list((out / "runs").iterdir())) == 4
    assert (out / "results" / "folder" / "stay-realtime1" / "there.txt").is_file()


def test_real_time_of_a_tracker_that_never_answers_in_time_is_the_first_box(data, out, tiny_trk):
    assert evaluate(data, out, "--bundle", tiny_trk, "--tracker", "stay", "--realtime", "1e6", "--quiet") == 0
    assert figures(out, "bundle")["figures"]["auc"] == figures(out, "stay")["figures"]["auc"]


def test_plots_and_a_page_of_one_file(data, out, tiny_trk):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (trk-engine[eval])")
    words = ("--bundle", tiny_trk, "--tracker", "stay", "--plots", "--html", "--quiet")
    assert evaluate(data, out, *words) == 0
    names = {path.stem for path in out.glob("*.png")}
    assert names == {"success", "precision", "norm_precision", "attributes", "confidence"}
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in out.glob("*.png"))
    page = (out / "report.html").read_text()
    assert not re.search(r"(src|href)=['\"](?!data:)", page)
    behind = figures(out, "stay")["against_first"]["auc"]["mean"]
    assert re.search(rf"against bundle</th>.*stay</td><td>{100 * behind:+.1f} <small>", page, re.S)
    # Of the tracker that stays, the worst sequence comes first; each is shown with frames.
    shown = re.findall(r"<h3>(\w+) <small>AUC ([\d.]+)", page)
    assert len(shown) == 4
    assert [float(auc) for _, auc in shown[:2]] == sorted(float(auc) for _, auc in shown[:2])
    assert page.count("<figcaption>") >= 4 * 3


def test_withheld_ground_truth_gives_result_files_and_no_figures(out, tmp_path, capsys):
    root = tmp_path / "got" / "test"
    for name in ("GOT_1", "GOT_2"):
        images(root / name, numbered(3, 8))
        lines(root / name / "groundtruth.txt", boxes(1))
    lines(root / "list.txt", ["GOT_1", "GOT_2"])
    assert evaluate(tmp_path / "got", out, "--tracker", "stay") == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:3] == ["stay", "-", "-"]
    assert (out / "results" / "got10k" / "stay.zip").is_file()
    assert evaluate(tmp_path / "got", out, "--tracker", "stay", "--only", "GOT_1", "--quiet") == 0
    assert not (out / "results" / "got10k" / "stay.zip").exists()  # half a submission is none


BAD = {
    "no folder": (["none"], "no folder none"),
    "no sequences": (["empty"], "no sequence in empty: looked for"),
    "other layout": (["set", "--layout", "nfs"], "no sequence in set: looked for nfs"),
    "unknown layout": (["set", "--layout", "otb99"], "otb99"),
    "unknown convention": (["set", "--convention", "vot"], "vot"),
    "no subsets here": (["set", "--subset", "val"], "(subset val)"),
    "nothing left": (["set", "--only", "x*"], "--only x* matches none of 2 sequences: back, there"),
    "missing bundle": (["set", "--bundle", "none.trk"], "no bundle at none.trk"),
    "unknown parameter": (["set", "--set", "zoom=2"], "zoom"),
    "unknown tracker": (["set", "--tracker", "kcf"], "no tracker 'kcf': there are opencv:mil"),
    "unknown of opencv": (["set", "--tracker", "opencv:tld"], "OpenCV has no tracker 'tld' here"),
    "opencv without files": (["set", "--tracker", "opencv:vit"], "opencv:vit needs 1 files"),
    "opencv of no file": (["set", "--tracker", "opencv:vit:none.onnx"], "no file none.onnx"),
    "real time in parallel": (["set", "--realtime", "30", "--jobs", "2"], "leave --jobs at 1 and --ray out"),
    "no rate": (["set", "--realtime", "0"], "realtime"),
    "out is a file": (["set", "--out", "set/there/groundtruth.txt"], "out"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_exit_code_2(case, data, tiny_trk, monkeypatch, capsys):
    monkeypatch.chdir(data.parent)
    Path("empty").mkdir()
    words, expected = BAD[case]
    bundle = [] if {"--bundle", "--tracker"} & set(words) else ["--bundle", str(tiny_trk)]
    assert run(command, [*words, *bundle]) == EXIT_ERROR
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("trk-eval: ")
    assert printed.err.count("\n") == 1
    assert expected in printed.err


def test_what_opencv_lacks_is_told_with_what_to_install(data, out, monkeypatch, capsys):
    monkeypatch.delattr("cv2.TrackerKCF_create", raising=False)
    assert evaluate(data, out, "--tracker", "opencv:kcf") == EXIT_ERROR
    assert "pip install opencv-contrib-python-headless" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore")
def test_a_tracker_that_takes_its_process_with_it_is_told(data, out, tmp_path, capsys):
    """A crash in a native library: the process is gone, the other tracker's runs are not."""
    from trk.bench.datasets.layouts import open_dataset
    from trk.bench.evaluate import Protocol, evaluate, plan
    from trk.bench.peers import Spec
    from trk.bench.store import Store

    sequences = [one.read() for one in open_dataset(data).found]
    specs = [Spec("stay", "stay"), Spec("dies", "stay", options={"threads": Abort()})]
    jobs = plan(specs, sequences, Protocol())
    done = list(evaluate(jobs, Store(out), Protocol(), 2))
    assert sorted(one.job.sequence.name for one in done if one.run is not None) == ["back", "there"]
    failed = [one for one in done if one.run is None]
    assert {one.job.spec.label for one in failed} == {"dies"}
    assert len(failed) == 2
    assert all("crashed on" in one.error for one in failed)


class Abort:
    """Ends the process in which it is looked at."""

    def __bool__(self):
        os.abort()


def test_published_figures_are_printed_beside_ours(data, out, tiny_trk, capsys):
    assert evaluate(data, out, "--bundle", tiny_trk, "--reproduce", "nanotrack:v3") == 0
    printed = capsys.readouterr()
    assert re.search(r"nanotrack:v3 +GOT-10k val AO +0\.719 .* no --bundle of it", printed.out)
    assert "Ours on" in printed.err
    assert evaluate(data, out, "--bundle", tiny_trk, "--reproduce", "nothing") == EXIT_ERROR
    assert "nothing" in capsys.readouterr().err
