import numpy as np
import pytest

from trk import BoxError, SourceError, Tracker
from trk.bench.ope import overlap
from trk.tracking import follow, track
from trk.video.seeds import Seed
from trk.video.source import open_source


@pytest.fixture
def tracker(tiny_bundle):
    return Tracker(tiny_bundle, threads=1)


@pytest.mark.parametrize("source", ["video", "folder"])
def test_every_frame_comes_with_its_box(clip, tracker, source):
    tracked = list(track(getattr(clip, source), clip.boxes[0], tracker))
    assert [one.frame.index for one in tracked] == list(range(20))
    assert [one.result.frame_index for one in tracked] == list(range(20))
    assert overlap(np.array([one.result.box for one in tracked]), clip.boxes).min() > 0.7


def test_first_result_is_the_box_that_was_given(clip, tracker):
    first = next(track(clip.folder, [90, "70", 48.5, np.float32(48)], tracker))
    assert first.result.box == (90.0, 70.0, 48.5, 48.0)
    assert (first.result.score, first.result.lost, first.result.confidence) == (1.0, False, None)


def test_a_calibrated_bundle_is_sure_of_the_box_that_was_given(clip):
    first = next(track(clip.folder, clip.boxes[0]))
    assert first.result.confidence == 1.0


def test_frame_is_the_videos_and_may_be_drawn_on(clip, tracker):
    plain = [one.result.box for one in track(clip.folder, clip.boxes[0], tracker)]
    drawn = []
    for one in track(clip.folder, clip.boxes[0], tracker):
        one.frame.image[:] = 0
        drawn.append(one.result.box)
    assert drawn == plain


def test_tracking_starts_where_it_is_told(clip, tracker):
    tracked = list(track(clip.video, clip.boxes[5], tracker, start=5))
    assert [one.frame.index for one in tracked] == list(range(5, 20))
    assert [one.result.frame_index for one in tracked] == list(range(15))


def test_start_behind_the_end(clip, tracker):
    with pytest.raises(SourceError, match="has no frame 20"):
        list(track(clip.video, clip.boxes[0], tracker, start=20))


def test_errors_are_those_of_source_and_box(clip, tracker):
    with pytest.raises(SourceError):
        list(track("nowhere.mp4", clip.boxes[0], tracker))
    with pytest.raises(BoxError):
        list(track(clip.folder, (400, 10, 20, 20), tracker))


@pytest.mark.parametrize("stop", [1, 5, None])
def test_source_is_closed_when_tracking_ends_early_or_late(clip, tracker, stop):
    source = open_source(clip.folder)
    run = track(source, clip.boxes[0], tracker)
    for _ in range(stop or 20):
        next(run)
    run.close()
    with pytest.raises(StopIteration):
        next(source)


def test_targets_begin_where_their_boxes_are_and_a_box_not_reached_is_told(clip, tracker, caplog):
    seeds = [Seed((200, 150, 40, 40), 2, 5), Seed(tuple(clip.boxes[0]), 1), Seed((1, 2, 30, 40), 3, 99)]
    followed = list(follow(clip.folder, seeds, tracker, end=8))
    assert [sorted(one.results) for one in followed] == [[1]] * 5 + [[1, 2]] * 4
    assert followed[5].results[2].box == (200, 150, 40, 40)
    assert [record.getMessage() for record in caplog.records] == ["the box of target 3 at frame 99 was never reached"]


@pytest.mark.parametrize("reverse", [False, True])
def test_backwards_or_in_part_each_frame_has_the_number_of_its_video(clip, tracker, reverse):
    first = 12 if reverse else 6
    tracked = list(track(clip.video, clip.boxes[first], tracker, start=6, end=12, reverse=reverse))
    numbers = list(range(6, 13))
    assert [one.frame.index for one in tracked] == (numbers[::-1] if reverse else numbers)
    found = {one.frame.index: one.result.box for one in tracked}
    assert overlap(np.array([found[number] for number in numbers]), clip.boxes[6:13]).min() > 0.7


def test_many_targets_are_each_followed_as_if_alone(clip, tracker):
    boxes = [(10.0 + number, 20.0, 60.0, 50.0) for number in range(200)]
    seeds = [Seed(box, number) for number, box in enumerate(boxes, start=1)]
    last = list(follow(clip.folder, seeds, tracker, end=2))[-1].results
    assert sorted(last) == list(range(1, 201))
    for number in (1, 77, 200):
        alone = list(track(clip.folder, boxes[number - 1], tracker, end=2))[-1].result
        assert last[number]._replace(time=0) == alone._replace(time=0)
