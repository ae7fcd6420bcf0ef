import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import small_clips

from trk.errors import SourceError
from trk.video.pipe import open_pipe, raw_options
from trk.video.source import Frame, open_source


def piped(data: bytes, raw: str | None = None) -> list[Frame]:
    reading, writing = os.pipe()

    def write() -> None:
        with os.fdopen(writing, "wb") as stream, contextlib.suppress(BrokenPipeError):
            stream.write(data)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        with open_pipe(reading, raw) as source:
            return list(source)
    finally:
        os.close(reading)
        thread.join()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("clip.mkv", {}),
        ("clip.ts", {"form": "mpegts"}),
        ("clip.mjpeg", {"codec": "mjpeg", "form": "mjpeg"}),
        ("clip.mp4", {"container": {"movflags": "frag_keyframe+empty_moov"}}),
    ],
)
def test_any_container_through_a_pipe(tmp_path: Path, name: str, options: dict[str, object]) -> None:
    video = small_clips.write_clip(tmp_path / name, **options)  # type: ignore[arg-type]
    with open_source(video) as source:
        expected = list(source)
    frames = piped(video.read_bytes())
    assert len(frames) == len(expected) == 40
    for one, other in zip(frames, expected, strict=True):
        assert one.index == other.index
        np.testing.assert_array_equal(one.image, other.image)


def test_bare_pictures() -> None:
    images = [small_clips.picture(number) for number in range(6)]
    frames = piped(b"".join(image.tobytes() for image in images), "160x120:bgr24:10")
    assert [frame.time for frame in frames] == pytest.approx([number / 10 for number in range(6)])
    for frame, image in zip(frames, images, strict=True):
        np.testing.assert_array_equal(frame.image, image)


def test_what_is_no_video_is_told() -> None:
    with pytest.raises(SourceError, match=r"standard input is not a video.*--raw"):
        piped(b"once upon a time " * 100)
    with pytest.raises(SourceError, match="standard input"):
        piped(b"")


@pytest.mark.parametrize("raw", ["", "640", "0x10", "640x480:nope", "640x480:gray:fast", "99999x10"])
def test_raw_that_makes_no_sense(raw: str) -> None:
    with pytest.raises(SourceError, match="--raw"):
        raw_options(raw)


def test_raw_is_for_standard_input_only(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="standard input"):
        open_source(small_clips.write_clip(tmp_path / "clip.mp4"), raw="160x120")


def test_dash_is_standard_input(tmp_path: Path) -> None:
    video = small_clips.write_clip(tmp_path / "clip.mkv")
    code = "from trk.video.source import open_source; print(sum(1 for _ in open_source('-')))"
    with video.open("rb") as stream:
        done = subprocess.run([sys.executable, "-c", code], stdin=stream, capture_output=True, text=True, check=True)
    assert done.stdout == "40\n"
