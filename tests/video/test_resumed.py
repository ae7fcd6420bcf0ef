from pathlib import Path

import small_clips

from trk.video.resumed import Resumed
from trk.video.source import open_source


def test_a_frame_that_was_given_back_comes_first_and_nothing_is_left_out(tmp_path: Path) -> None:
    source = open_source(small_clips.write_clip(tmp_path / "clip.mkv", frames=10))
    next(source)
    second = next(source)
    resumed = Resumed(second, source)
    assert (resumed.name, resumed.size_wh, resumed.fps, resumed.live) == ("clip.mkv", small_clips.SIZE_WH, 25, False)
    assert next(resumed) is second
    assert [frame.index for frame in resumed] == list(range(2, 10))


def test_closing_it_closes_the_source(tmp_path: Path) -> None:
    source = open_source(small_clips.write_clip(tmp_path / "clip.mkv", frames=10))
    resumed = Resumed(next(source), source)
    resumed.close()
    assert list(source) == []
