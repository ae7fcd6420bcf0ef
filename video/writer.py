"""Annotated video: H.264 in MP4, Matroska or QuickTime, with the source's time stamps."""

import logging
import math
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

import cv2
import numpy as np

from ..errors import SinkError
from .interrupt import uninterrupted
from .partial import PartialFile
from .source import DEFAULT_FPS, Image

if TYPE_CHECKING:
    import av

log = logging.getLogger("trk.video")

# PyAV is imported where a file is opened and not here: 150 ms that a run without video output does not pay.

CONTAINERS: dict[str, tuple[str, dict[str, str]]] = {
    ".mp4": ("mp4", {"movflags": "+faststart"}),
    ".mkv": ("matroska", {}),
    ".mov": ("mov", {"movflags": "+faststart"}),
}
"""By suffix: FFmpeg's name of the container and its options. Faststart: playable before it is downloaded whole."""


@dataclass(frozen=True)
class Encoder:
    """One of FFmpeg's encoders, its options, and the finest clock it can count by."""

    name: str
    options: dict[str, str]
    most_ticks: int = 1 << 31
    """A second."""
    not_h264: str = ""
    """What it writes instead."""


# superfast: 12 ms a 720p frame on one core against 20 for veryfast and 50 for the default, files half as large again.
ENCODERS = (
    Encoder("libx264", {"preset": "superfast", "crf": "20"}),
    Encoder("libopenh264", {"b": "8M"}),
    Encoder("mpeg4", {"qmin": "2", "qmax": "4"}, 65535, "MPEG-4 part 2, which browsers do not play"),
)
"""The first that this FFmpeg has is used. PyAV's wheels have libx264; other builds may lack it."""
MIN_TIMESCALE = 90_000

# What OpenCV's conversion makes (BT.601 matrix, limited range, RGB's own primaries and curve), marked in the stream:
# players guess the matrix of unmarked video by its size. swscale's conversion took ten times as long (5 ms at 720p).
COLOUR_MARKS = {"colorspace": 6, "color_range": 1, "color_primaries": 1, "color_trc": 1}


def open_video(path: str | Path, size_wh: tuple[int, int], fps: float | None) -> "VideoWriter":
    """A writer of H.264 video; the container by suffix: .mp4, .mkv or .mov.

    Where FFmpeg has no encoder for H.264 the logger `trk.video` says what is written instead. Raises SinkError: unknown
    suffix, a place that can't be written, or an FFmpeg without any encoder of `ENCODERS`.
    """
    return VideoWriter(Path(path), size_wh, fps)


def _encoder() -> Encoder | None:
    """The first of `ENCODERS` that this FFmpeg has."""
    import av

    for encoder in ENCODERS:
        with suppress(ValueError):  # PyAV's answer to a name it does not know
            av.codec.Codec(encoder.name, "w")
            return encoder
    return None


class VideoWriter:
    """Frames of one size with their times: a context manager; after an error or Ctrl-C what was written plays.

    Time stamps are the source's, moved so that the first frame written is at 0. Odd sizes gain a column or row (H.264's
    colour planes are half as large), a copy of the last.
    """

    def __init__(self, path: Path, size_wh: tuple[int, int], fps: float | None) -> None:
        if path.suffix.lower() not in CONTAINERS:
            raise SinkError(f"can't write video to {path}: name a file that ends in {', '.join(CONTAINERS)}")
        self.size_wh = size_wh
        self.written = 0
        rate = Fraction(fps or DEFAULT_FPS).limit_denominator(1001)
        self._first_time: float | None = None
        self._last_pts = -1
        self._partial = PartialFile(path)
        self._closed = False
        try:
            self._open(CONTAINERS[path.suffix.lower()], rate)
        except BaseException:
            self._partial.discard()
            raise

    def _open(self, container: tuple[str, dict[str, str]], rate: Fraction) -> None:
        import av

        self._av = av
        name, options = container
        encoder = _encoder()
        if encoder is None:
            wanted = " or ".join(one.name for one in ENCODERS)
            raise SinkError(
                f"can't write video to {self._partial.path}: this FFmpeg has no {wanted}; PyAV's wheels from PyPI have"
            )
        if encoder.not_h264:
            log.warning("this FFmpeg has no encoder for H.264: %s is %s", self._partial.path, encoder.not_h264)
        # A multiple of the rate, so that constant-rate video keeps it exactly: 24000/1001 is not a multiple of 1/90000.
        ticks = rate.numerator * math.ceil(MIN_TIMESCALE / rate.numerator)
        if ticks > encoder.most_ticks:
            ticks = rate.numerator * (encoder.most_ticks // rate.numerator) or encoder.most_ticks
        self._time_base = Fraction(1, ticks)
        width, height = (side + side % 2 for side in self.size_wh)
        try:
            self._container = av.open(f"file:{self._partial.temporary}", "w", format=name, options=options)
            self._stream = cast("Any", self._container.add_stream(encoder.name, rate=rate, options=encoder.options))
            self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
            self._stream.time_base = self._stream.codec_context.time_base = self._time_base
            for mark, value in COLOUR_MARKS.items():
                setattr(self._stream.codec_context, mark, value)
            self._stream.codec_context.open()
        except (av.error.FFmpegError, ValueError) as error:
            raise SinkError(
                f"can't write video to {self._partial.path} ({error}): FFmpeg's {encoder.name} refuses it"
            ) from error

    def write(self, image: Image, time: float) -> None:
        """Add a frame: uint8 [H, W, 3] BGR, shown from `time` (seconds, the source's clock) on.

        Raises SinkError: another size than announced, or the disk refuses.
        """
        height, width = image.shape[:2]
        if (width, height) != self.size_wh:
            raise SinkError(f"a frame of {width}x{height} in a video of {self.size_wh[0]}x{self.size_wh[1]}")
        if self._first_time is None:
            self._first_time = time
        pts = max(round((time - self._first_time) / self._time_base), self._last_pts + 1)
        if width % 2 or height % 2:
            image = np.asarray(cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE), np.uint8)
        yuv = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420), np.uint8)
        frame = self._av.VideoFrame.from_ndarray(yuv, format="yuv420p")
        frame.pts, frame.time_base = pts, self._time_base
        # A packet lost between encoder and file would leave the following pictures without their reference.
        with uninterrupted():
            self._mux(frame)
            self._last_pts = pts
            self.written += 1

    def close(self) -> None:
        """Finish the file and give it its name; more than once is fine. Raises SinkError: the disk refuses."""
        if self._closed:
            return
        self._closed = True
        with uninterrupted():
            try:
                if self.written:
                    self._mux(None)
                self._container.close()
            except (SinkError, self._av.error.FFmpegError) as error:
                self._partial.discard()  # without its index no player reads it
                raise error if isinstance(error, SinkError) else self._refused(error) from error
            # A container without a picture is no video.
            if self.written:
                self._partial.publish()
            else:
                self._partial.discard()

    def discard(self) -> None:
        """Leave nothing behind: what was under the name before stays."""
        if self._closed:
            return
        self._closed = True
        with uninterrupted():
            with suppress(SinkError, self._av.error.FFmpegError):
                self._mux(None)  # an encoder that is not emptied is not freed
                self._container.close()
            self._partial.discard()

    def _mux(self, frame: "av.VideoFrame | None") -> None:
        try:
            self._container.mux(self._stream.encode(frame))
        except self._av.error.FFmpegError as error:
            raise self._refused(error) from error

    def _refused(self, error: Exception) -> SinkError:
        why = getattr(error, "strerror", None) or str(error)
        return SinkError(f"can't go on writing {self._partial.path} ({why}) after {self.written} frames")

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
