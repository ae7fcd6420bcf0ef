"""Small real clips for the tests of video/: pictures that tell their number, files FFmpeg wrote, and their packets."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

SIZE_WH = (160, 120)


def picture(number: int, size_wh: tuple[int, int] = SIZE_WH) -> NDArray[np.uint8]:
    """A smooth scene whose content tells the frame number: compresses well, decodes to something recognisable."""
    width, height = size_wh
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    waves = [127 + 100 * np.sin(x / 17 + number / 3 + c) * np.cos(y / 13 - number / 5 + c) for c in range(3)]
    image = np.stack(waves, axis=-1).astype(np.uint8)
    cv2.circle(image, (20 + 3 * number % (width - 40), height // 2), 12, (30, 60, 240), -1, cv2.LINE_AA)
    return image


def write_clip(
    path: Path,
    *,
    codec: str = "libx264",
    frames: int = 40,
    size_wh: tuple[int, int] = SIZE_WH,
    times_ms: Sequence[int] | None = None,
    options: dict[str, str] | None = None,
    container: dict[str, str] | None = None,
    form: str | None = None,
    sound_seconds: float = 0.0,
) -> Path:
    """Encode pictures 0, 1, ... to `path`: at 25 a second, or at the times given."""
    tick = Fraction(1, 1000) if times_ms else Fraction(1, 25)
    with av.open(f"file:{path}", "w", format=form, options=container or {}) as output:
        stream = output.add_stream(codec, rate=25, options=options or {})
        stream.width, stream.height = size_wh
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.time_base = tick
        sound = output.add_stream("aac", rate=48000) if sound_seconds else None
        output.start_encoding()
        for number in range(len(times_ms) if times_ms else frames):
            frame = av.VideoFrame.from_ndarray(picture(number, size_wh), format="bgr24")
            frame = frame.reformat(format=stream.pix_fmt)
            frame.pts, frame.time_base = times_ms[number] if times_ms else number, tick
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        for start in range(0, int(48000 * sound_seconds), 1024):
            noise = np.random.default_rng(start).normal(0, 0.05, (2, 1024)).astype(np.float32)
            block = av.AudioFrame.from_ndarray(noise, format="fltp", layout="stereo")
            block.sample_rate, block.pts, block.time_base = 48000, start, Fraction(1, 48000)
            output.mux(sound.encode(block) if sound else [])
        if sound is not None:
            output.mux(sound.encode(None))
    return path


def packets(path: Path) -> list[tuple[int, int]]:
    """Position and size in bytes of every picture packet of the file, in decoding order."""
    with av.open(str(path)) as container:
        return [(p.pos, p.size) for p in container.demux(container.streams.video[0]) if p.size]
