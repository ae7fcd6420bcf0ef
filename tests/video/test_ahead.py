import threading
from pathlib import Path

import numpy as np
import pytest
import small_clips

from trk.errors import SourceError
from trk.video.ahead import Ahead
from trk.video.source import Frame, Source, open_source


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "trk-decode"]


def test_frames_are_those_of_the_source(tmp_path: Path) -> None:
    video = small_clips.write_clip(tmp_path / "clip.mp4")
    with open_source(video) as plain, Ahead(open_source(video)) as ahead:
        assert (ahead.name, ahead.size_wh, ahead.fps, ahead.count) == (
            plain.name,
            plain.size_wh,
            plain.fps,
            plain.count,
        )
        for one, other in zip(plain, ahead, strict=True):
            assert (one.index, one.time) == (other.index, other.time)
            np.testing.assert_array_equal(one.image, other.image)
        assert list(ahead) == []
    assert threads() == []


def test_an_error_comes_after_every_frame_before_it(tmp_path: Path) -> None:
    video = small_clips.write_clip(tmp_path / "clip.mkv")
    video.write_bytes(video.read_bytes()[: video.stat().st_size * 7 // 10])
    counts = []
    for source in (open_source(video), Ahead(open_source(video))):
        frames: list[Frame] = []
        with source, pytest.raises(SourceError):
            frames.extend(source)
        counts.append(len(frames))
    assert counts[0] == counts[1] > 5
    assert threads() == []


def test_closing_in_the_middle_stops_the_thread_and_closes_the_source(tmp_path: Path) -> None:
    source = open_source(small_clips.write_clip(tmp_path / "clip.mp4"))
    ahead = Ahead(source)
    assert next(ahead).index == 0
    ahead.close()
    ahead.close()
    assert list(ahead) == []
    assert list(source) == []
    assert threads() == []


class Counting(Source):
    name, size_wh, fps, count = "counting", (4, 4), None, None

    def __init__(self, source: Source) -> None:
        self.read = 0
        self._source = source
        self.settled = threading.Event()

    def __next__(self):  # type: ignore[no-untyped-def]
        self.read += 1
        if self.read == 4:
            self.settled.set()
        return next(self._source)

    def close(self) -> None:
        self._source.close()


def test_no_more_than_the_queue_is_read_ahead(tmp_path: Path) -> None:
    counting = Counting(open_source(small_clips.write_clip(tmp_path / "clip.mp4")))
    with Ahead(counting, depth=2) as ahead:
        next(ahead)
        assert counting.settled.wait(10)  # one delivered, two that wait, one in the thread's hands
        assert counting.read == 4


class Silent(Counting):
    """A source that gives one frame and then waits, as a pipe does."""

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self.released = threading.Event()

    def __next__(self):  # type: ignore[no-untyped-def]
        if self.read:
            self.released.wait(30)
            raise StopIteration
        return super().__next__()


def test_closing_wakes_a_reader_in_another_thread(tmp_path: Path) -> None:
    silent = Silent(open_source(small_clips.write_clip(tmp_path / "clip.mp4")))
    ahead = Ahead(silent)
    next(ahead)
    rest: list[Frame] = []
    reader = threading.Thread(target=lambda: rest.extend(ahead))
    reader.start()
    threading.Timer(0.2, silent.released.set).start()
    ahead.close()
    reader.join(10)
    assert not reader.is_alive()
    assert rest == []
