"""Targets that vanish and come back: what is told of them, and what each policy does."""

import cv2
import numpy as np
import pytest

from trk import MultiTracker, Tracker, UsageError
from trk.bench.ope import overlap
from trk.engine.bundle import Bundle
from trk.engine.confidence import Calibration
from trk.engine.policy import POLICIES
from trk.engine.stateless import Step
from trk.export.write import write_bundle
from trk.tracking import follow, track
from trk.video.seeds import Seed

GONE = range(6, 12)
"""Frames without the square; from then on it is far from where it was."""


@pytest.fixture(scope="module")
def scene(clip):
    """Frames and boxes: the clip's square, then nothing, then the square in the other corner."""
    side = int(clip.boxes[0][2])
    x, y = clip.boxes[0][:2].astype(int)
    square = clip.frames[0][y : y + side, x : x + side]
    ground = clip.frames[0].copy()
    ground[y : y + side, x : x + side] = ground[y : y + side, x + 2 * side : x + 3 * side]
    frames, boxes = [], []
    for number in range(30):
        frame = ground.copy()
        if number not in GONE:
            left, top = (12 + 2 * number, 10) if number < GONE.start else (255 - number, 180)
            frame[top : top + side, left : left + side] = square
            boxes.append((left, top, side, side))
        else:
            boxes.append((np.nan,) * 4)
        frames.append(frame)
    return frames, np.array(boxes, float)


@pytest.fixture(scope="module")
def calibrated(tiny_bundle, scene, tmp_path_factory):
    """The tiny bundle, told which of its scores are high: halfway between the square's and the ground's."""
    frames, boxes = scene
    tracker = Tracker(tiny_bundle, threads=1)
    tracker.init(frames[0], boxes[0])
    scores = [tracker.update(frame).score for frame in frames[1 : GONE.stop]]
    there, gone = min(scores[: GONE.start - 1]), max(scores[GONE.start - 1 :])
    assert there > gone
    slope = 12 / (there - gone)
    calibration = Calibration(bias=-slope * (there + gone) / 2, score=slope, recent=0.0, low=0.3, high=0.6)
    return changed(tiny_bundle, tmp_path_factory.mktemp("calibrated") / "bundle.trk", calibration=calibration)


def changed(path, out, **fields):
    """Another bundle of the same graphs."""
    bundle = Bundle(path)
    files = {file.name: bundle.read(file.name) for file in bundle.manifest.files}
    write_bundle(out, bundle.manifest.model_copy(update=fields), files)
    return out


def run(tracker, scene):
    frames, boxes = scene
    tracker.init(frames[0], boxes[0])
    return [tracker.update(frame) for frame in frames[1:]]


def overlaps(results, scene):
    return overlap(np.array([result.box for result in results]), scene[1][1:])


def untimed(results):
    return [result._replace(time=0) for result in results]


def test_a_target_that_is_gone_is_told_with_a_low_confidence(calibrated, scene):
    results = run(Tracker(calibrated, threads=1), scene)
    assert not any(result.lost for result in results[: GONE.start - 1])
    assert all(result.lost for result in results[GONE.start - 1 : GONE.stop - 1])
    assert min(r.confidence for r in results[: GONE.start - 1]) > max(r.confidence for r in results[5:11])


def test_following_on_gives_the_boxes_of_a_bundle_that_is_not_calibrated(calibrated, tiny_bundle, scene):
    plain = run(Tracker(tiny_bundle, threads=1), scene)
    told = run(Tracker(calibrated, threads=1), scene)
    assert [(r.box, r.score) for r in told] == [(r.box, r.score) for r in plain]


def test_searching_finds_a_target_that_comes_back_elsewhere(calibrated, scene):
    followed = run(Tracker(calibrated, threads=1), scene)
    searched = run(Tracker(calibrated, threads=1, on_lost="search"), scene)
    assert overlaps(followed, scene)[-5:].max() == 0
    assert overlaps(searched, scene)[-5:].min() > 0.6
    assert not searched[-1].lost
    assert [result.frame_index for result in searched] == list(range(1, 30))


def test_holding_leaves_the_box_where_the_target_was_last_seen(calibrated, scene):
    tracker = Tracker(calibrated, threads=1, on_lost="hold")
    results = run(tracker, scene)
    held = {result.box for result in results if result.lost}
    assert held == {results[GONE.start - 2].box}
    assert sum(result.lost for result in results) >= len(GONE)
    assert [result.frame_index for result in results] == list(range(1, 30))


def test_stopping_computes_nothing_more_until_the_next_init(calibrated, scene, monkeypatch):
    tracker = Tracker(calibrated, threads=1, on_lost="stop")
    searches, search = [], tracker.backend.search
    monkeypatch.setattr(tracker.backend, "search", lambda *asked: searches.append(1) or search(*asked))
    results = run(tracker, scene)
    first = next(number for number, result in enumerate(results) if result.lost)
    assert len(searches) == first + 1
    assert all(result.lost and result.box == results[first].box for result in results[first:])
    frames, boxes = scene
    tracker.init(frames[-2], boxes[-2])
    assert not tracker.update(frames[-1]).lost


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_is_the_same_for_several_targets_and_after_going_back(calibrated, scene, policy):
    frames, boxes = scene
    alone = run(Tracker(calibrated, threads=1, on_lost=policy), scene)
    several = MultiTracker(calibrated, threads=2, on_lost=policy)
    first, _ = several.add(frames[0], boxes[0]), several.add(frames[0], (200, 100, 60, 60))
    found = [several.update(frame)[first] for frame in frames[1:9]]
    kept = several.snapshot()
    later = [several.update(frame)[first] for frame in frames[9:]]
    several.restore(kept)
    again = [several.update(frame)[first] for frame in frames[9:]]
    assert untimed(found + later) == untimed(alone)
    assert untimed(again) == untimed(later)


def test_a_bundle_says_what_its_trackers_do_unless_they_are_told(calibrated, tiny_bundle, tmp_path):
    assert Tracker(calibrated).policy == POLICIES["follow"]
    for bundle, expected in ((calibrated, "hold"), (tiny_bundle, "follow")):  # without calibration nothing is lost
        out = changed(bundle, tmp_path / f"{expected}.trk", on_lost="hold")
        assert Tracker(out).policy == POLICIES[expected]
        assert Tracker(out, on_lost="follow").policy == POLICIES["follow"]
        assert MultiTracker(out).tracker.policy == POLICIES[expected]
        assert Step(Tracker(out))._tracker.policy == POLICIES["follow"]
    assert Tracker().policy == POLICIES["search"]


def test_bundle_that_is_not_calibrated_can_only_follow(tiny_bundle):
    with pytest.raises(UsageError, match="run trk-calibrate on it"):
        Tracker(tiny_bundle, on_lost="search")
    with pytest.raises(UsageError, match="choose one of follow, hold, search, stop"):
        Tracker(tiny_bundle, on_lost="panic")


def test_tracking_a_video_ends_where_a_target_that_may_stop_is_lost(calibrated, scene, tmp_path):
    frames, boxes = scene
    for number, frame in enumerate(frames):
        cv2.imwrite(str(tmp_path / f"{number:03d}.png"), frame)
    tracked = list(track(tmp_path, boxes[0], Tracker(calibrated, threads=1, on_lost="stop")))
    assert [one.result.lost for one in tracked] == [False] * (len(tracked) - 1) + [True]
    assert len(tracked) < len(frames)
    later = [Seed(tuple(boxes[0]), 1), Seed(tuple(boxes[20]), 1, 20)]
    followed = list(follow(tmp_path, later, Tracker(calibrated, threads=1, on_lost="stop")))
    assert len(followed) == len(frames)
    assert not followed[-1].results[1].lost
