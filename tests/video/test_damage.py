"""Damage that a reader must not take for the end of the file, on files FFmpeg wrote and we spoiled.

OpenCV's reader answers False to every one of these, exactly as at the end of a good file.
"""

import itertools
import random
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from small_clips import packets, write_clip

from trk.errors import SourceError
from trk.video.source import Frame, open_source

Spoil = Callable[[bytes, list[tuple[int, int]]], bytes]


def zeros(data: bytes, spans: list[tuple[int, int]]) -> bytes:
    at, size = spans[len(spans) // 2]
    return data[:at] + bytes(size) + data[at + size :]


def noise(data: bytes, spans: list[tuple[int, int]]) -> bytes:
    at, size = spans[len(spans) // 2]
    return data[:at] + random.Random(1).randbytes(size) + data[at + size :]


def hole(data: bytes, spans: list[tuple[int, int]]) -> bytes:
    """Overwrite everything, headers too, from the middle packet on to the sixth after it."""
    start, end = spans[len(spans) // 2][0], spans[len(spans) // 2 + 6][0]
    return data[:start] + bytes(end - start) + data[end:]


def cut(data: bytes, spans: list[tuple[int, int]]) -> bytes:
    """End the file inside a packet."""
    at, size = spans[len(spans) * 2 // 3]
    return data[: at + size // 2]


def cut_cleanly(data: bytes, spans: list[tuple[int, int]]) -> bytes:
    """End the file between two packets: nothing that is read is broken."""
    return data[: spans[len(spans) * 2 // 3][0]]


def until_error(path: Path) -> tuple[list[Frame], str | None]:
    """The frames delivered, and the error that ended them."""
    frames: list[Frame] = []
    try:
        with open_source(path) as source:
            for frame in source:
                frames.append(frame)
    except SourceError as error:
        return frames, str(error)
    return frames, None


REALTIME = {"deadline": "realtime", "cpu-used": "8"}
CODECS = {
    "a.mp4": ("libx264", {"bf": "0", "g": "12"}, {"movflags": "+faststart"}),
    "b.mp4": ("libx264", {"bf": "3", "g": "12"}, {"movflags": "+faststart"}),
    "h.mp4": ("libx265", {"x265-params": "log-level=none:keyint=12"}, {"movflags": "+faststart"}),
    "a.mkv": ("libx264", {"bf": "0", "g": "12"}, {"cluster_time_limit": "400"}),
    "v.webm": ("libvpx", {"g": "12", "auto-alt-ref": "0", "b": "1M", **REALTIME}, {"cluster_time_limit": "400"}),
    "a.avi": ("mpeg4", {"qscale": "2"}, {}),
    "m.avi": ("mjpeg", {}, {}),
    "a.ts": ("libx264", {"bf": "0", "g": "12"}, {}),
}


@pytest.fixture(scope="module")
def good_clip(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The whole file of a row of CODECS, encoded once."""
    folder = tmp_path_factory.mktemp("good")

    @cache
    def make(name: str) -> Path:
        codec, options, container = CODECS[name]
        return write_clip(folder / name, codec=codec, options=options, container=container, frames=60)

    return make


@pytest.mark.parametrize("spoil", [zeros, noise, hole, cut, cut_cleanly])
@pytest.mark.parametrize("name", CODECS)
def test_damage_is_told_after_every_frame_before_it(
    tmp_path: Path, good_clip: Callable[[str], Path], name: str, spoil: Spoil
) -> None:
    good = good_clip(name)
    if name == "a.ts" and spoil is cut_cleanly:
        pytest.skip("MPEG-TS announces no length: one that ends between two packets is a shorter recording")
    if name == "v.webm" and spoil in (zeros, noise):
        pytest.skip("VP8 has no marks inside a packet: it decodes whatever it gets")
    bad = tmp_path / f"bad.{name.split('.')[1]}"
    bad.write_bytes(spoil(good.read_bytes(), packets(good)))

    frames, error = until_error(bad)
    assert error is not None, f"{len(frames)} of 60 frames, and no word"
    assert str(bad) in error
    assert f"frame {len(frames)} " in error
    assert "\n" not in error
    # Reordering may hold back a few frames around the damaged one; none that is delivered may be wrong.
    assert 20 <= len(frames) <= 40
    with open_source(good) as source:
        for frame, expected in zip(frames, itertools.islice(source, len(frames)), strict=True):
            assert frame.time == pytest.approx(expected.time, abs=1e-3)
            assert np.array_equal(frame.image, expected.image), f"frame {frame.index} is not the one encoded"


def test_an_mp4_that_lost_its_index_is_told(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4")
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(SourceError, match=r"not a video that FFmpeg can read .*or it was cut short"):
        open_source(path)


def test_matroska_with_sound_accounts_for_the_bytes_between_pictures(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mkv", sound_seconds=2, times_ms=[200 * number for number in range(40)])
    frames, error = until_error(path)
    assert (len(frames), error) == (40, None)
