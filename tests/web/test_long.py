"""A session that goes on and on: memory stays as it was."""

import os
import time
import tracemalloc

import pytest

pytest.importorskip("fastapi", reason="the extra web is not installed (trk-engine[web])")

from trk import Tracker
from trk.web import session as session_module
from trk.web.history import History
from trk.web.session import Session
from trk.web.timeline import Timeline


@pytest.fixture
def endless(clip, tmp_path):
    folder = tmp_path / "endless"
    folder.mkdir()
    images = sorted(clip.folder.iterdir())
    order = [*range(20), *range(18, 0, -1)] * 120
    for number, image in enumerate(order):
        os.link(images[image], folder / f"{number:05d}.png")
    return folder


@pytest.mark.slow
def test_memory_does_not_grow_with_the_frames(endless, clip, tiny_bundle, tmp_path, monkeypatch):
    # Small, so that they are full early; their real sizes differ by a factor.
    monkeypatch.setattr(session_module, "History", lambda: History(recent=20, older=20))
    monkeypatch.setattr(session_module, "Timeline", lambda: Timeline(most=40))
    outputs = [tmp_path / "b.csv", tmp_path / "b.coco.json", tmp_path / "b.jsonl"]
    session = Session(str(endless), Tracker(tiny_bundle, threads=1), outputs=outputs)
    told, epoch, largest = 0, -1, 0
    session.place(clip.boxes[0])
    session.place([200.0, 150.0, 40.0, 40.0])

    def watch_until(frame):
        nonlocal told, epoch, largest
        while session.state == "running" and session.frame.index < frame:
            status, _, _ = session.look(told, epoch)
            told, epoch = status["first"] + len(status["moments"]), status["epoch"]
            largest = max(largest, len(status["moments"]))
            time.sleep(0.01)

    session.run()
    watch_until(500)
    tracemalloc.start()
    watch_until(1000)
    first = tracemalloc.get_traced_memory()[0]
    watch_until(4400)
    last = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert session.frame.index >= 4400, session.message
    assert largest <= 40
    assert len(session.journal) >= 2 * 4400
    session.close()
    # A frame is 230 KB, and how many wait between two threads is chance: 3400 records of a list would be 2 MB.
    assert last - first < 8 * 230_400
    assert sum(1 for _ in outputs[0].open()) > 2 * 4400
