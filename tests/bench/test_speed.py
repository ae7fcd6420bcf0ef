import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from trk.bench.speed import (
    Clip,
    Entry,
    Measured,
    Plan,
    agreement,
    frames_to_track,
    measure,
    overlaps,
    pairs,
    ratio,
    read_clip,
)
from trk.bench.speed_clip import sample_clip
from trk.engine.result import Result, StageTimes
from trk.errors import BackendError, CheckpointError, SourceError, UsageError
from trk.weights.clips import sample


class Fake:
    """Reports stage times that tell its frame, and remembers all it was asked."""

    def __init__(self, log: list[tuple[str, str, int]], name: str, step: float = 1.0) -> None:
        self.log = log
        self.name = name
        self.step = step
        self.stages = StageTimes(0.0, 0.0, 0.0)
        self.threads: list[int] = []

    def init(self, frame: np.ndarray, box: tuple[float, ...]) -> None:
        self.log.append((self.name, "init", int(frame[0, 0, 0])))
        self.at = 0

    def update(self, frame: np.ndarray) -> Result:
        number = int(frame[0, 0, 0])
        self.log.append((self.name, "update", number))
        self.threads.append(cv2.getNumThreads())
        self.at += 1
        self.stages = StageTimes(1e-3 * number, 2e-3 * number, 3e-3 * number)
        return Result((self.step * self.at, 0.0, 10.0, 10.0), 1.0, False, self.at, 0.0)


def clip_of(frames: int) -> Clip:
    return Clip("numbers", [np.full((4, 4, 3), number, np.uint8) for number in range(frames + 1)], (0, 0, 2, 2))


def test_every_entry_sees_the_whole_clip_in_order_in_every_round_after_its_warm_up():
    log: list[tuple[str, str, int]] = []
    entries = [Entry(name, "fake", 1, Fake(log, name)) for name in "ab"]
    measure(entries, clip_of(7), Plan(warmup=2, rounds=2, block=3))
    for name in "ab":
        mine = [(what, number) for who, what, number in log if who == name]
        whole = [("init", 0), *(("update", number) for number in range(1, 8))]
        assert mine == [*whole[:3], *whole, *whole]


def test_entries_take_turns_block_by_block():
    log: list[tuple[str, str, int]] = []
    entries = [Entry(name, "fake", 1, Fake(log, name)) for name in "abc"]
    measure(entries, clip_of(12), Plan(warmup=1, rounds=1, block=4))
    timed = [(who, number) for who, what, number in log if what == "update"][3:]
    blocks = [timed[first : first + 12] for first in range(0, 36, 12)]
    for position, block in enumerate(blocks):
        assert {who for who, _ in block} == {"a", "b", "c"}
        assert {number for _, number in block} == set(range(4 * position + 1, 4 * position + 5))


def test_the_first_frame_of_a_block_is_not_counted():
    log: list[tuple[str, str, int]] = []
    ((found,), *_) = measure([Entry("a", "fake", 1, Fake(log, "a"))], clip_of(7), Plan(warmup=1, rounds=2, block=3))
    for crop in found.seconds("crop"):
        np.testing.assert_allclose(crop, [0.002, 0.003, 0.005, 0.006])
    assert [times.size for times in found.cpu_seconds()] == [4, 4]
    np.testing.assert_allclose(found.seconds("crop", "host")[0], [0.008, 0.012, 0.02, 0.024])
    np.testing.assert_allclose(found.total(), 2 * [0.012, 0.018, 0.03, 0.036])


def test_progress_counts_every_tracked_frame():
    log: list[tuple[str, str, int]] = []
    entries = [Entry(name, "fake", 1, Fake(log, name)) for name in "ab"]
    plan, clip, advanced = Plan(warmup=20, rounds=3, block=2), clip_of(5), []
    measure(entries, clip, plan, advanced.append)
    assert sum(advanced) == frames_to_track(2, clip, plan) == sum(what == "update" for _, what, _ in log)


def test_an_entry_runs_on_its_threads_and_they_are_given_back():
    before = cv2.getNumThreads()
    log: list[tuple[str, str, int]] = []
    one, two = Fake(log, "one"), Fake(log, "two")
    entries = [Entry("a", "x", 1, one), Entry("a", "y", 2, two)]
    measure(entries, clip_of(4), Plan(warmup=1, rounds=1, block=2))
    assert (set(one.threads), set(two.threads)) == ({1}, {2})
    assert cv2.getNumThreads() == before


def test_torch_runs_on_an_entrys_threads_too():
    torch = pytest.importorskip("torch")

    class Torch(Fake):
        def update(self, frame: np.ndarray) -> Result:
            seen.append(torch.get_num_threads())
            return super().update(frame)

    seen: list[int] = []
    before = torch.get_num_threads()
    measure([Entry("a", "x", 2, Torch([], "a"))], clip_of(4), Plan(warmup=1, rounds=1))
    assert set(seen) == {2}
    assert sys.modules["torch"].get_num_threads() == before


def test_two_ways_that_find_other_boxes_are_refused_before_anything_is_timed():
    log: list[tuple[str, str, int]] = []
    entries = [Entry("net.trk", "x", 1, Fake(log, "a")), Entry("net.trk", "y", 1, Fake(log, "b", step=1.1))]
    with pytest.raises(CheckpointError, match=r"net\.trk: x and y find boxes 0\.4 px apart within 4 frames"):
        measure(entries, clip_of(10), Plan(warmup=4))
    assert sum(what == "update" for _, what, _ in log) == 8


def test_other_bundles_may_find_other_boxes():
    log: list[tuple[str, str, int]] = []
    entries = [Entry("a", "x", 1, Fake(log, "a")), Entry("b", "x", 1, Fake(log, "b", step=9.0))]
    assert len(measure(entries, clip_of(5), Plan(warmup=4, rounds=1)).measured) == 2


def test_boxes_are_compared_until_a_rounding_parts_them():
    fakes = [Fake([], "a"), Fake([], "b")]
    boxes = [[(float(i), 0.0, 5.0, 5.0) for i in range(6)] for _ in fakes]
    boxes[1][2] = (2.03125, 0.0, 5.0, 5.0)
    boxes[1][4] = (90.0, 0.0, 5.0, 5.0)
    one, other = (
        Measured(Entry("a", "x", 1, fake), boxes=found, close_calls=6 * [False])
        for fake, found in zip(fakes, boxes, strict=True)
    )
    assert agreement(one, other) == (6, 86.0, None)
    other.close_calls[2] = True  # the boxes are close enough there: no excuse for what comes
    assert agreement(one, other) == (6, 86.0, None)
    other.close_calls[4] = True
    assert agreement(one, other) == (4, 0.03125, 5)


def test_boxes_that_are_not_finite_never_agree():
    made = [
        Measured(Entry("a", "x", 1, Fake([], "")), boxes=[(0.0, 0.0, 5.0, w)], close_calls=[False])
        for w in (1.0, float("nan"))
    ]
    assert not agreement(*made).largest <= 0.05


def test_close_calls_of_the_first_round_are_remembered():
    fake = Fake([], "a")
    entry = Entry("a", "x", 1, fake, is_close_call=lambda: fake.at in (3, 5))
    ((found,), *_) = measure([entry], clip_of(8), Plan(warmup=1, rounds=2, block=3))
    assert found.close_calls == [False, False, True, False, True, False, False, False]
    assert len(found.boxes) == 8


def test_parting_on_a_rounding_is_no_error_but_comparing_nothing_is():
    def entries(close: tuple[int, ...]) -> list[Entry]:
        one, two = Fake([], "a", step=0.0), Fake([], "b", step=0.02)
        return [Entry("n", "x", 1, one), Entry("n", "y", 1, two, is_close_call=lambda: two.at in close)]

    assert measure(entries((3,)), clip_of(6), Plan(warmup=5, rounds=1))
    with pytest.raises(CheckpointError):
        measure(entries((2, 4)), clip_of(6), Plan(warmup=5, rounds=1))
    one, two = Fake([], "a"), Fake([], "b", step=2.0)
    with pytest.raises(CheckpointError):
        measure([Entry("n", "x", 1, one), Entry("n", "y", 1, two, is_close_call=lambda: True)], clip_of(6), Plan())


def test_a_ratio_divides_the_medians_of_each_round():
    found = ratio([np.array([2.0, 4.0, 90.0]), np.array([6.0])], [np.array([1.0, 2.0, 3.0]), np.array([2.0])])
    assert found.rounds == [2.0, 3.0]
    assert found.median == 2.5


class Dies(Fake):
    """Fails at the fourth frame it is given."""

    def update(self, frame: np.ndarray) -> Result:
        if len(self.threads) == 3:
            raise BackendError("the device went away")
        return super().update(frame)


def test_one_that_fails_is_told_and_the_others_are_measured_whole():
    log: list[tuple[str, str, int]] = []
    entries = [Entry("a", "x", 1, Dies(log, "a")), Entry("b", "x", 1, Fake(log, "b"))]
    one, other = measure(entries, clip_of(7), Plan(warmup=2, rounds=2, block=3)).measured
    assert one.failed == "the device went away"
    assert other.failed == ""
    assert other.total().size == 8
    assert list(pairs([one, replace_how(other)], ["y"])) == []


def replace_how(item: Measured) -> Measured:
    item.entry = replace(item.entry, label="a", how="y")
    return item


def test_a_measurement_is_cut_down_to_the_time_there_is():
    def cut(seconds: float) -> tuple[int, int]:
        entries = [Entry(name, "fake", 1, Fake([], name)) for name in "ab"]
        found = measure(entries, clip_of(20), Plan(warmup=3, rounds=5, seconds=seconds))
        assert all(len(item.boxes) == len(found.clip.frames) - 1 for item in found.measured)
        return found.plan.rounds, len(found.clip.frames) - 1

    # Median of frames 2 and 3, 6 ms each: 15 ms for each of two entries, 600 ms a round.
    assert cut(60.0) == (5, 20)
    assert cut(1.3) == (2, 20)
    assert cut(0.35) == (1, 11)
    assert cut(0.001) == (1, 2)


def test_whole_pixels_are_compared_by_overlap_and_refused_by_nobody():
    entries = [Entry("n", "x", 1, Fake([], "a")), Entry("n", "y", 1, Fake([], "b", step=2.0), same_boxes=False)]
    one, other = measure(entries, clip_of(4), Plan(warmup=2, rounds=1)).measured
    assert overlaps(one.boxes, one.boxes) == pytest.approx(1)
    assert 0 < overlaps(one.boxes, other.boxes) < 1
    assert overlaps([], one.boxes) is None


def test_frames_on_the_device_are_brought_there_before_anything_is_tracked(monkeypatch):
    log: list[tuple[str, str, int]] = []

    def bring(frames: list[np.ndarray]) -> list[np.ndarray]:
        log.append(("all", "brought", len(frames)))
        return [frame + 100 for frame in frames]

    monkeypatch.setattr("trk.bench.speed.to_gpu", bring)
    entries = [Entry("h", "x", 1, Fake(log, "h")), Entry("d", "x", 1, Fake(log, "d"), on_device=True)]
    measure(entries, clip_of(4), Plan(warmup=2, rounds=2, block=2))
    assert [entry for entry in log if entry[1] == "brought"] == log[:1] == [("all", "brought", 5)]
    seen = {name: [(what, number) for who, what, number in log if who == name] for name in "hd"}
    assert seen["d"] == [(what, number + 100) for what, number in seen["h"]]


def test_without_pyav_opencv_decodes_the_sample_to_the_same_pixels(monkeypatch):
    there = sample_clip(5)
    monkeypatch.setitem(sys.modules, "av", None)
    instead = sample_clip(5)
    assert (instead.name, instead.box) == (there.name, there.box) == ("sample bunny", sample().init_box)
    np.testing.assert_array_equal(instead.frames, there.frames)
    assert len(there.frames) == 6


def test_what_else_is_measured_has_its_turn_every_round():
    turns: list[int] = []
    measure([Entry("a", "x", 1, Fake([], "a"))], clip_of(4), Plan(1, 3), beside=lambda: turns.append(1))
    assert len(turns) == 3


def test_a_folder_with_a_ground_truth_brings_its_box(clip, tmp_path: Path):
    for image in clip.folder.iterdir():
        (tmp_path / image.name).symlink_to(image)
    with pytest.raises(UsageError, match="no target"):
        read_clip(tmp_path)
    truth = tmp_path / "groundtruth.txt"
    truth.write_text("\n".join(",".join(map(str, box)) for box in clip.boxes))
    found = read_clip(tmp_path, start=2, frames=6)
    assert found.box == tuple(clip.boxes[2])
    np.testing.assert_array_equal(found.truth, clip.boxes[2:9])
    assert read_clip(tmp_path, (1, 2, 3, 4), frames=6).box == (1, 2, 3, 4)
    truth.write_text("1,2,3,4\n")
    assert read_clip(tmp_path, (1, 2, 3, 4), frames=6).truth is None


def test_only_the_same_bundle_and_threads_are_paired():
    made = [
        Measured(Entry(label, how, threads, Fake([], "")))
        for label in "ab"
        for how in ("onnxruntime", "upstream-style", "upstream-no-grad")
        for threads in (1, 2)
    ]
    found = [(slow.entry, fast.entry) for slow, fast in pairs(made, ["upstream-style", "upstream-no-grad"])]
    assert len(found) == 8
    for slow, fast in found:
        assert (slow.label, slow.threads, fast.how) == (fast.label, fast.threads, "onnxruntime")


def test_a_clip_begins_at_its_start_and_has_the_frames_asked_for(clip):
    found = read_clip(clip.folder, (1, 2, 3, 4), start=3, frames=5)
    assert len(found.frames) == 6
    np.testing.assert_array_equal(found.frames[0], clip.frames[3])
    assert read_clip(clip.folder, (1, 2, 3, 4), frames=500).frames[-1].shape == (240, 320, 3)


@pytest.mark.parametrize("start", [18, 19, 400])
def test_a_clip_too_short_to_measure_is_refused(clip, start):
    with pytest.raises(SourceError, match=rf"frames from number {start} on: 3 are the least"):
        read_clip(clip.folder, (1, 2, 3, 4), start=start)


def test_a_missing_clip_is_refused(tmp_path: Path):
    with pytest.raises(SourceError):
        read_clip(tmp_path / "none.mp4", (1, 2, 3, 4))
