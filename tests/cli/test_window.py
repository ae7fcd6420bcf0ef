"""The window in which targets are drawn, on a screen of its own (Xvfb), with mouse and keys as X delivers them."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from trk.bench.ope import overlap
from trk.cli.window import NO_TARGET

MAIN = "from trk.cli.run import main; main()"
SCREEN_WH = (1280, 900)
SCALE = 2
"""The clip of 320x240 is shown so much larger."""


def environment(display: str | None) -> dict[str, str]:
    return {
        **{key: value for key, value in os.environ.items() if key != "DISPLAY"},
        **({"DISPLAY": display} if display else {}),
    }


def told_without_a_window(video: Path, bundle: Path, display: str | None, program: str = MAIN) -> str:
    words = [sys.executable, "-c", program, str(video), "--bundle", str(bundle)]
    done = subprocess.run(words, env=environment(display), capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    return done.stderr


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="there is always a display")
def test_without_a_display_the_page_is_named(clip, tiny_trk):
    assert told_without_a_window(clip.video, tiny_trk, None) == f"trk-run: {NO_TARGET}\n"


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="there is always a display")
def test_a_display_that_is_not_there_and_a_python_without_tk_are_told(clip, tiny_trk):
    program = f"import sys; sys.modules['tkinter'] = None; {MAIN}"
    assert "apt install python3-tk" in told_without_a_window(clip.video, tiny_trk, ":4711", program)
    pytest.importorskip("tkinter", reason="this Python has no tkinter")
    said = told_without_a_window(clip.video, tiny_trk, ":4711")
    assert "--web (no window can be opened: couldn't connect to display" in said


class Screen:
    """A display without a screen, and hands on its mouse and keyboard."""

    def __init__(self, display: str) -> None:
        self.display = display

    def act(self, *words: object) -> str:
        done = subprocess.run(
            ["xdotool", *map(str, words)], env=environment(self.display), capture_output=True, text=True, timeout=30
        )
        return done.stdout.strip()

    def wait_for_window(self) -> str:
        deadline = time.monotonic() + 60
        while not (found := self.act("search", "--onlyvisible", "--name", "draw the targets")):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        window = found.splitlines()[0]
        self.act("windowfocus", "--sync", window)
        return window

    def drag(self, window: str, box: tuple[float, ...]) -> None:
        """Draw a box, given in the clip's pixels."""
        x, y, w, h = (round(value * SCALE) for value in box)
        for at, button in (((x, y), "mousedown"), ((x + w // 3, y + h // 2), ""), ((x + w, y + h), "mouseup")):
            self.act("mousemove", "--sync", "--window", window, *at)
            if button:
                self.act(button, 1)


@pytest.fixture
def screen() -> Iterator[Screen]:
    pytest.importorskip("tkinter", reason="this Python has no tkinter")
    if not (shutil.which("Xvfb") and shutil.which("xdotool")):
        pytest.skip("Xvfb and xdotool are not installed")
    reading, writing = os.pipe()
    words = [
        "Xvfb",
        "-displayfd",
        str(writing),
        "-screen",
        "0",
        f"{SCREEN_WH[0]}x{SCREEN_WH[1]}x24",
        "-nolisten",
        "tcp",
    ]
    server = subprocess.Popen(words, pass_fds=[writing], stderr=subprocess.DEVNULL)
    os.close(writing)
    with os.fdopen(reading) as stream:
        number = stream.readline().strip()
    yield Screen(f":{number}")
    server.terminate()
    server.wait()


@pytest.fixture
def trk_run(screen: Screen, tiny_trk: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    started = []

    def start(*words: object) -> subprocess.Popen[str]:
        arguments = [sys.executable, "-c", MAIN, *map(str, words), "--bundle", str(tiny_trk), "--threads", "1"]
        process = subprocess.Popen(arguments, env=environment(screen.display), stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stderr.close()


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_targets_are_drawn_with_the_mouse_and_tracked(screen, trk_run, clip, tmp_path):
    out = tmp_path / "b.csv"
    process = trk_run(clip.video, "--boxes", out)
    window = screen.wait_for_window()
    screen.drag(window, (10, 10, 60, 60))
    screen.drag(window, (12, 12, 1, 1))  # a click
    screen.act("key", "BackSpace")
    screen.drag(window, tuple(clip.boxes[0]))
    screen.drag(window, (200, 150, 150, 100))  # out of the picture
    screen.act("key", "Return")
    assert process.wait(60) == 0, process.stderr.read()
    rows = rows_of(out)
    first = np.array([[float(row[name]) for name in "xywh"] for row in rows if row["id"] == "1"])
    np.testing.assert_allclose(first[0], clip.boxes[0], atol=1 / SCALE)
    assert overlap(first, clip.boxes).min() > 0.7
    assert [float(rows[1][name]) for name in "xywh"] == pytest.approx([200, 150, 120, 90], abs=1 / SCALE)


def test_a_later_frame_is_gone_to_and_tracking_begins_there(screen, trk_run, clip, tmp_path):
    out = tmp_path / "b.json"
    process = trk_run(clip.video, "--start", "2", "--boxes", out)
    window = screen.wait_for_window()
    screen.drag(window, (10, 10, 60, 60))
    for _ in range(3):
        screen.act("key", "Right")
    screen.act("key", "Return")  # the box went with its picture: nothing to start with
    screen.drag(window, tuple(clip.boxes[5]))
    screen.act("key", "Return")
    assert process.wait(60) == 0, process.stderr.read()
    document = json.loads(out.read_text())
    assert [frame["frame"] for frame in document["frames"]] == list(range(5, 20))
    assert overlap(np.array([frame["box"] for frame in document["frames"]]), clip.boxes[5:]).min() > 0.7
    assert document["init"] == pytest.approx(clip.boxes[5], abs=1 / SCALE)


def test_nothing_of_the_window_is_left_for_another_thread_to_collect(screen, clip):
    program = (
        "import gc, sys, tkinter; gc.disable()\n"
        "from trk.cli.window import draw_targets; from trk.video.source import open_source\n"
        "boxes, source = draw_targets(open_source(sys.argv[1]))\n"
        "print(len(boxes), sum(isinstance(one, (tkinter.Misc, tkinter.Image)) for one in gc.get_objects()))\n"
    )
    words = [sys.executable, "-c", program, str(clip.video)]
    with subprocess.Popen(words, env=environment(screen.display), stdout=subprocess.PIPE, text=True) as process:
        screen.drag(screen.wait_for_window(), tuple(clip.boxes[0]))
        screen.act("key", "Return")
        assert process.communicate(timeout=60)[0] == "1 0\n"


def test_a_window_that_is_closed_tracks_nothing(screen, trk_run, clip, tmp_path):
    process = trk_run(clip.video, "--boxes", tmp_path / "b.csv")
    screen.wait_for_window()
    screen.act("key", "Escape")
    assert process.wait(60) == 130
    assert process.stderr.read().strip() == "trk-run: interrupted"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "terminated"])
def test_a_signal_closes_the_window(screen, trk_run, clip, number):
    process = trk_run(clip.video)
    screen.wait_for_window()
    process.send_signal(number)
    assert process.wait(60) == 130
    assert process.stderr.read().strip() == "trk-run: interrupted"


def test_many_videos_need_their_boxes(screen, trk_run, clip):
    process = trk_run(clip.video.parent)
    assert process.wait(60) == 2
    assert "many videos need their boxes as --init" in process.stderr.read()
