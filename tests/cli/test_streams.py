"""trk-run on cameras of the network that stall, die, come back and change: told in a line, and nothing lost."""

import csv
import signal
import subprocess
import sys
import time
from functools import partial

import av
import numpy as np
import pytest
from streams import http_camera, rtsp_camera

from trk.cli.command import run
from trk.cli.run import command
from trk.video import live

MAIN = "from trk.cli.run import main; main()"


@pytest.fixture(params=[http_camera, rtsp_camera], ids=["http", "rtsp"])
def camera(request, clip):
    with request.param([*clip.frames, *clip.frames[::-1]] * 20) as camera:
        camera.interval = 0.03
        yield camera


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(live, "BACK_OFF", (0.05,))
    monkeypatch.setattr(live, "STALL_SECONDS", 1.0)
    monkeypatch.setattr(live, "open_url", partial(live.open_url, patience=2.0))


def rows_of(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def frames_in(path):
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def track(camera, clip, tiny_trk, tmp_path, capsys):
    """Exit code, what was told, and the rows of the boxes; the video has as many frames."""
    table, video = tmp_path / "b.csv", tmp_path / "o.mp4"
    words = [camera.url, "--init", clip.init, "--bundle", tiny_trk, "--threads", 1, "--boxes", table, "--out", video]
    code = run(command, [str(word) for word in words])
    rows = rows_of(table)
    assert [int(row["frame"]) for row in rows] == list(range(len(rows)))
    times = [float(row["time"]) for row in rows]
    assert times == sorted(times)
    assert 0 <= frames_in(video) - len(rows) <= 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.csv", "o.mp4"]
    return code, capsys.readouterr().err, rows


@pytest.mark.parametrize("then", ["end", "stall"])
def test_a_stream_that_comes_back_and_then_dies(camera, clip, tiny_trk, tmp_path, capsys, caplog, then):
    camera.plans = [(25, then), (0, "refuse"), (25, "end"), (0, "refuse")]
    code, told, rows = track(camera, clip, tiny_trk, tmp_path, capsys)
    assert code == 2
    last = told.splitlines()[-1]
    assert "gave no frame for 2 s" in last
    assert "secret" not in told + caplog.text
    assert sum("is back" in record.getMessage() for record in caplog.records) == 1
    assert len(rows) > 4  # of 50 that were sent: on a busy machine only the newest


def test_a_stream_that_changes_its_size(clip, tiny_trk, tmp_path, capsys):
    larger = np.zeros((480, 640, 3), np.uint8)
    with http_camera([*clip.frames, larger]) as camera:
        camera.interval = 0.03
        code, told, rows = track(camera, clip, tiny_trk, tmp_path, capsys)
    assert code == 2
    assert "from 320x240 to 640x480" in told.splitlines()[-1]
    assert rows


def test_ctrl_c_while_a_stream_stalls(clip, tiny_trk, tmp_path):
    table = tmp_path / "b.csv"
    with http_camera([*clip.frames]) as camera:
        camera.plans = [(20, "stall")]
        words = [camera.url, "--init", clip.init, "--bundle", tiny_trk, "--threads", 1, "--boxes", table, "--quiet"]
        process = subprocess.Popen([sys.executable, "-c", MAIN, *map(str, words)], stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 60
        while not (parts := list(tmp_path.glob(".b.csv.*"))) or parts[0].read_bytes().count(b"\n") < 3:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        while camera.sent < 20:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=30)
    assert process.returncode == 130, told
    assert len(rows_of(table)) >= 2
