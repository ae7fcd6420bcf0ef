"""Many videos in one process: each as `follow` alone has it, and over by itself."""

import pytest

from trk import BackendError, BoxError, MultiTracker, SourceError, Tracker, follow, follow_all
from trk.errors import FrameError
from trk.video.seeds import Seed
from trk.video.source import Frame, Source, open_source


@pytest.fixture
def tracker(tiny_bundle):
    return Tracker(tiny_bundle, threads=1)


class Given(Source):
    """Frames that are all there; `live` ones come when they are put into `left`."""

    fps, count = 25.0, None

    def __init__(self, frames, name="given", *, live=False):
        self.name, self.live, self.closed = name, live, False
        self.size_wh = (frames[0].shape[1], frames[0].shape[0])
        self.left = [Frame(number, number / 25, frame) for number, frame in enumerate(frames)]

    def ready(self):
        return bool(self.left)

    def __next__(self):
        if not self.left:
            raise StopIteration
        return self.left.pop(0)

    def close(self):
        self.closed = True


def seed(clip, number=0, **changes):
    return Seed(tuple(clip.boxes[number]), **changes)


def cropped(clip, w, h, first=0, last=8):
    return [frame[:h, :w].copy() for frame in clip.frames[first:last]]


def untimed(followed):
    return followed.frame.index, {target: result._replace(time=0) for target, result in followed.results.items()}


def by_video(reports):
    frames, ends = {}, {}
    for video, followed, error in reports:
        if followed is None:
            assert video not in ends
            ends[video] = error
        else:
            assert video not in ends
            frames.setdefault(video, []).append(followed)
    return frames, ends


def test_each_video_is_followed_as_if_alone_and_ends_by_itself(clip, tracker):
    videos = {
        "file": (clip.video, [seed(clip), Seed((200, 150, 40, 40), 7, 3), seed(clip, 9, frame=9)]),
        "folder": (clip.folder, [seed(clip, 5, frame=5)]),
        "short": (Given(cropped(clip, 250, 200)), [seed(clip, target=2)]),
    }
    expected = {name: [untimed(one) for one in follow(*asked, tracker)] for name, asked in list(videos.items())[:2]}
    frames, ends = by_video(follow_all(videos, MultiTracker(tracker, threads=2)))
    assert ends == {"file": None, "folder": None, "short": None}
    assert list(ends) == ["short", "file", "folder"]
    short = follow(Given(cropped(clip, 250, 200)), [seed(clip, target=2)], tracker)
    expected["short"] = [untimed(one) for one in short]
    assert {name: [untimed(one) for one in found] for name, found in frames.items()} == expected
    assert all(sum(one.stages) > 0 for found in frames.values() for one in found)


def test_video_that_breaks_off_is_over_with_its_error_and_the_others_go_on(clip, tracker, tmp_path, caplog):
    data = clip.video.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) * 7 // 10])
    broken = cropped(clip, 320, 240)
    broken[4] = broken[4][..., 0]
    videos = {
        "good": (clip.folder, [seed(clip)]),
        "nowhere": ("nowhere.mp4", [seed(clip)]),
        "cut": (tmp_path / "cut.mp4", [seed(clip)]),
        "outside": (clip.folder, [Seed((400, 10, 20, 20))]),
        "grey": (Given(broken), [seed(clip)]),
        "late": (clip.folder, [seed(clip, frame=99)]),
    }
    frames, ends = by_video(follow_all(videos, tracker))
    kinds = {"good": type(None), "nowhere": SourceError, "cut": SourceError, "outside": BoxError, "grey": FrameError}
    assert {name: type(error) for name, error in ends.items()} == {**kinds, "late": SourceError}
    assert "none of the frames that the boxes are for" in str(ends["late"])
    assert "late: the box of target 1 at frame 99 was never reached" in [one.getMessage() for one in caplog.records]
    assert [untimed(one) for one in frames["good"]] == [untimed(o) for o in follow(clip.folder, [seed(clip)], tracker)]
    assert (len(frames["grey"]), 3 < len(frames["cut"]) < 20) == (4, True)
    assert set(frames) == {"good", "grey", "cut"}


def test_search_that_fails_for_one_video_leaves_the_others_where_they_were(clip, tracker, monkeypatch):
    real = Tracker.update

    def failing(lane, frame):
        if frame.shape == (200, 250, 3) and lane.state.target.frame_index == 2:
            raise BackendError("the GPU's memory is full")
        return real(lane, frame)

    monkeypatch.setattr(Tracker, "update", failing)
    videos = {
        "first": (Given(cropped(clip, 320, 240)), [seed(clip)]),
        "large": (Given(cropped(clip, 250, 200)), [seed(clip)]),
        "last": (Given(cropped(clip, 310, 240)), [seed(clip)]),
    }
    frames, ends = by_video(follow_all(videos, tracker))
    assert str(ends["large"]) == "the GPU's memory is full"
    assert [len(frames[name]) for name in videos] == [8, 3, 8]
    for name, width in (("first", 320), ("last", 310)):
        alone = [untimed(one) for one in follow(Given(cropped(clip, width, 240)), [seed(clip)], tracker)]
        assert [untimed(one) for one in frames[name]] == alone


def test_no_more_are_open_than_asked_for_and_all_are_closed(clip, tracker, monkeypatch):
    opened = []

    def opening(source, *span, ahead):
        opened.append(source)
        assert sum(not one.closed for one in opened) <= 2
        return source

    monkeypatch.setattr("trk.many_videos.open_span", opening)
    videos = {str(n): (Given(cropped(clip, 320, 240, 0, 2 + n)), [seed(clip)]) for n in range(5)}
    run = follow_all(videos, tracker, at_once=2)
    seen = [one.video for one in run]
    assert sorted({*seen}) == list("01234")
    assert seen[-1] == "4"
    assert all(source.closed for source in opened)
    videos = {str(n): (Given(cropped(clip, 320, 240)), [seed(clip)]) for n in range(2)}
    run = follow_all(videos, tracker)
    next(run)
    run.close()
    assert all(source.closed for source, _ in videos.values())


def test_camera_waits_for_no_other(clip, tracker):
    slow, fast = (Given(clip.frames[:1], live=True) for _ in range(2))
    run = follow_all({"slow": (slow, [seed(clip)]), "fast": (fast, [seed(clip)])}, tracker)
    assert [next(run).video for _ in range(2)] == ["slow", "fast"]
    for number in range(1, 6):
        fast.left.append(Frame(number, number / 25, clip.frames[number]))
        report = next(run)
        assert (report.video, report.followed.results[1].frame_index) == ("fast", number)
    slow.left.append(Frame(1, 0.2, clip.frames[5]))
    report = next(run)
    assert (report.video, report.followed.results[1].frame_index) == ("slow", 1)
    run.close()


def test_nothing_to_follow_is_nothing(tracker):
    assert list(follow_all({}, tracker)) == []


def test_part_of_each_video_and_other_formats_of_boxes(clip, tracker):
    x, y, w, h = clip.boxes[6]
    shares = Seed(((x + w / 2) / 320, (y + h / 2) / 240, w / 320, h / 240))
    videos = {name: (clip.video, [shares]) for name in "ab"}
    frames, _ = by_video(follow_all(videos, tracker, form="cxcywh", relative=True, start=6, end=9))
    for found in frames.values():
        assert [one.frame.index for one in found] == [6, 7, 8, 9]
        assert found[0].results[1].box == pytest.approx((x, y, w, h))


def test_targets_of_the_callers_tracker_are_left_alone(clip, tracker):
    targets = MultiTracker(tracker, threads=1)
    mine = targets.add(clip.frames[0], (10, 20, 60, 50))
    kept = targets.snapshot()[mine].target
    with open_source(clip.folder) as source:
        frames, _ = by_video(follow_all({"a": (source, [seed(clip)])}, targets, end=3))
    assert len(frames["a"]) == 4
    assert (targets.ids, targets.snapshot()[mine].target) == ([mine], kept)
