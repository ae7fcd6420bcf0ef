"""Frames from video files, decoded by PyAV (FFmpeg).

PyAV rather than OpenCV: equally fast (bench/NOTES.md, "Decoding"), and it tells damage from the end of the file, where
OpenCV returns False for both and a cut video passes for a short one.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter

from ..errors import SourceError
from .decode import BEGINNING, Place, pictures, seconds
from .source import DEFAULT_FPS, SLACK_SECONDS, Frame, Image, Position, Source, first_bytes
from .survey import survey

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

# PyAV from 17 on starts a pool of scaling threads per conversion unless told otherwise: 720p takes twice as long.
ONE_THREAD: dict[str, Any] = {"threads": 1} if int(av.__version__.split(".")[0]) >= 17 else {}

# Degrees counter-clockwise, as the display matrix has them, to OpenCV's turn.
TURNS = {90: cv2.ROTATE_90_COUNTERCLOCKWISE, -90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, -180: cv2.ROTATE_180}

NOT_VIDEO = frozenset({"tty"})
"""Demuxers that make pictures of anything at all: FFmpeg plays a text file as a terminal session."""


class ToBgr:
    """Turns decoded pictures into upright images."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()  # kept: a fresh one per frame rebuilds swscale's tables each time

    def __call__(self, picture: "VideoFrame") -> Image:
        """The picture as uint8 [H, W, 3] BGR, its rotation applied."""
        image = np.asarray(self._reformatter.reformat(picture, format="bgr24", **ONE_THREAD).to_ndarray(), np.uint8)
        turn = TURNS.get(picture.rotation)
        return image if turn is None else np.asarray(cv2.rotate(image, turn), np.uint8)


class ContainerSource(Source):
    """Frames of the first picture stream of an open container, upright, with its time stamps from 0.

    Pixels are the stored ones: a non-square pixel aspect is not stretched, interlaced frames are not separated.
    `name` stands in messages; the container is closed with the source.
    """

    def __init__(self, container: "InputContainer", name: str) -> None:
        self.name = self._path = name
        self._container = container
        self._stream = picture_stream(container, name)
        try:
            self._to_bgr = ToBgr()
            self._began: float | None = None
            self._stored_wh = (0, 0)
            self.fps = _rate(self._stream)
            self.count = _expected_frames(self._container, self._stream)
            self._frames: Iterator[Frame] = self._decoded()
            self._first: Frame | None = next(self._frames, None)
            if self._first is None:
                raise SourceError(f"{name} holds no video frames: is it the right file, and complete?")
        except BaseException:
            self.close()
            raise
        self.size_wh = (self._first.image.shape[1], self._first.image.shape[0])

    def __next__(self) -> Frame:
        """The next frame; SourceError where one is damaged or the file was cut short."""
        frame, self._first = self._first, None
        return frame if frame is not None else next(self._frames)

    def close(self) -> None:
        """Close the file."""
        self._frames = iter(())
        self._first = None
        self._container.close()

    def _decoded(self, begin: Place = BEGINNING, number: int = 0) -> Iterator[Frame]:
        """The frames from `number` on, decoded from `begin` on, to which the container was wound."""
        time = 0.0
        for index, picture in enumerate(pictures(self._path, self._container, self._stream, begin), begin.number):
            moment = seconds(picture, self._stream)
            size = picture.width, picture.height
            if index == 0:
                self._began, self._stored_wh = moment, size
            elif moment is None or self._began is None:
                # Raw streams carry no time stamps at all: the rate stands in for them.
                time += 1.0 / (self.fps or DEFAULT_FPS)
            else:
                time = moment - self._began
            if size != self._stored_wh:
                width, height = self._stored_wh
                raise SourceError(
                    f"{self._path} changes from {width}x{height} to {size[0]}x{size[1]} at frame "
                    f"{index}: convert it to one size first (ffmpeg -i in -vf scale={width}:{height} out.mp4)"
                )
            if index >= number:
                yield Frame(index, time, self._to_bgr(picture))


class VideoFile(ContainerSource):
    """Frames of a video file; it can be read backwards, too."""

    def __init__(self, path: Path) -> None:
        first_bytes(path)
        self._file = path
        super().__init__(open_file(path), str(path))
        self.name = path.name

    def skip_to(self, position: Position) -> None:
        """Wind to the key frame before `position`; nothing happens where it can't be told which frame that is."""
        with open_file(self._file) as container:
            found = survey(container, picture_stream(container, str(self._file)), until=position)
        if found.flaw is not None or not found.whole or not self._stream.time_base:
            return
        number = found.number_of(position, float(self._stream.time_base))
        if not number < len(found.shown) or found.key_before(number) == found.shown[0]:
            return
        key = found.key_before(number)
        self._container.seek(key, stream=self._stream, backward=True)
        begin = Place(found.number_at(key), found.packets[key], key)
        try:
            self._frames = self._decoded(begin, number)
            self._first = next(self._frames, None)
        except SourceError:
            self._first = None
        expected = (found.shown[number] - found.shown[0]) * float(self._stream.time_base)
        if self._first is None or abs(self._first.time - expected) > SLACK_SECONDS:  # it was wound to somewhere else
            self.close()
            super().__init__(open_file(self._file), str(self._file))

    def backwards(self, last: Position | None = None) -> Source:
        """The frames from `last` (None: the last one) to the first, with their own numbers and times."""
        from .backwards import BackwardsVideo

        self.close()
        return BackwardsVideo(self._file, last)


def open_file(path: Path) -> "InputContainer":
    """The file as an open container. Raises SourceError: not a video."""
    try:
        return av.open(f"file:{path}")  # the prefix keeps a colon in the name from being read as a protocol
    except (av.error.FFmpegError, OSError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise SourceError(f"{path} is not a video that FFmpeg can read ({why}), or it was cut short") from error


def picture_stream(container: "InputContainer", name: str) -> "VideoStream":
    """The first picture stream (cover art does not count); where there is none the container is closed: SourceError."""
    pictures = [s for s in container.streams.video if not _is_cover(s)]
    if not pictures or container.format.name in NOT_VIDEO:
        what = "text" if container.format.name in NOT_VIDEO else "sound or data without any picture"
        container.close()
        raise SourceError(f"{name} is not a video: it holds {what}")
    return pictures[0]


def _is_cover(stream: "VideoStream") -> bool:
    return bool(stream.disposition & type(stream.disposition).attached_pic)


def _rate(stream: "VideoStream") -> float | None:
    rate = stream.average_rate or stream.guessed_rate
    return float(rate) if rate else None


def _expected_frames(container: "InputContainer", stream: "VideoStream") -> int | None:
    rate = _rate(stream)
    if stream.frames:
        return int(stream.frames)
    if rate and stream.duration and stream.time_base:
        return round(float(stream.duration * stream.time_base) * rate)
    if rate and container.duration:
        return round(container.duration / av.time_base * rate)
    return None
