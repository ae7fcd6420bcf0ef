import json

import numpy as np
import pytest

from trk.bench.crowd import Crowd, grid_boxes
from trk.bench.speed import Clip, Plan
from trk.bench.sweep import HEIGHTS, TARGETS, Resized, Setup, sweep, sweep_data
from trk.engine.bundle import Bundle
from trk.engine.result import Result, StageTimes
from trk.engine.tracker import Tracker


class Watched:
    """Remembers the frames it was given."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, ...]] = []
        self.stages = StageTimes(0.001, 0.002, 0.003)

    def init(self, frame, box):
        self.seen.append((*frame.shape, *(round(value, 3) for value in box)))

    def update(self, frame):
        self.seen.append(frame.shape)
        return Result((0, 0, 1, 1), 1.0, False, 1, 0.0)


def clip_of(clip, frames: int = 6) -> Clip:
    return Clip("clip", clip.frames[: frames + 1], tuple(clip.boxes[0]))


def setup_of(bundle, length: int = 30) -> Setup:
    return Setup({"tiny": Bundle(bundle)}, "auto", None, 1, Plan(warmup=1, rounds=2, block=3), length)


@pytest.mark.parametrize("count", [0, 1, 3, 31])
def test_boxes_of_many_targets_lie_in_the_frame_and_apart(count):
    boxes = np.array(grid_boxes((240, 320), count)).reshape(-1, 4)
    assert len(boxes) == count
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 0] + boxes[:, 2] <= 320).all()
    assert (boxes[:, 1] + boxes[:, 3] <= 240).all()
    assert len({tuple(box) for box in boxes}) == count


def test_a_crowd_tracks_all_and_its_first_target_as_if_alone(clip, tiny_trk):
    tracker = Tracker(tiny_trk, threads=1)
    crowd = Crowd(tracker, 5, 2)
    crowd.init(clip.frames[0], tuple(clip.boxes[0]))
    alone = Tracker(tiny_trk, threads=1)
    alone.init(clip.frames[0], clip.boxes[0])
    assert len(crowd._crowd.ids) == 5
    for frame in clip.frames[1:4]:
        assert crowd.update(frame).box == alone.update(frame).box
    assert sum(crowd.stages) > 0


def test_frames_of_another_size_bring_their_boxes_along(clip):
    watched = Watched()
    resized = Resized(watched, clip_of(clip, 2), 480)
    for _ in range(2):  # init begins anew
        resized.init(clip.frames[0], (0, 0, 1, 1))
        resized.update(clip.frames[1])
    x, y, w, h = clip.boxes[0]
    assert watched.seen == 2 * [(480, 640, 3, 2 * x, 2 * y, 2 * w, 2 * h), (480, 640, 3)]
    assert resized.stages == watched.stages


@pytest.mark.parametrize(("name", "amounts"), [("targets", TARGETS), ("size", HEIGHTS)])
def test_a_sweep_has_a_point_for_every_amount(name, amounts, clip, tiny_trk):
    advanced: list[int] = []
    points = sweep(name, setup_of(tiny_trk), clip_of(clip, 4), advanced.append)
    assert [point.amount for point in points] == list(amounts)
    for point in points:
        assert 0 < point.seconds["q1_ms"] <= point.seconds["median_ms"] <= point.seconds["q3_ms"]
        assert point.cpu_ms > 0
    assert sum(advanced) > 0


def test_threads_go_up_to_the_cores_there_are(clip, tiny_trk, monkeypatch):
    monkeypatch.setattr("trk.bench.sweep.usable_cores", lambda: 3)
    assert [point.amount for point in sweep("threads", setup_of(tiny_trk), clip_of(clip))] == [1, 2, 3]


def test_the_length_ends_where_it_was_asked_to_and_memory_is_told(clip, tiny_trk):
    points = sweep("length", setup_of(tiny_trk, 250), clip_of(clip))
    assert [point.amount for point in points] == [10, 100, 250]
    memory = [point.memory_mib for point in points]
    if None not in memory:
        assert max(memory) - memory[0] < 50


def test_a_plot_is_drawn_of_what_was_measured_and_again_of_its_json(clip, tiny_trk, tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (trk-engine[eval])")
    from trk.bench.sweep_picture import main, sweep_picture

    points = sweep("length", setup_of(tiny_trk, 20), clip_of(clip))
    assert sweep_picture("length", points, "a [clip] of $5").startswith(b"\x89PNG")
    data = sweep_data("length", points)
    assert data["amount"] == "frames of the video"
    assert [point["amount"] for point in data["points"]] == [10, 20]
    told = {
        "clip": {"name": "a [clip]", "size": [320, 240]},
        "machine": {"cpu": "a processor", "usable_cores": 2},
        "load_average": None,
        "sweeps": [data],
    }
    (tmp_path / "sweep.json").write_text(json.dumps(told))
    assert main([str(tmp_path / "sweep.json"), str(tmp_path / "plots")]) == 0
    assert (tmp_path / "plots" / "sweep-length.png").read_bytes().startswith(b"\x89PNG")
