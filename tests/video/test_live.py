"""Streams over loopback: MJPEG over HTTP and H.264 over RTSP that stall, die and come back."""

import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import small_clips
from streams import ENCODING, SIZE, Camera, http_camera, number_of, rtsp_camera

from trk.errors import SourceError
from trk.video import live
from trk.video.live import Capture, LiveSource, open_url
from trk.video.source import Frame, open_source, public_name
from trk.video.span import Span


@pytest.fixture(params=[http_camera, rtsp_camera], ids=["http", "rtsp"])
def camera(request: pytest.FixtureRequest) -> Iterator[Camera]:
    with request.param() as camera:
        yield camera


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *words: object) -> None:
        pass


HELD = 3
"""Frames that FFmpeg may keep until the next ones come."""


def until(done: Callable[[], bool]) -> None:
    """Wait for what another thread does."""
    deadline = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "BACK_OFF", (0.05,))
    monkeypatch.setattr(live, "STALL_SECONDS", 1.0)


def test_a_slow_reader_gets_the_newest_frame(camera: Camera) -> None:
    with open_source(camera.url) as source:
        assert isinstance(source, LiveSource)
        assert (source.live, source.size_wh, source.count) == (True, SIZE, None)
        camera.turns = threading.Semaphore(0)
        lags = []
        for asked in range(4):
            goal = camera.sent + 40
            camera.turns.release(40)
            # Each is read, though none is asked for.
            until(lambda goal=goal, read=asked + 1: camera.sent >= goal and source.dropped + read + HELD >= camera.sent)
            lags.append((camera.sent - number_of(next(source).image)) % 256)
    # 40 frames were sent between two reads; a queue would be 160 behind by now.
    assert max(lags) <= HELD + 1


def test_the_first_picture_does_not_wait_for_the_next_key_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENCODING, "g", "250")
    with rtsp_camera() as camera:
        camera.interval = 0.02
        with open_source(camera.url) as source:
            next(source)
            assert camera.sent < 250


def test_frames_are_numbered_and_timed_as_delivered(camera: Camera) -> None:
    with open_source(camera.url) as source:
        frames = [next(source) for _ in range(10)]
    assert [frame.index for frame in frames] == list(range(10))
    assert frames[0].time == 0.0
    assert all(one.time <= other.time for one, other in itertools.pairwise(frames))
    assert list(source) == []


@pytest.mark.parametrize("then", ["end", "stall"])
def test_a_stream_that_breaks_off_is_opened_again(camera: Camera, caplog: pytest.LogCaptureFixture, then: str) -> None:
    camera.plans = [(15, then), (0, "refuse"), (10_000, "end")]
    with caplog.at_level(logging.WARNING, "trk.video"), open_source(camera.url) as source:
        seen = 0
        while camera.connections < 3 or seen < 15:
            next(source)
            seen += 1
        assert isinstance(source, LiveSource)
        assert source.reconnects == 1
    said = [record.getMessage() for record in caplog.records]
    assert any("is lost" in line for line in said)
    assert "is back" in said[-1]
    assert not any("secret" in line or "hidden" in line for line in said)


def test_a_stream_that_does_not_come_back_ends_with_an_error(camera: Camera) -> None:
    camera.plans = [(5, "end"), (0, "refuse")]
    source = open_url(camera.url, patience=0.5)
    with source, pytest.raises(SourceError, match=r"gave no frame for 0.5 s") as caught:
        list(source)
    assert "secret" not in str(caught.value)


def test_a_picture_of_another_size_is_told(camera: Camera) -> None:
    camera.plans = [(5, "end"), (10_000, "end")]
    with open_source(camera.url) as source:
        next(source)
        camera.size_wh = (SIZE[0] * 2, SIZE[1])
        with pytest.raises(SourceError, match=r"changed from 96x64 to 192x64"):
            list(source)


def test_nobody_there_is_told_without_the_password(camera: Camera) -> None:
    camera.plans = [(0, "refuse")]
    with pytest.raises(SourceError, match=r"(http|rtsp)://127.0.0.1:\d+/stream can't be opened") as caught:
        open_source(camera.url)
    assert "secret" not in str(caught.value)
    assert "hidden" not in str(caught.value)


def test_a_file_behind_a_url_is_read_whole(tmp_path: Path) -> None:
    video = small_clips.write_clip(tmp_path / "a clip.mp4", container={"movflags": "+faststart"})
    with open_source(video.as_uri()) as source:
        assert [frame.index for frame in source] == list(range(40))
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            with open_source(f"http://127.0.0.1:{server.server_port}/a%20clip.mp4") as source:
                assert not source.live
                assert [frame.index for frame in source] == list(range(40))
        finally:
            server.shutdown()
            thread.join()


def test_a_camera_that_is_not_there_is_told() -> None:
    with pytest.raises(SourceError, match="camera 917 gives no picture"):
        open_source("917")


def test_a_camera_unplugged_is_told_after_a_while(tmp_path: Path) -> None:
    video = str(small_clips.write_clip(tmp_path / "camera.avi", codec="mjpeg", frames=5))
    plugs = iter([lambda: Capture(video)])

    def plug() -> Capture:
        opener = next(plugs, None)
        if opener is None:
            raise SourceError("camera 0 gives no picture")
        return opener()

    with LiveSource(plug, "camera 0", patience=0.3) as source, pytest.raises(SourceError, match=r"camera 0 gave no"):
        list(source)


def test_it_is_ready_when_there_is_a_picture_that_was_not_delivered_or_none_will_come(tmp_path: Path) -> None:
    gate = threading.Semaphore(0)
    video = str(small_clips.write_clip(tmp_path / "camera.avi", codec="mjpeg", frames=5))

    class Gated(Capture):
        def __next__(self) -> Frame:
            gate.acquire()
            return super().__next__()

    with Span(LiveSource(lambda: Gated(video), "camera 0"), end=2) as source:
        assert source.live
        for _ in range(2):
            assert not source.ready()
            gate.release()
            until(source.ready)
            next(source)
        gate.release(9)  # lets its thread end
        source.close()
        assert source.ready()


def test_live_pictures_are_not_read_backwards(camera: Camera) -> None:
    source = open_source(camera.url)
    with source, pytest.raises(SourceError, match="--reverse needs a video file"):
        source.backwards()


def test_public_names() -> None:
    assert public_name("rtsp://me:pw@10.0.0.2:554/live?token=1") == "rtsp://10.0.0.2:554/live"
    assert public_name("clips/a@b?.mp4") == "clips/a@b?.mp4"
