"""The example notebook run in a real Jupyter kernel, and what `preview` does where there is none."""

import base64
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import trk
from trk import UsageError

NOTEBOOK = Path(__file__).resolve().parents[1] / "examples" / "preview.ipynb"


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """The notebook after its execution, and every message that showed something."""
    for name in ("nbformat", "nbclient", "ipykernel"):
        pytest.importorskip(name, reason="Jupyter is not installed (nbclient and ipykernel)")
    import nbformat
    from nbclient import NotebookClient

    shown = []

    class Client(NotebookClient):
        def process_message(self, message, cell, index):
            if message["msg_type"] in ("display_data", "update_display_data"):
                shown.append((index, message["msg_type"], message["content"]["data"]))
            return super().process_message(message, cell, index)

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    place = {"metadata": {"path": str(tmp_path_factory.mktemp("notebook"))}}
    Client(notebook, timeout=300, kernel_name="python3", resources=place).execute()
    return notebook, shown


def picture(data):
    return cv2.imdecode(np.frombuffer(base64.b64decode(data["image/jpeg"]), np.uint8), cv2.IMREAD_COLOR)


@pytest.mark.slow
def test_frames_are_shown_one_after_the_other_in_one_place(executed):
    notebook, shown = executed
    first = [(kind, data) for index, kind, data in shown if index == 2]
    assert first[0][0] == "display_data"
    assert {kind for kind, _ in first[1:]} == {"update_display_data"}
    assert len({data["image/jpeg"] for _, data in first}) == len(first) >= 2
    assert all(picture(data).shape == (360, 640, 3) for _, data in first)
    (output,) = notebook.cells[2].outputs
    assert output.data["text/plain"].startswith("frame ")
    assert output.data == first[-1][1]


@pytest.mark.slow
def test_last_frame_stays_and_shows_the_boxes(executed):
    notebook, shown = executed
    last = picture([data for index, _, data in shown if index == 6][-1])
    from trk.video.draw import PALETTE

    for colour in PALETTE[:2]:
        assert (np.abs(last.astype(int) - colour).max(axis=2) < 40).sum() > 100
    assert "2: Result(box=" in notebook.cells[6].outputs[-1].data["text/plain"]


@pytest.mark.slow
def test_results_are_handed_on(executed):
    notebook, _ = executed
    lines = notebook.cells[4].outputs[0].text.splitlines()
    assert len(lines) == 5
    assert all(float(line.split()[-1]) > 0.3 for line in lines)


def test_elsewhere_it_says_where_to_look(clip, tiny_trk):
    program = "import sys; sys.modules['IPython'] = None; import trk; trk.preview([])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "UsageError: preview shows frames in a Jupyter notebook, and IPython is not installed" in done.stderr
    pytest.importorskip("IPython", reason="IPython is not installed")
    with pytest.raises(UsageError, match="--web"):
        trk.preview([])


def test_nothing_to_show_and_an_error_midway(monkeypatch, clip, tiny_trk):
    """What a notebook's front end is told, by a display of this test."""
    from trk import notebook

    shown = []

    class Handle:
        def update(self, data, raw):
            shown.append(("update", data["text/plain"]))

    def display(data, raw, display_id):
        shown.append(("new", data["text/plain"]))
        return Handle()

    monkeypatch.setattr(notebook, "_display", lambda: display)
    assert list(trk.preview([])) == []
    assert shown == []
    results = trk.track(clip.video, clip.boxes[0], trk.Tracker(tiny_trk, threads=1))
    for number, _ in enumerate(trk.preview(results, fps=1e-3)):
        if number == 7:
            break  # as when the cell is interrupted
    assert shown == [("new", "frame 0"), ("update", "frame 7")]
