import shutil
from pathlib import Path

import numpy as np
import pytest
import small_clips

from trk.errors import SourceError, UsageError
from trk.video.backwards import BackwardsVideo
from trk.video.source import Frame, open_source
from trk.video.span import Span, open_span, parse_position

CLIPS = {
    "b-frames": {"options": {"bf": "3", "g": "12"}},
    "open groups": {"options": {"bf": "3", "g": "10", "x264-params": "open-gop=1"}},
    "one long group": {"options": {"g": "250"}},
    "key frames only": {"codec": "mjpeg"},
    "uneven times": {"times_ms": [0, 40, 80, 200, 210, 300, 600, 640, 680, 1000]},
}


@pytest.fixture(params=CLIPS)
def video(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return small_clips.write_clip(tmp_path / "clip.mkv", **CLIPS[request.param])


@pytest.mark.parametrize("kept", [3, 1000])
def test_backwards_are_the_same_frames_the_other_way_round(
    video: Path, monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    monkeypatch.setattr("trk.video.backwards.MIN_KEPT", kept)
    monkeypatch.setattr("trk.video.backwards.KEPT_BYTES", 0)
    with open_source(video) as source:
        forwards = list(source)
    with open_source(video).backwards() as source:
        backwards = list(source)
    assert [frame.index for frame in backwards] == [frame.index for frame in reversed(forwards)]
    for one, other in zip(backwards, reversed(forwards), strict=True):
        assert one.time == pytest.approx(other.time, abs=1e-6)
        np.testing.assert_array_equal(one.image, other.image)


@pytest.mark.parametrize("start", [1, 11, 12, 25, 0.5])
def test_a_later_start_gives_the_same_frames(video: Path, start: float) -> None:
    with open_source(video) as source:
        wanted = [frame for frame in source if (frame.index if isinstance(start, int) else frame.time) >= start]
    if not wanted:
        pytest.skip("the clip ends before")
    with open_span(video, start) as source:
        found = list(source)
    assert [frame.index for frame in found] == [frame.index for frame in wanted]
    for one, other in zip(found, wanted, strict=True):
        assert one.time == pytest.approx(other.time, abs=1e-6)
        np.testing.assert_array_equal(one.image, other.image)


@pytest.mark.parametrize("form", ["mp4", "mkv", "ts", "avi", "h264", "webm"])
def test_a_later_start_in_every_container(tmp_path: Path, form: str) -> None:
    codec = {"avi": "mpeg4", "webm": "libvpx"}.get(form, "libx264")
    options = {"libx264": {"bf": "2", "g": "8"}, "mpeg4": {"bf": "2", "g": "8"}}.get(codec, {"g": "8"})
    video = small_clips.write_clip(tmp_path / f"clip.{form}", codec=codec, options=options)
    with open_source(video) as source:
        wanted = list(source)[21:]
    with open_span(video, 21) as source:
        found = list(source)
    assert [frame.index for frame in found] == [frame.index for frame in wanted]
    for one, other in zip(found, wanted, strict=True):
        assert one.time == pytest.approx(other.time, abs=1e-6)
        np.testing.assert_array_equal(one.image, other.image)


def test_a_later_start_decodes_from_the_key_frame_before_it(tmp_path: Path) -> None:
    video = small_clips.write_clip(tmp_path / "clip.mp4", options={"g": "10", "bf": "0"})
    position, size = small_clips.packets(video)[5]
    data = bytearray(video.read_bytes())
    data[position : position + size] = bytes(size)  # what is not decoded can't do harm
    video.write_bytes(data)
    with open_span(video, 23) as source:
        assert [frame.index for frame in source] == list(range(23, 40))
    with pytest.raises(SourceError, match="frame 5 can't be decoded"), open_span(video, 8) as source:
        list(source)


def test_images_before_a_later_start_are_not_read(tmp_path: Path, clip: object) -> None:
    folder = Path(shutil.copytree(clip.folder, tmp_path / "images"))  # type: ignore[attr-defined]
    sorted(folder.iterdir())[3].write_bytes(b"")
    with open_span(folder, 6) as source:
        assert [frame.index for frame in source] == list(range(6, 20))
    with open_span(folder, 0.16 + 0.04) as source:
        assert next(source).index == 5


def test_images_go_backwards_too(clip: object) -> None:
    with open_source(clip.folder).backwards(7) as source:  # type: ignore[attr-defined]
        frames = list(source)
    assert [frame.index for frame in frames] == list(range(7, -1, -1))
    np.testing.assert_array_equal(frames[0].image, clip.frames[7])  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (0, None, range(40)),
        (7, 11, range(7, 12)),
        (0.4, 0.8, range(10, 21)),
        (3, 0.2, range(3, 6)),
        (1.2, 30, range(30, 31)),
        (38, 500, range(38, 40)),
    ],
)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("ahead", [False, True])
def test_a_span_has_both_its_ends(
    tmp_path: Path, start: float, end: float | None, expected: range, reverse: bool, ahead: bool
) -> None:
    video = small_clips.write_clip(tmp_path / "clip.mp4")
    with open_span(video, start, end, reverse=reverse, ahead=ahead) as source:
        frames = list(source)
        assert list(source) == []
    wanted = list(expected)
    assert [frame.index for frame in frames] == (wanted[::-1] if reverse else wanted)
    assert [frame.time for frame in frames] == pytest.approx([frame.index / 25 for frame in frames])


@pytest.mark.parametrize("reverse", [False, True])
def test_a_span_without_a_frame_is_told(tmp_path: Path, reverse: bool) -> None:
    video = small_clips.write_clip(tmp_path / "clip.mp4", frames=5)
    with pytest.raises(SourceError, match="has no frame 5"), open_span(video, 5, reverse=reverse) as source:
        list(source)
    with pytest.raises(SourceError, match="comes before"):
        open_span(video, 5, 3)


@pytest.mark.parametrize("how", ["hole", "cut"])
def test_missing_packets_are_told_before_reading_backwards(tmp_path: Path, how: str) -> None:
    video = small_clips.write_clip(tmp_path / "clip.mkv", options={"g": "10", "bf": "0"})
    position, size = small_clips.packets(video)[25]
    data = bytearray(video.read_bytes())
    if how == "hole":
        data[position : position + size] = bytes(size)
    video.write_bytes(data if how == "hole" else data[:position])
    with pytest.raises(SourceError, match=r"can't be read backwards: .* s"):
        BackwardsVideo(video)


def test_a_picture_that_fails_is_told_after_those_behind_it(tmp_path: Path) -> None:
    video = small_clips.write_clip(tmp_path / "clip.mp4", options={"g": "10", "bf": "0"})
    position, size = small_clips.packets(video)[25]
    data = bytearray(video.read_bytes())
    data[position : position + size] = bytes(size)
    video.write_bytes(data)
    frames: list[Frame] = []
    with pytest.raises(SourceError, match=r"frame 2\d can't be decoded"), BackwardsVideo(video) as source:
        frames.extend(source)
    assert [frame.index for frame in frames[:10]] == list(range(39, 29, -1))
    assert len(frames) < 20


def test_a_stream_without_time_stamps_is_not_read_backwards(tmp_path: Path) -> None:
    raw = small_clips.write_clip(tmp_path / "clip.h264", form="h264")
    with open_source(raw) as source:
        assert len(list(source)) == 40
    with pytest.raises(SourceError, match=r"no time stamps.*ffmpeg|can't be read backwards"):
        open_source(raw).backwards()


@pytest.mark.parametrize(
    ("text", "position"),
    [("40", 40), ("0", 0), ("1.6s", 1.6), ("12s", 12.0), ("1:05", 65.0), ("1:02:03.5", 3723.5), (" 7 ", 7)],
)
def test_positions(text: str, position: float) -> None:
    parsed = parse_position(text, "--start")
    assert parsed == position
    assert type(parsed) is type(position)


@pytest.mark.parametrize("text", ["", "-1", "1.6", "nans", "1:2:3:4", "x", "1e3", "9" * 40])
def test_what_is_no_position(text: str) -> None:
    with pytest.raises(UsageError, match=r"--start .* neither a frame nor a time"):
        parse_position(text, "--start")


def test_an_unopened_rest_is_closed_with_the_span(tmp_path: Path) -> None:
    source = open_source(small_clips.write_clip(tmp_path / "clip.mp4"))
    with Span(source, 2) as span:
        assert next(span).index == 2
    assert list(span) == []
    assert list(source) == []
