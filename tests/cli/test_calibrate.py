import json

import cv2
import numpy as np
import pytest

from trk import Tracker
from trk.cli.calibrate import command
from trk.cli.command import run
from trk.engine.bundle import Bundle


@pytest.fixture
def folder(clip, tmp_path):
    """Two sequences; in the second the target is soon lost for good, for it was a piece of the ground."""
    for name, box in (("square", None), ("ground", (240.0, 20.0, 30.0, 30.0))):
        place = tmp_path / "clips" / name
        place.mkdir(parents=True)
        frames = [frame for _ in range(3) for frame in clip.frames]
        for number, frame in enumerate(frames):
            cv2.imwrite(str(place / f"{number:03d}.png"), frame)
        boxes = np.concatenate([clip.boxes] * 3)
        if box:
            boxes[0] = box
            boxes[1:, :2] = (10, 200)
        np.savetxt(place / "groundtruth.txt", boxes, delimiter=",")
    return tmp_path / "clips"


@pytest.mark.parametrize("kind", ["folder", "file", "in place"])
def test_calibrated_bundle_tracks_as_before_and_says_how_sure_it_is(kind, clip, folder, bundle_copy, tmp_path, capsys):
    plain = Bundle(bundle_copy).manifest
    out = {"folder": tmp_path / "out", "file": tmp_path / "out.trk", "in place": bundle_copy}[kind]
    where = [] if kind == "in place" else ["--out", str(out)]
    assert run(command, [str(bundle_copy), str(folder), "--threads", "1", *where]) == 0
    said = capsys.readouterr().err
    assert "area under the ROC" in said
    manifest = Bundle(out).manifest
    assert manifest.calibration.data == "2 sequences of clips, as they are and with the target covered"
    assert manifest.model_copy(update={"calibration": None}) == plain
    tracker = Tracker(out, threads=1, on_lost="search")
    tracker.init(clip.frames[0], clip.boxes[0])
    assert 0 <= tracker.update(clip.frames[1]).confidence <= 1


def test_plot_is_a_picture(folder, bundle_copy, tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib draws the plot: pip install trk-engine[eval]")
    plot = tmp_path / "reliability.png"
    assert run(command, [str(bundle_copy), str(folder), "--threads", "1", "--quiet", "--plot", str(plot)]) == 0
    assert cv2.imread(str(plot)).std() > 10


def test_what_can_not_be_calibrated_on_leaves_the_bundle_alone(folder, bundle_copy, tmp_path, capsys):
    before = (bundle_copy / "bundle.json").read_bytes()
    assert run(command, [str(bundle_copy), str(folder), "--only", "square"]) == 2
    assert "needs two sequences or more" in capsys.readouterr().err
    assert run(command, [str(bundle_copy), str(tmp_path / "nowhere")]) == 2
    assert (bundle_copy / "bundle.json").read_bytes() == before
    assert json.loads(before)["calibration"] is None
