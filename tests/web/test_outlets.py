"""The files of a session: written along, right after winding back, whole whatever ends it."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time

import av
import numpy as np
import pytest
from streams import http_camera

pytest.importorskip("fastapi", reason="the extra web is not installed (trk-engine[web])")

from trk import SinkError, Tracker, UsageError
from trk.web import session as session_module
from trk.web.history import History
from trk.web.results import write_result
from trk.web.session import Session

MAIN = "from trk.cli.run import main; main()"
NAMES = ("b.csv", "b.json", "b.jsonl", "b.mot.txt", "b.coco.json")
OTHER = [200.0, 150.0, 40.0, 40.0]


@pytest.fixture
def begin(tiny_bundle, clip):
    """Start a session of the clip with outputs; it is closed at the end."""
    opened = []

    def start(*outputs, video=None):
        session = Session(str(video or clip.video), Tracker(tiny_bundle, threads=1), outputs=outputs)
        opened.append(session)
        return session

    yield start
    for session in opened:
        session.close()


def wait(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def run_to_the_end(session):
    session.run()
    wait(lambda: session.state != "running")
    assert session.state == "done", session.message


def pictures_of(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]


def part_of(path):
    (found,) = path.parent.glob(f".{path.name}.*.part")
    return found


def test_boxes_are_on_the_disk_while_the_run_goes_on(begin, clip, tmp_path):
    table, lines = tmp_path / "b.csv", tmp_path / "b.jsonl"
    session = begin(table, lines)
    session.place(clip.boxes[0])
    assert len(lines.read_text().splitlines()) == 1
    run_to_the_end(session)
    rows = list(csv.DictReader(io.StringIO(part_of(table).read_text())))
    assert [int(row["frame"]) for row in rows] == list(range(20))
    assert [json.loads(line)["frame"] for line in lines.read_text().splitlines()] == list(range(20))
    assert not table.exists()
    assert sorted(session.finish()) == [table, lines]
    assert sorted(tmp_path.iterdir()) == [table, lines]


@pytest.mark.parametrize("wound_back", [False, True])
def test_outputs_are_what_a_download_at_the_end_would_be(begin, clip, tmp_path, wound_back):
    outputs, wanted = tmp_path / "outputs", tmp_path / "wanted"
    outputs.mkdir()
    wanted.mkdir()
    session = begin(*(outputs / name for name in NAMES), outputs / "o.mp4")
    session.place(clip.boxes[0])
    session.place(OTHER)
    session.place(clip.boxes[0] + [1, 1, 0, 0], 1)
    run_to_the_end(session)
    if wound_back:
        session.seek(11)
        session.remove(2)
        session.place(clip.boxes[11], 1)
        run_to_the_end(session)
        session.seek(14)
        session.seek(5)
        session.place([190.0, 140.0, 40.0, 40.0])
        run_to_the_end(session)
    for name in (*NAMES, "o.mp4"):
        write_result(session, wanted / name)
    assert len(session.finish()) == 6
    for name in NAMES:
        assert (outputs / name).read_text() == (wanted / name).read_text()
    made, again = pictures_of(outputs / "o.mp4"), pictures_of(wanted / "o.mp4")
    assert len(made) == len(again) == 20
    assert max(np.abs(one.astype(int) - other).mean() for one, other in zip(made, again, strict=True)) < 0.5
    assert sorted(path.name for path in outputs.iterdir()) == sorted((*NAMES, "o.mp4"))


def test_a_box_drawn_anew_before_the_run_is_written_once(begin, clip, tmp_path):
    out, video = tmp_path / "b.csv", tmp_path / "o.mp4"
    session = begin(out, video)
    session.place([10.0, 10.0, 20.0, 20.0])
    session.remove(1)
    target = session.place(clip.boxes[0])
    session.place(clip.boxes[0] + [2, 0, 0, 0], target)
    assert sorted(session.finish()) == [out, video]
    (row,) = csv.DictReader(io.StringIO(out.read_text()))
    assert float(row["x"]) == clip.boxes[0][0] + 2
    assert len(pictures_of(video)) == 1


def test_states_long_ago_are_found_again_to_the_last_digit(begin, clip, monkeypatch):
    monkeypatch.setattr(session_module, "History", lambda: History(recent=2, older=2))
    session = begin()
    session.place(clip.boxes[0])
    run_to_the_end(session)
    before = session.records()
    for frame in (17, 13, 6):
        session.seek(frame)
        assert session.frame.index == frame
        np.testing.assert_array_equal(session.frame.image, next_of(clip, frame))
    session.place(OTHER)
    run_to_the_end(session)
    assert [record for record in session.records() if record.target == 1] == before


def next_of(clip, frame):
    return pictures_of(clip.video)[frame]


def test_a_stream_is_recorded_though_it_cannot_be_read_again(begin, clip, tmp_path):
    out, video = tmp_path / "b.csv", tmp_path / "o.mp4"
    with http_camera(clip.frames) as camera:
        camera.interval = 0.05
        session = begin(out, video, video=camera.url)
        session.place(clip.boxes[0])
        with pytest.raises(UsageError, match="wound back"):
            session.seek(0)
        session.run()
        wait(lambda: session.frame.index >= 8)
        assert sorted(session.finish()) == [out, video]
    rows = list(csv.DictReader(io.StringIO(out.read_text())))
    assert [int(row["frame"]) for row in rows] == list(range(len(rows)))
    assert len(pictures_of(video)) == len(rows) >= 9


def test_without_a_target_there_are_no_files(begin, clip, tmp_path):
    (tmp_path / "b.csv").write_text("of an earlier run")
    session = begin(tmp_path / "b.csv", tmp_path / "b.jsonl", tmp_path / "o.mp4")
    session.place(clip.boxes[0])
    session.remove(1)
    assert session.finish() == []
    assert [path.name for path in tmp_path.iterdir()] == ["b.csv"]
    assert (tmp_path / "b.csv").read_text() == "of an earlier run"


@pytest.mark.parametrize("name", ["nowhere/b.csv", "b.xml", "b.vot.txt", "nowhere/o.mp4"])
def test_an_output_that_cannot_be_written_is_told_at_once_and_leaves_nothing(begin, tmp_path, name):
    with pytest.raises(SinkError, match="can't write"):
        begin(tmp_path / "b.json", tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_stops_the_run_and_keeps_what_was_found(clip, tiny_trk, tmp_path):
    program = (
        "import resource, sys, time\n"
        "from pathlib import Path\n"
        "from trk import Tracker\n"
        "from trk.web.session import Session\n"
        "session = Session(sys.argv[1], Tracker(sys.argv[2], threads=1), outputs=[Path(sys.argv[3])])\n"
        "session.place([90.0, 70.0, 48.0, 48.0])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (700, 700))\n"
        "session.run()\n"
        "while session.state == 'running': time.sleep(0.01)\n"
        "print(session.state, session.message)\n"
        "session.close()\n"
    )
    words = [sys.executable, "-c", program, str(clip.video), str(tiny_trk), str(tmp_path / "b.json")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("failed can't ")
    document = json.loads((tmp_path / "b.json").read_text())
    assert 0 < len(document["frames"]) < 20


class Page:
    """A browser's side of `trk-run --web`, in a process of its own."""

    def __init__(self, process):
        connect = pytest.importorskip("websockets.sync.client").connect
        self.process = process
        page = process.stdout.readline().strip()
        live = page.replace("http", "ws", 1).replace("/?", "/live?")
        self.connection = connect(live, origin=page.split("/?")[0], open_timeout=60)

    def __enter__(self):
        self.socket = self.connection.__enter__()
        return self

    def __exit__(self, *error):
        self.connection.__exit__(*error)

    def send(self, **command):
        self.socket.send(json.dumps(command))

    def until(self, wanted):
        while True:
            message = self.socket.recv(timeout=60)
            if isinstance(message, str) and wanted(status := json.loads(message)):
                return status


@pytest.fixture
def endless(clip, tmp_path):
    """A folder of so many images that no run ends before it is ended; they are links and take no room."""
    folder = tmp_path / "endless"
    folder.mkdir()
    images = sorted(clip.folder.iterdir())
    order = [*range(20), *range(18, 0, -1)] * 200
    for number, image in enumerate(order):
        os.link(images[image], folder / f"{number:05d}.png")
    return folder


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=["Ctrl-C", "terminated", "killed"]
)
def test_files_are_whole_whatever_ends_the_session(clip, endless, tiny_trk, tmp_path, number):
    results = tmp_path / "results"
    results.mkdir()
    table, document, video = results / "b.csv", results / "b.json", results / "o.mp4"
    words = [endless, "--web", "--port", 0, "--bundle", tiny_trk, "--threads", 1, "--quiet"]
    words += ["--boxes", table, "--boxes", document, "--out", video]
    process = subprocess.Popen([sys.executable, "-c", MAIN, *map(str, words)], stdout=subprocess.PIPE, text=True)
    try:
        with Page(process) as page:
            page.send(do="place", box=list(clip.boxes[0]))
            page.until(lambda status: status.get("targets"))
            page.send(do="run")
            page.until(lambda status: status.get("frame", 0) > 30)
            process.send_signal(number)
        assert process.wait(60) == (-number if number == signal.SIGKILL else 0)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    killed = number == signal.SIGKILL
    rows = list(csv.DictReader(io.StringIO((part_of(table) if killed else table).read_text())))
    assert len(rows) > 30
    found = json.loads((part_of(document) if killed else document).read_text())["frames"]
    assert 0 <= len(rows) - len(found) <= 1
    if not killed:
        assert len(pictures_of(video)) == len(rows)
        assert sorted(results.iterdir()) == [table, document, video]
