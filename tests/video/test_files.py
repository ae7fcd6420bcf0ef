import itertools
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from small_clips import picture, write_clip

from trk.errors import SourceError
from trk.video.source import open_source

MATRICES = {  # of the display, as MP4 stores them: 16.16 fixed point, turning clockwise
    90: (0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30),
    180: (-65536, 0, 0, 0, -65536, 0, 0, 0, 1 << 30),
    270: (0, -65536, 0, 65536, 0, 0, 0, 0, 1 << 30),
}
TURNS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}


def closeness(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(int) - b).mean())


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mp4", "libx264"),
        ("a.mkv", "libx264"),
        ("a.mov", "libx264"),
        ("a.ts", "libx264"),
        ("a.avi", "mpeg4"),
        ("a.mkv", "mjpeg"),
        ("a.mp4", "libx265"),
        ("a.webm", "libvpx"),
        ("a.mpg", "mpeg2video"),
        ("a.y4m", "wrapped_avframe"),
    ],
)
def test_every_frame_of_a_good_file_comes_in_order(tmp_path: Path, name: str, codec: str) -> None:
    quick = {"libx265": {"x265-params": "log-level=none"}, "libvpx": {"deadline": "realtime", "cpu-used": "8"}}
    write_clip(tmp_path / name, codec=codec, frames=30, options=quick.get(codec))
    with open_source(tmp_path / name) as source:
        frames = list(source)
        assert abs(source.count - 30) <= 1, "MPEG-PS only tells when the last picture begins"
        assert source.fps == pytest.approx(25)
    assert len(frames) == 30
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(30) / 25, atol=1e-3)
    for frame in frames:
        others = [closeness(frame.image, picture(frame.index + step)) for step in (-3, 0, 3)]
        assert others[1] == min(others), f"frame {frame.index} shows another moment"


def test_pixels_are_those_opencv_delivers(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4")
    capture = cv2.VideoCapture(str(path))
    with open_source(path) as source:
        for frame in source:
            fine, expected = capture.read()
            assert fine
            assert closeness(frame.image, expected) < 0.5


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mov"])
def test_variable_rate_keeps_the_containers_times(tmp_path: Path, name: str) -> None:
    steps = np.random.default_rng(5).choice([20, 33, 40, 100, 900], 40)
    times = [0, *np.cumsum(steps)[:-1].tolist()]
    write_clip(tmp_path / name, times_ms=times)
    with open_source(tmp_path / name) as source:
        np.testing.assert_allclose([frame.time for frame in source], np.array(times) / 1000, atol=1e-3)


def test_time_begins_at_the_first_frame(tmp_path: Path) -> None:
    write_clip(tmp_path / "late.mp4", times_ms=[2000 + 40 * number for number in range(10)])
    with open_source(tmp_path / "late.mp4") as source:
        np.testing.assert_allclose([frame.time for frame in source], np.arange(10) / 25, atol=1e-4)


def test_a_raw_stream_without_times_gets_them_from_its_rate(tmp_path: Path) -> None:
    write_clip(tmp_path / "raw.h264", form="h264")
    with open_source(tmp_path / "raw.h264") as source:
        np.testing.assert_allclose([frame.time for frame in source], np.arange(40) / source.fps)
        assert source.count is None


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_in_the_metadata_is_applied(tmp_path: Path, degrees: int) -> None:
    plain = write_clip(tmp_path / "plain.mp4", frames=5)
    data = bytearray(plain.read_bytes())
    at = data.index(b"tkhd") + 4 + 40  # version 0: the matrix follows 40 bytes of times, duration, layer and volume
    packed = b"".join(value.to_bytes(4, "big", signed=True) for value in MATRICES[degrees])
    assert data[at : at + 36] == b"".join(v.to_bytes(4, "big") for v in (65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30))
    data[at : at + 36] = packed
    turned = tmp_path / "turned.mp4"
    turned.write_bytes(data)
    with open_source(plain) as upright, open_source(turned) as source:
        assert source.size_wh == ((160, 120) if degrees == 180 else (120, 160))
        for frame, expected in zip(source, upright, strict=True):
            assert (frame.image == cv2.rotate(expected.image, TURNS[degrees])).all()
            assert frame.image.flags.c_contiguous


def test_a_name_full_of_signs_is_only_a_name(tmp_path: Path) -> None:
    path = tmp_path / "a:b [1] %d 'c'.mp4"
    write_clip(path, frames=5)
    with open_source(path) as source:
        assert len(list(source)) == 5


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
def test_sound_that_outlasts_the_picture_is_no_damage(tmp_path: Path, name: str) -> None:
    write_clip(tmp_path / name, sound_seconds=4)
    with open_source(tmp_path / name) as source:
        assert sum(1 for _ in source) == 40


def test_a_recording_that_begins_between_keyframes_starts_at_the_first_good_picture(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.ts", frames=60, options={"x264-params": "open-gop=1:keyint=15:bframes=3"})
    data = path.read_bytes()
    path.write_bytes(data[len(data) // 3 // 188 * 188 :])
    with open_source(path) as source:
        assert 20 < sum(1 for _ in source) < 60


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.mp4", b"this is text and no video\n" * 40, "is not a video that FFmpeg can read"),
        ("a.mkv", bytes(5000), "is not a video that FFmpeg can read"),
        ("a.txt", b"FFmpeg would play this as a terminal session\n" * 40, "it holds text"),
    ],
)
def test_what_is_no_video_is_told(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=says):
        open_source(tmp_path / name)


def test_sound_alone_is_told(tmp_path: Path) -> None:
    path = tmp_path / "song.m4a"
    with av.open(str(path), "w", format="mp4") as output:
        sound = output.add_stream("aac", rate=48000)
        block = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format="fltp", layout="stereo")
        block.sample_rate = 48000
        output.mux(sound.encode(block))
        output.mux(sound.encode(None))
    with pytest.raises(SourceError, match="sound or data without any picture"):
        open_source(path)


def test_a_video_without_frames_is_told(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mkv", frames=0)
    with pytest.raises(SourceError, match=r"no video frames|not a video"):
        open_source(path)


def test_a_picture_size_that_changes_is_told(tmp_path: Path) -> None:
    first = write_clip(tmp_path / "1.h264", form="h264", frames=6)
    second = write_clip(tmp_path / "2.h264", form="h264", frames=6, size_wh=(192, 96))
    both = tmp_path / "both.h264"
    both.write_bytes(first.read_bytes() + second.read_bytes())
    with pytest.raises(SourceError, match="changes from 160x120 to 192x96 at frame 6"):
        list(open_source(both))
    with open_source(both) as source:
        assert [frame.index for frame in itertools.islice(source, 6)] == list(range(6))
