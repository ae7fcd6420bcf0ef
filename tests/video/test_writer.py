import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from small_clips import picture

from trk.errors import SinkError
from trk.video import writer as writer_module
from trk.video.source import open_source
from trk.video.writer import ENCODERS, Encoder, VideoWriter, open_video

SIZE_WH = (160, 120)


def write_frames(path: Path, times: list[float], size_wh: tuple[int, int] = SIZE_WH, fps: float | None = 25.0) -> None:
    with open_video(path, size_wh, fps) as writer:
        for number, time in enumerate(times):
            writer.write(picture(number, size_wh), time)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".MP4"])
def test_what_is_written_plays_with_the_same_pictures_times_and_rate(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    times = [number / 25 for number in range(30)]
    write_frames(path, times)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert float(stream.average_rate) == pytest.approx(25, rel=0.01)
    with open_source(path) as source:
        frames = list(source)
    np.testing.assert_allclose([frame.time for frame in frames], times, atol=1e-3)
    for frame in frames:
        assert np.abs(frame.image.astype(int) - picture(frame.index)).mean() < 6
        assert np.abs((frame.image.astype(int) - picture(frame.index)).mean(axis=(0, 1))).max() < 2.5, "a colour cast"


@pytest.mark.parametrize("fps", [24000 / 1001, 30000 / 1001, 25.0, 60.0, 12.5])
def test_the_rate_of_broadcast_video_is_kept_exactly(tmp_path: Path, fps: float) -> None:
    times = [number / fps for number in range(30)]
    write_frames(tmp_path / "out.mp4", times, fps=fps)
    with open_source(tmp_path / "out.mp4") as source:
        assert source.fps == pytest.approx(fps, rel=1e-9)
        np.testing.assert_allclose([frame.time for frame in source], times, atol=1e-9)


def test_variable_rate_is_kept(tmp_path: Path) -> None:
    steps = np.random.default_rng(3).choice([0.02, 0.033, 0.1, 0.9], 30)
    times = [0.0, *np.cumsum(steps)[:-1].tolist()]
    write_frames(tmp_path / "out.mp4", times)
    with open_source(tmp_path / "out.mp4") as source:
        np.testing.assert_allclose([frame.time for frame in source], times, atol=2e-5)


def test_the_first_frame_written_is_at_zero(tmp_path: Path) -> None:
    write_frames(tmp_path / "out.mp4", [7.2, 7.24, 7.28])
    with open_source(tmp_path / "out.mp4") as source:
        np.testing.assert_allclose([frame.time for frame in source], [0, 0.04, 0.08], atol=1e-4)


def test_times_that_stand_still_or_run_back_do_not_stop_the_writing(tmp_path: Path) -> None:
    write_frames(tmp_path / "out.mp4", [0.0, 0.04, 0.04, 0.02, 0.12])
    with open_source(tmp_path / "out.mp4") as source:
        times = [frame.time for frame in source]
    assert len(times) == 5
    assert (np.diff(times) > 0).all()


@pytest.mark.parametrize("size_wh", [(161, 121), (160, 121), (161, 120), (2, 2), (16, 1), (641, 479)])
def test_odd_sizes_lose_nothing(tmp_path: Path, size_wh: tuple[int, int]) -> None:
    width, height = size_wh
    flat = [np.full((height, width, 3), 40 + 60 * number, np.uint8) for number in range(3)]
    with open_video(tmp_path / "out.mp4", size_wh, 25.0) as writer:
        for number, image in enumerate(flat):
            writer.write(image, number / 25)
    with open_source(tmp_path / "out.mp4") as source:
        assert source.size_wh == (width + width % 2, height + height % 2)
        for frame in source:
            assert np.abs(frame.image.astype(int) - 40 - 60 * frame.index).max() < 12, (
                "the added edge is not the last row"
            )


def test_mp4_can_be_played_before_it_is_whole(tmp_path: Path) -> None:
    write_frames(tmp_path / "out.mp4", [number / 25 for number in range(10)])
    data = (tmp_path / "out.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_the_colour_matrix_is_marked(tmp_path: Path) -> None:
    write_frames(tmp_path / "out.mp4", [0.0, 0.04])
    with av.open(str(tmp_path / "out.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.colorspace, context.color_range) == (6, 1)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_error_or_ctrl_c_leaves_a_shorter_complete_video(
    tmp_path: Path, suffix: str, error: type[BaseException]
) -> None:
    path = tmp_path / f"out{suffix}"
    with pytest.raises(error), open_video(path, SIZE_WH, 25.0) as writer:
        write_until(writer, 17, error)
    assert [left.name for left in tmp_path.iterdir()] == [path.name]
    with open_source(path) as source:
        assert len(list(source)) == 17


def write_until(writer: VideoWriter, count: int, error: type[BaseException]) -> None:
    for number in range(count):
        writer.write(picture(number), number / 25)
    if error is KeyboardInterrupt:
        os.kill(os.getpid(), signal.SIGINT)
    raise error


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "terminated"])
def test_a_signal_at_any_moment_of_a_run_leaves_a_playable_video(tmp_path: Path, number: int) -> None:
    code = (
        "import signal, sys\n"
        "import numpy as np\n"
        "signal.signal(signal.SIGTERM, signal.default_int_handler)\n"
        "from trk.video.writer import open_video\n"
        "noise = np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)\n"
        "with open_video(sys.argv[1], (320, 240), 25.0) as writer:\n"
        "    for number in range(10**6):\n"
        "        writer.write(np.roll(noise, number, 1), number / 25)\n"
        "        if number % 10 == 9: print(number, flush=True)\n"
    )
    for delay in range(3):
        path = tmp_path / f"{delay}.mp4"
        with subprocess.Popen(
            [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as run:
            assert run.stdout is not None
            for _ in range(delay + 1):
                last = int(run.stdout.readline())
            run.send_signal(number)
            _, errors = run.communicate(timeout=60)
        assert "KeyboardInterrupt" in errors
        with open_source(path) as source:
            assert len(list(source)) > last
    assert len(list(tmp_path.iterdir())) == 3


def test_no_frame_means_no_file(tmp_path: Path) -> None:
    (tmp_path / "out.mp4").write_text("of an earlier run")
    with open_video(tmp_path / "out.mp4", SIZE_WH, 25.0):
        pass
    assert (tmp_path / "out.mp4").read_text() == "of an earlier run"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_full_disk_is_told_and_leaves_no_broken_video(tmp_path: Path) -> None:
    code = (
        "import resource, sys\n"
        "import numpy as np\n"
        "from trk.errors import SinkError\n"
        "from trk.video.writer import open_video\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))\n"
        "noise = np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)\n"
        "try:\n"
        "    with open_video(sys.argv[1], (320, 240), 25.0) as writer:\n"
        "        for number in range(300): writer.write(np.roll(noise, number, 1), number / 25)\n"
        "except SinkError as error: print(error)\n"
    )
    for suffix in (".mp4", ".mkv"):
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / f"out{suffix}")], capture_output=True, text=True, check=True
        )
        assert "can't go on writing" in done.stdout
        assert done.stdout.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nowhere/out.mp4", "no folder"),
        ("folder.mp4", "it is a folder"),
        ("out.gif", "name a file that ends in .mp4, .mkv, .mov"),
        ("out", "name a file that ends in .mp4, .mkv, .mov"),
    ],
)
def test_a_place_that_cannot_be_written_is_told_at_once(tmp_path: Path, name: str, says: str) -> None:
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(SinkError, match=says):
        open_video(tmp_path / name, SIZE_WH, 25.0)
    assert [left.name for left in tmp_path.iterdir()] == ["folder.mp4"]


def test_a_frame_of_another_size_is_refused(tmp_path: Path) -> None:
    with open_video(tmp_path / "out.mp4", SIZE_WH, None) as writer:
        writer.write(picture(0), 0.0)
        with pytest.raises(SinkError, match="a frame of 80x60 in a video of 160x120"):
            writer.write(picture(1, (80, 60)), 0.04)


def test_a_video_that_is_discarded_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "out.mp4").write_text("of an earlier run")
    with open_video(tmp_path / "out.mp4", SIZE_WH, 25.0) as writer:
        writer.write(picture(0), 0.0)
        writer.discard()
        writer.discard()
    assert (tmp_path / "out.mp4").read_text() == "of an earlier run"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("fps", [25.0, 24000 / 1001, 119.88, None])
def test_an_ffmpeg_without_h264_writes_something_else_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fps: float | None
) -> None:
    monkeypatch.setattr(writer_module, "ENCODERS", (Encoder("libnone264", {}), ENCODERS[-1]))
    with caplog.at_level(logging.WARNING, "trk.video"), open_video(tmp_path / "out.mp4", SIZE_WH, fps) as writer:
        for number in range(10):
            writer.write(picture(number), number / (fps or 25))
    assert "no encoder for H.264" in caplog.text
    with open_source(tmp_path / "out.mp4") as source:
        frames = list(source)
    assert len(frames) == 10
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(10) / (fps or 25), atol=1e-3)
    assert np.abs(frames[7].image.astype(int) - picture(7)).mean() < 12


def test_an_ffmpeg_without_any_encoder_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "ENCODERS", (Encoder("libnone264", {}),))
    with pytest.raises(SinkError, match="this FFmpeg has no libnone264; PyAV's wheels"):
        open_video(tmp_path / "out.mp4", SIZE_WH, 25.0)
    assert list(tmp_path.iterdir()) == []
