"""Pictures of a video stream, in order, up to the first one that is missing or damaged."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import av

from ..errors import SourceError
from .damage import Continuity, why_cut_short

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream


class Place(NamedTuple):
    """A key frame, as a place to begin at."""

    number: int = 0
    """Its frame number."""
    packets: int = 0
    """Packets before it."""
    pts: int | None = None
    """Its time stamp; what is shown before it is left out. None: the beginning."""


BEGINNING = Place()


def pictures(
    path: Path | str, container: "InputContainer", stream: "VideoStream", begin: Place = BEGINNING
) -> Iterator["VideoFrame"]:
    """Decoded pictures in the order they are shown; SourceError where one is missing or damaged.

    Damage before the first good picture is forgiven: a recording may start in the middle of a group of pictures.
    `begin`: the container was wound to there.
    """
    shown = 0
    for group, damage in _Groups(container, stream, begin):
        for picture in group:
            if begin.pts is not None and picture.pts is not None and picture.pts < begin.pts:
                continue
            if not picture.is_corrupt:
                yield picture
                shown += 1
            elif shown:
                damage = "the picture is damaged"
                break
        if damage is not None and shown:
            raise SourceError(
                f"{path}: frame {begin.number + shown} can't be decoded ({damage}): the file is damaged or cut short; "
                f"the {shown} frames before it are good"
            )


def seconds(picture: "VideoFrame", stream: "VideoStream") -> float | None:
    """The picture's time on the stream's clock. Not `picture.time`: PyAV forgets it for flushed pictures."""
    base = stream.time_base
    return None if picture.pts is None or base is None else float(picture.pts * base)


class _Groups:
    """What each packet brings: pictures that are good so far, and the damage behind them or None."""

    def __init__(self, container: "InputContainer", stream: "VideoStream", begin: Place) -> None:
        self._container = container
        self._stream = stream
        self._continuity = Continuity(container.format.name, begin.packets)
        self._last: float | None = None

    def __iter__(self) -> Iterator[tuple[list["VideoFrame"], str | None]]:
        for packet, damage in self._packets():
            group: list[VideoFrame] = []
            if damage is None:
                try:
                    group = packet.decode()
                except av.error.FFmpegError as error:
                    damage = error.strerror or str(error)
            # Flushing ends the decoder's work: not before there is a picture, since damage is forgiven up to there.
            if damage is not None and self._last is not None:
                group = [p for p in self._held() if _before(p, packet)]
            if any(not picture.is_corrupt for picture in group):
                self._last = seconds(group[-1], self._stream) or 0.0
            yield group, damage
        short = why_cut_short(self._container, self._stream, self._continuity)
        held = self._held()
        if short is not None:  # a picture that others refer to comes early: what lies between may be missing
            times = [seconds(picture, self._stream) for picture in held]
            held = held[: self._continuity.contiguous(times, self._last)]
        yield held, short

    def _packets(self) -> Iterator[tuple[Any, str | None]]:
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
                self._continuity.skip(packet)
            elif packet.size:
                yield packet, self._continuity.check(packet)

    def _held(self) -> list["VideoFrame"]:
        """Pictures the decoder still holds back for reordering."""
        try:
            return list(self._stream.codec_context.decode(None))
        except av.error.FFmpegError:
            return []


def _before(picture: "VideoFrame", packet: Any) -> bool:
    return packet is None or packet.pts is None or picture.pts is None or picture.pts < packet.pts
