import threading

import numpy as np
import pytest

from trk import BackendError, BoxError, FrameError, MultiTracker, Tracker
from trk.bench.ope import overlap

BOXES = [(10.0 + 7 * number, 20.0 + 3 * number, 60.0 - number, 50.0) for number in range(12)]


@pytest.fixture(params=[1, 2, 5], ids="{} lanes".format)
def tracker(request, tiny_bundle):
    return MultiTracker(tiny_bundle, threads=request.param)


def untimed(results):
    return {target: result._replace(time=0) for target, result in results.items()}


def test_targets_are_each_followed_as_if_alone(clip, tracker, tiny_bundle):
    for box in BOXES:
        tracker.add(clip.frames[0], box)
    found = [tracker.update(frame) for frame in clip.frames[1:8]]
    for target, box in enumerate(BOXES, start=1):
        alone = Tracker(tiny_bundle, threads=1)
        alone.init(clip.frames[0], box)
        for frame, results in zip(clip.frames[1:8], found, strict=True):
            assert results[target]._replace(time=0) == alone.update(frame)._replace(time=0)


def test_targets_come_and_go_while_it_runs(clip, tracker):
    first = tracker.add(clip.frames[0], clip.boxes[0])
    second = tracker.add(clip.frames[0], (200, 150, 40, 40))
    assert list(tracker.update(clip.frames[1])) == tracker.ids == [first, second]
    tracker.remove(second)
    tracker.remove(99)
    assert list(tracker.update(clip.frames[2])) == [first]
    third = tracker.add(clip.frames[2], (20, 20, 30, 30))
    assert third not in (first, second)
    assert tracker.add(clip.frames[2], clip.boxes[2], first) == first
    results = tracker.update(clip.frames[3], skip=[third])
    assert list(results) == [first]
    assert results[first].frame_index == 1
    assert overlap(np.array([results[first].box]), clip.boxes[3:4])[0] > 0.7


def test_nothing_to_follow_gives_nothing(clip, tracker):
    assert tracker.update(clip.frames[0]) == {}


def test_kept_state_can_be_gone_back_to_any_number_of_times(clip, tracker):
    for box in BOXES[:3]:
        tracker.add(clip.frames[0], box)
    tracker.update(clip.frames[1])
    kept = tracker.snapshot()
    expected = untimed(tracker.update(clip.frames[2]))
    for _ in range(2):
        tracker.update(clip.frames[5])
        tracker.restore(kept)
        assert untimed(tracker.update(clip.frames[2])) == expected


def test_box_or_frame_that_is_refused_changes_nothing(clip, tracker):
    tracker.add(clip.frames[0], clip.boxes[0])
    kept = untimed(tracker.update(clip.frames[1]))
    with pytest.raises(BoxError):
        tracker.add(clip.frames[1], (400, 10, 20, 20))
    with pytest.raises(FrameError):
        tracker.update(np.zeros((4, 4), np.uint8))
    assert tracker.ids == [1]
    assert tracker.update(clip.frames[2])[1].frame_index == kept[1].frame_index + 1


def test_stages_add_up_to_the_time_of_the_update(clip, tracker):
    for box in BOXES:
        tracker.add(clip.frames[0], box)
    results = tracker.update(clip.frames[1])
    assert min(tracker.stages) > 0
    assert 0 < sum(tracker.stages) <= sum(result.time for result in results.values()) + 1


def test_tracker_that_lends_its_network_keeps_its_own_target(clip, tiny_bundle):
    lent = Tracker(tiny_bundle, threads=1)
    lent.init(clip.frames[0], clip.boxes[0])
    alone = lent.update(clip.frames[1])
    lent.init(clip.frames[0], clip.boxes[0])
    several = MultiTracker(lent, threads=2)
    several.add(clip.frames[0], BOXES[0])
    several.update(clip.frames[1])
    assert lent.update(clip.frames[1])._replace(time=0) == alone._replace(time=0)


def test_failure_on_one_lane_is_told_and_leaves_no_thread_at_work(clip, tiny_bundle, monkeypatch):
    tracker = MultiTracker(tiny_bundle, threads=3)
    for box in BOXES:
        tracker.add(clip.frames[0], box)
    tracker.update(clip.frames[1])
    search, asked = type(tracker.tracker.backend).search, []

    def failing(backend, *arguments):
        asked.append(threading.get_ident())
        if len(asked) == 5:
            raise BackendError("the device went away")
        return search(backend, *arguments)

    monkeypatch.setattr(type(tracker.tracker.backend), "search", failing)
    with pytest.raises(BackendError, match="went away"):
        tracker.update(clip.frames[2])
    count = len(asked)
    monkeypatch.undo()
    assert sorted(tracker.update(clip.frames[3])) == tracker.ids
    assert len(asked) == count
