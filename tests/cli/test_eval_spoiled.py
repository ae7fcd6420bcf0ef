"""Bad input of an evaluation: told clearly, nothing lost, nothing counted twice."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from data_sets import boxes, images, lines, numbered

from trk.cli.command import EXIT_ERROR, run
from trk.cli.eval import command

PROGRAM = "import sys; from trk.cli.eval import main; sys.argv[0] = 'trk-eval'; main()"


@pytest.fixture
def data(clip, tmp_path):
    """Three sequences of the moving square."""
    for name in ("one", "two", "three"):
        place = tmp_path / "set" / name
        place.mkdir(parents=True)
        for image in sorted(clip.folder.iterdir()):
            shutil.copy(image, place)
        np.savetxt(place / "groundtruth.txt", clip.boxes, "%g", ",")
    return tmp_path / "set"


def evaluate(data: Path, out: Path, *words: object) -> int:
    return run(command, [str(data), "--out", str(out), *map(str, words)])


def counted(out: Path, label: str = "stay") -> list[str]:
    report = json.loads((out / "report.json").read_text())
    (found,) = [one for one in report["trackers"] if one["tracker"] == label]
    return [one["name"] for one in found["sequences"]]


def rewrite(truth: Path, change) -> None:
    table = np.loadtxt(truth, delimiter=",")
    change(table)
    np.savetxt(truth, table, "%g", ",")


def test_two_runs_on_one_results_folder_both_end_well_and_count_each_sequence_once(data, tiny_trk, tmp_path):
    out = tmp_path / "out"
    words = [str(data), "--out", str(out), "--bundle", str(tiny_trk), "--tracker", "stay", "--quiet"]
    both = [
        subprocess.Popen([sys.executable, "-c", PROGRAM, *words], stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    for process in both:
        _, told = process.communicate(timeout=300)
        assert process.returncode == 0, told
    assert len(list((out / "runs").glob("*.json"))) == 6
    assert not list(out.rglob(".*.part"))
    for label in ("bundle", "stay"):
        assert sorted(counted(out, label)) == ["one", "three", "two"]


@pytest.mark.parametrize("spoiled", ["", "{", '{"boxes": []}', "[1, 2]", '{"boxes": 3, "scores": 0, "times": 0}'])
def test_a_kept_run_that_was_cut_short_is_made_again(spoiled, data, tmp_path):
    out = tmp_path / "out"
    assert evaluate(data, out, "--tracker", "stay", "--quiet") == 0
    before = (out / "report.json").read_text()
    for run_file in (out / "runs").iterdir():
        run_file.write_text(spoiled)
    assert evaluate(data, out, "--tracker", "stay", "--quiet") == 0
    again = json.loads((out / "report.json").read_text())
    assert [one["figures"] for one in again["trackers"]] == [one["figures"] for one in json.loads(before)["trackers"]]
    assert len(list((out / "runs").iterdir())) == 3


@pytest.mark.parametrize("absent", [np.nan, 0.0])
def test_frames_without_the_target_do_not_count_as_nan_or_as_zeros(absent, data, tmp_path):
    assert evaluate(data, tmp_path / "whole", "--tracker", "stay", "--quiet", "--only", "one") == 0

    def hide(table):
        table[15:] = absent  # the frames in which staying is worst

    rewrite(data / "one" / "groundtruth.txt", hide)
    assert evaluate(data, tmp_path / "part", "--tracker", "stay", "--quiet", "--only", "one") == 0
    aucs = []
    for name in ("whole", "part"):
        report = json.loads((tmp_path / name / "report.json").read_text())
        aucs.append(report["trackers"][0]["figures"]["auc"]["mean"])
    assert aucs[1] > aucs[0]


@pytest.mark.parametrize("first", [np.nan, 0.0])
def test_a_sequence_without_a_first_box_is_left_out_and_told(first, data, tmp_path, capsys):
    def hide(table):
        table[0] = first

    rewrite(data / "two" / "groundtruth.txt", hide)
    assert evaluate(data, tmp_path / "out", "--tracker", "stay") == EXIT_ERROR
    assert "left out two: " in capsys.readouterr().err
    assert sorted(counted(tmp_path / "out")) == ["one", "three"]


def test_lines_too_many_images_that_are_gone_and_sizes_that_change_are_each_told(data, tmp_path, capsys):
    with (data / "one" / "groundtruth.txt").open("a") as truth:
        truth.write("1,2,3,4\n")
    (data / "two" / "007.png").unlink()
    cv2.imwrite(str(data / "three" / "005.png"), np.zeros((20, 30, 3), np.uint8))
    images(data / "good", numbered(4))
    lines(data / "good" / "groundtruth.txt", boxes(4))
    assert evaluate(data, tmp_path / "out", "--tracker", "stay") == EXIT_ERROR
    told = capsys.readouterr().err
    assert "left out one: one: 20 images and 21 lines" in told
    assert "left out two: two: 19 images and 20 lines" in told
    assert "stay failed on three: " in told
    assert "30x20" in told
    assert counted(tmp_path / "out") == ["good"]


def test_a_peer_that_dies_half_way_costs_its_own_sequence_only(data, tmp_path, capsys):
    pytest.importorskip("trax", reason="vot-trax is not installed (trk-engine[trax])")
    peer = tmp_path / "peer.py"
    # It is started anew for each sequence: a file tells which it is in.
    peer.write_text(
        "import os, sys, trax\n"
        f"with open({str(tmp_path / 'starts')!r}, 'a+') as starts:\n"
        "    starts.write('x'); starts.seek(0); start = len(starts.read())\n"
        "frames = 0\n"
        "with trax.Server([trax.Region.RECTANGLE], [trax.Image.MEMORY]) as server:\n"
        "    while True:\n"
        "        request = server.wait()\n"
        "        if request.type in ('quit', 'error'): break\n"
        "        if request.type == 'initialize': region = request.objects[0][0]\n"
        "        frames += 1\n"
        "        if start == 2 and frames == 4: os._exit(3)\n"
        "        server.status([(region, {})])\n"
    )
    words = ("--tracker", f"command:{sys.executable} {peer}", "--tracker", "stay")
    assert evaluate(data, tmp_path / "out", *words) == EXIT_ERROR
    told = capsys.readouterr().err
    assert "failed on three" in told  # its second sequence, in order of names
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    found = {one["tracker"]: [each["name"] for each in one["sequences"]] for one in report["trackers"]}
    assert sorted(found.pop("stay")) == ["one", "three", "two"]
    assert sorted(*found.values()) == ["one", "two"]
