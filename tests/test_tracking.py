import numpy as np
import pytest

from trk import BoxError, SourceError, Tracker
from trk.bench.ope import overlap
from trk.tracking import track
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
    assert (first.result.score, first.result.lost) == (1.0, False)


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
