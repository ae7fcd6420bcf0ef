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
from .damage import Continuity, why_cut_short
from .source import DEFAULT_FPS, Frame, Image, Source, first_bytes

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


class VideoFile(Source):
    """Frames of a video file's first picture stream, upright, with the container's time stamps from 0.

    Pixels are the stored ones: a non-square pixel aspect is not stretched, interlaced frames are not separated.
    """

    def __init__(self, path: Path) -> None:
        first_bytes(path)
        self.name = path.name
        self._path = path
        self._container, self._stream = _open_stream(path)
        try:
            self._to_bgr = VideoReformatter()  # kept: a fresh one per frame rebuilds swscale's tables each time
            self.fps = _rate(self._stream)
            self.count = _expected_frames(self._container, self._stream)
            self._frames: Iterator[Frame] = self._decoded()
            self._first: Frame | None = next(self._frames, None)
            if self._first is None:
                raise SourceError(f"{path} holds no video frames: is it the right file, and complete?")
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

    def _decoded(self) -> Iterator[Frame]:
        start: float | None = None
        time, size = 0.0, (0, 0)
        for index, picture in enumerate(self._pictures()):
            moment = self._moment(picture)
            if index == 0:
                start, size = moment, (picture.width, picture.height)
            elif moment is None or start is None:
                # Raw streams carry no time stamps at all: the rate stands in for them.
                time += 1.0 / (self.fps or DEFAULT_FPS)
            else:
                time = moment - start
            if (picture.width, picture.height) != size:
                raise SourceError(
                    f"{self._path} changes from {size[0]}x{size[1]} to {picture.width}x{picture.height} at frame "
                    f"{index}: convert it to one size first (ffmpeg -i in -vf scale={size[0]}:{size[1]} out.mp4)"
                )
            yield Frame(index, time, self._image(picture))

    def _moment(self, picture: "VideoFrame") -> float | None:
        """Seconds on the stream's clock. Not `picture.time`: PyAV forgets it for pictures flushed after an error."""
        base = self._stream.time_base
        return None if picture.pts is None or base is None else float(picture.pts * base)

    def _image(self, picture: "VideoFrame") -> Image:
        image = np.asarray(self._to_bgr.reformat(picture, format="bgr24", **ONE_THREAD).to_ndarray(), np.uint8)
        turn = TURNS.get(picture.rotation)
        return image if turn is None else np.asarray(cv2.rotate(image, turn), np.uint8)

    def _pictures(self) -> Iterator["VideoFrame"]:
        """Decoded pictures in order; SourceError at the first one that is missing or damaged.

        Damage before the first good picture is forgiven: a recording may start in the middle of a group of pictures.
        """
        delivered = 0
        continuity = Continuity(self._container.format.name)
        for packet, damage in self._packets(continuity):
            pictures: list[VideoFrame] = []
            if damage is None and packet is not None:
                try:
                    pictures = packet.decode()
                except av.error.FFmpegError as error:
                    damage = error.strerror or str(error)
            if damage is not None and delivered:
                pictures = [p for p in self._flushed() if packet is None or _before(p, packet)]
            for picture in pictures:
                if picture.is_corrupt:
                    if not delivered:
                        continue
                    raise self._broken(delivered, "the picture is damaged")
                delivered += 1
                yield picture
            if damage is not None and delivered:
                raise self._broken(delivered, damage)
        short = why_cut_short(self._container, self._stream, continuity) if delivered else None
        if short is not None:
            raise self._broken(delivered, short)

    def _packets(self, continuity: Continuity) -> Iterator[tuple[Any, str | None]]:
        """Packets of the picture stream, each with what is wrong with it or None."""
        packets = self._container.demux()  # all streams: continuity accounts for the bytes between the pictures too
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.error.FFmpegError as error:
                yield None, error.strerror or str(error)
                return
            if packet.stream.index != self._stream.index:
                continuity.skip(packet)
                continue
            damage = continuity.check(packet) if packet.size else None
            yield packet, damage

    def _flushed(self) -> list["VideoFrame"]:
        """Pictures the decoder still holds back for reordering."""
        try:
            return list(self._stream.codec_context.decode(None))
        except av.error.FFmpegError:
            return []

    def _broken(self, index: int, why: str) -> SourceError:
        return SourceError(
            f"{self._path}: frame {index} can't be decoded ({why}): the file is damaged or cut short; "
            f"the {index} frames before it are good"
        )


def _open_stream(path: Path) -> tuple["InputContainer", "VideoStream"]:
    """The open container and its first picture stream (cover art does not count)."""
    try:
        container = av.open(f"file:{path}")  # the prefix keeps a colon in the name from being read as a protocol
    except (av.error.FFmpegError, OSError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise SourceError(f"{path} is not a video that FFmpeg can read ({why}), or it was cut short") from error
    pictures = [s for s in container.streams.video if not _is_cover(s)]
    if not pictures or container.format.name in NOT_VIDEO:
        what = "text" if container.format.name in NOT_VIDEO else "sound or data without any picture"
        container.close()
        raise SourceError(f"{path} is not a video: it holds {what}")
    return container, pictures[0]


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


def _before(picture: "VideoFrame", packet: Any) -> bool:
    return packet.pts is None or picture.pts is None or picture.pts < packet.pts
