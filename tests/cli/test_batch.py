"""Many videos at once, in real processes."""

import csv
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from trk.bench.ope import overlap
from trk.cli.batch import _Processes, in_one_process, make_jobs, videos_of
from trk.cli.command import run
from trk.cli.run import command
from trk.errors import BoxError, UsageError

MAIN = "from trk.cli.run import main; main()"


@pytest.fixture
def videos(clip, tmp_path):
    folder = tmp_path / "clips"
    folder.mkdir()
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        shutil.copy(clip.video, folder / name)
    (folder / "notes.txt").write_text("not a video")
    return folder


@pytest.fixture(params=["--own-process", "--one-process"])
def processes(request):
    return request.param


@pytest.fixture
def trk_run(capsys, tiny_trk):
    def call(*args):
        code = run(command, [*map(str, args), "--bundle", str(tiny_trk), "--jobs", "2"])
        return code, capsys.readouterr().err.splitlines()

    return call


def boxes_of(path):
    with path.open(newline="") as stream:
        return np.array([[float(row[name]) for name in "xywh"] for row in csv.DictReader(stream)])


def seeds(path, clip, names, column="video"):
    lines = [f"{name},0," + ",".join(str(value) for value in clip.boxes[0]) for name in names]
    path.write_text(f"{column},frame,x,y,w,h\n" + "\n".join(lines) + "\n")
    return path


def test_every_video_is_tracked_from_its_own_box_and_only_once(trk_run, videos, clip, tmp_path, processes):
    init = seeds(tmp_path / "boxes.csv", clip, ["a.mp4", "b", str(videos / "c.mp4")])
    out = tmp_path / "results"
    arguments = (
        f"{videos}/*.mp4",
        "--init",
        init,
        "--boxes",
        f"{out}/{{name}}.csv",
        "--boxes",
        f"{out}/{{name}}.mot.txt",
        processes,
    )
    code, lines = trk_run(*arguments)
    assert code == 0, lines
    assert lines[-1] == "3 videos: 3 tracked, 0 finished before, 0 failed"
    assert sorted(path.name for path in out.iterdir()) == sorted(
        f"{name}.{suffix}" for name in "abc" for suffix in ("csv", "mot.txt")
    )
    for name in "abc":
        assert overlap(boxes_of(out / f"{name}.csv"), clip.boxes).min() > 0.7
    (out / "b.csv").unlink()
    before = (out / "a.csv").stat().st_mtime_ns
    code, lines = trk_run(*arguments)
    assert (code, lines[-1]) == (0, "3 videos: 1 tracked, 2 finished before, 0 failed")
    assert (out / "a.csv").stat().st_mtime_ns == before
    assert len(boxes_of(out / "b.csv")) == 20


def test_one_video_that_fails_stops_no_other_and_keeps_its_beginning(trk_run, videos, clip, tmp_path, processes):
    data = (videos / "b.mp4").read_bytes()
    (videos / "b.mp4").write_bytes(data[: len(data) * 7 // 10])
    (videos / "a.mp4").write_bytes(b"no video")
    out = tmp_path / "results"
    code, lines = trk_run(videos, "--init", clip.init, "--boxes", f"{out}/{{name}}.csv", processes)
    assert code == 2
    assert any("a.mp4" in line and "not a video" in line for line in lines)
    assert any("b.mp4" in line and "cut short" in line for line in lines)
    assert lines[-1] == "3 videos: 1 tracked, 0 finished before, 2 failed"
    assert sorted(path.name for path in out.iterdir()) == ["c.csv", "incomplete.b.csv"]
    assert 3 < len(boxes_of(out / "incomplete.b.csv")) < 20


def test_interrupted_the_finished_ones_stay_and_nothing_half_done_is_left(clip, videos, tiny_trk, tmp_path, processes):
    out = tmp_path / "results"
    slow = videos / "d.mkv"
    from trk.video.writer import open_video

    with open_video(slow, (320, 240), 25.0) as writer:
        for number in range(4000):
            writer.write(clip.frames[0], number / 25)
    words = [
        videos,
        "--init",
        clip.init,
        "--bundle",
        tiny_trk,
        processes,
        "--jobs",
        1,
        "--boxes",
        f"{out}/{{name}}.csv",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, "-c", MAIN, *map(str, words)], stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        while not (out / "c.csv").exists() and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert "goes on with the videos that are not finished" in told
    assert sorted(path.name for path in out.iterdir()) == ["a.csv", "b.csv", "c.csv"]


def test_process_that_would_begin_after_the_interruption_does_not():
    processes = _Processes()
    processes.interrupt()
    assert processes.run(["--version"]) == (130, "")


def test_what_is_no_set_of_videos(videos, clip):
    assert [path.name for path in videos_of(str(videos))] == ["a.mp4", "b.mp4", "c.mp4"]
    assert videos_of(str(clip.folder)) == videos_of(f"{clip.folder}/*.png") == []
    assert videos_of(str(videos / "a.mp4")) == videos_of("0") == videos_of("-") == []


def options(**changed):
    return {"out": None, "sheet": None, "boxes": ["{name}.csv"], **changed}


def test_outputs_and_boxes_that_do_not_fit(videos, clip, tmp_path):
    found = videos_of(str(videos))
    for changed, says in (
        ({"boxes": []}, "no output"),
        ({"boxes": ["all.csv"]}, "one file for 3 videos"),
        ({"out": "all.mp4"}, "one file for 3 videos"),
    ):
        with pytest.raises(UsageError, match=says):
            make_jobs(found, [clip.init], options(**changed))
    with pytest.raises(UsageError, match="one name"):
        make_jobs([*found, tmp_path / "a.mkv"], [clip.init], options())
    with pytest.raises(BoxError, match=r"no box for .*c\.mp4"):
        make_jobs(found, [str(seeds(tmp_path / "b.csv", clip, ["a.mp4", "b.mp4"]))], options())
    with pytest.raises(BoxError, match="can't be read as boxes"):
        make_jobs(found, ["nowhere.csv"], options())


def test_file_without_a_column_of_videos_is_for_all_of_them(videos, tmp_path):
    path = tmp_path / "b.csv"
    path.write_text("x,y,w,h\n1,2,3,4\n")
    assert [job.inits for job in make_jobs(videos_of(str(videos)), [str(path)], options())] == [[str(path)]] * 3


@pytest.mark.slow
def test_a_real_local_ray_tracks_them_too(trk_run, videos, clip, tmp_path, monkeypatch):
    pytest.importorskip("ray", reason="ray is not installed (trk-engine[ray])")
    monkeypatch.chdir(tmp_path)
    seeds(tmp_path / "boxes.csv", clip, ["a.mp4", "b.mp4", "c.mp4"])
    (videos / "b.mp4").write_bytes(b"no video at all")
    words = ("clips/*.mp4", "--init", "boxes.csv", "--boxes", "results/{name}.csv", "--ray", "local")
    code, told = trk_run(*words)
    assert code == 2
    assert any("b.mp4 is not a video" in line for line in told)
    assert told[-1] == "3 videos: 2 tracked, 0 finished before, 1 failed"
    for name in "ac":
        assert overlap(boxes_of(tmp_path / "results" / f"{name}.csv"), clip.boxes).min() > 0.7
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == ["a.csv", "c.csv"]
    shutil.copy(clip.video, videos / "b.mp4")
    code, told = trk_run(*words)
    assert (code, told[-1]) == (0, "3 videos: 1 tracked, 2 finished before, 0 failed")


def test_ray_is_for_many_videos_and_needs_its_extra(trk_run, videos, clip, tmp_path, monkeypatch):
    code, told = trk_run(clip.video, "--init", clip.init, "--ray", "local")
    assert (code, len(told)) == (2, 1)
    assert "--ray is for many videos" in told[0]
    monkeypatch.setitem(sys.modules, "ray", None)
    out = tmp_path / "results" / "{name}.csv"
    code, told = trk_run(f"{videos}/*.mp4", "--init", clip.init, "--boxes", out, "--ray", "local")
    assert (code, told) == (2, ["trk-run: --ray needs ray: pip install 'trk-engine[ray]'"])


def test_one_process_and_many_write_the_same(trk_run, videos, clip, tmp_path):
    told = {}
    (videos / "c.mp4").unlink()
    for processes in ("--own-process", "--one-process"):
        out = tmp_path / processes
        outputs = ["--boxes", out / "{name}.csv", "--boxes", out / "{name}.json", "--out", out / "{name}.mp4"]
        outputs += ["--sheet", out / "{name}.png", processes, "--start", 3, "--end", 8]
        told[processes] = trk_run(videos, "--init", clip.init, *outputs)
    assert [code for code, _ in told.values()] == [0, 0]
    names = [sorted(line.split(" · ")[0] for line in lines) for _, lines in told.values()]
    assert names[0] == names[1]
    assert f"{videos}/a.mp4: 6 frames" in names[0]
    own, one = (tmp_path / processes for processes in told)
    assert len(list(own.iterdir())) == 8
    for path in own.iterdir():
        ours, theirs = path.read_bytes(), (one / path.name).read_bytes()
        if path.suffix == ".mp4":  # drawn with the frames per second of the run
            assert abs(len(ours) - len(theirs)) < len(ours) / 10
        elif path.suffix != ".png":
            assert ours == theirs


def test_one_process_loads_one_network_and_has_no_more_videos_open_than_asked(
    trk_run, videos, clip, tmp_path, monkeypatch
):
    from trk.cli import beside

    loaded, real, most = [], beside.open_tracker, []
    monkeypatch.setattr(beside, "open_tracker", lambda *asked, **more: loaded.append(1) or real(*asked, **more))
    step = beside.Videos.step
    monkeypatch.setattr(beside.Videos, "step", lambda videos: most.append(len(videos.names)) or step(videos))
    code, lines = trk_run(videos, "--init", clip.init, "--boxes", tmp_path / "{name}.csv", "--one-process")
    assert (code, len(loaded), max(most)) == (0, 1, 2)
    assert lines[-1] == "3 videos: 3 tracked, 0 finished before, 0 failed"


def test_output_that_can_not_be_written_ends_its_video_only(trk_run, videos, clip, tmp_path, monkeypatch):
    from trk.cli.outputs import Outputs

    real = Outputs.add

    def failing(outputs, one):
        if "b.csv" in str(outputs.paths[0]) and one.frame.index == 4:
            raise OSError(28, "No space left on device", "b.csv")
        return real(outputs, one)

    monkeypatch.setattr(Outputs, "add", failing)
    out = tmp_path / "results"
    code, lines = trk_run(videos, "--init", clip.init, "--boxes", out / "{name}.csv", "--one-process")
    assert code == 2
    assert f"{videos}/b.mp4: b.csv: No space left on device" in lines
    assert sorted(path.name for path in out.iterdir()) == ["a.csv", "c.csv", "incomplete.b.csv"]
    assert len(boxes_of(out / "incomplete.b.csv")) == 4


def test_nothing_to_track_with_is_one_line(videos, clip, tmp_path, capsys):
    words = [videos, "--init", clip.init, "--boxes", tmp_path / "{name}.csv", "--bundle", tmp_path / "none.trk"]
    assert run(command, [*map(str, words), "--one-process"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("trk-run: ")
    assert "none.trk" in line


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, False),
        ({"device": "cuda"}, True),
        ({"backend": "tensorrt"}, True),
        ({"device": "cuda", "one_process": False}, False),
        ({"one_process": True}, True),
    ],
)
def test_one_process_is_for_a_gpu_unless_asked(options, expected):
    asked = {"device": None, "backend": "auto", "one_process": None, "ray": None, **options}
    assert in_one_process(asked) is expected
    if options.get("one_process"):
        with pytest.raises(UsageError, match="leave --one-process out"):
            in_one_process({**asked, "ray": "local"})


def test_why_is_for_one_video(trk_run, videos, clip, tmp_path):
    code, told = trk_run(videos, "--init", clip.init, "--boxes", tmp_path / "{name}.csv", "--why", tmp_path / "why")
    assert (code, told) == (2, ["trk-run: --why looks at one video: name it"])
