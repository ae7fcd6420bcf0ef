"""Signs of a damaged or cut video that FFmpeg itself passes over in silence.

What was tried, on H.264, HEVC, AV1, VP9, MPEG-4 and MJPEG in MP4, Matroska, MPEG-TS and AVI: a packet overwritten,
packets removed, the file cut. FFmpeg reports most of it by an error or a mark on packet or picture. Left over are
Matroska, where the demuxer searches on for the next intact cluster and says nothing, and files that simply end early.
Damage that still decodes (random bytes inside an H.264 slice) can't be told from a picture by any reader, and an AV1
packet of zeros is passed over by its decoder without a word.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

AV_TIME_BASE = 1_000_000

RESYNCING = "matroska"
HEADER_BYTES = 256
"""More than the headers of block, group and cluster between two packets of Matroska."""

LOST_STEPS = 2.5
"""A jump in time of this many frame durations, together with bytes nobody owns, is a loss."""

NEXT_STEPS = 1.5
"""The next picture is at most this many frame durations away."""

LATE_END_STEPS = 2.5
"""A stream may end this many frame durations before what its header says (edit lists, rounding)."""


class Continuity:
    """Watches the packets go by: marks, bytes that belong to no packet, and where the last picture ends."""

    def __init__(self, container_format: str, packets: int = 0) -> None:
        """`packets`: how many lie before the first that will be checked."""
        self.packets = packets
        self.end_seconds = 0.0
        self.step_seconds = 0.0
        self._accounts_bytes = RESYNCING in container_format
        self._end_byte: int | None = None

    def skip(self, packet: Any) -> None:
        """Account for a packet of another stream (sound, subtitles)."""
        if packet.pos is not None and packet.size:
            self._end_byte = packet.pos + packet.size

    def check(self, packet: Any) -> str | None:
        """What is wrong with this packet of the picture stream, or None."""
        damage = "its data is damaged or incomplete" if packet.is_corrupt else None
        start = _seconds(packet.pts, packet) if packet.pts is not None else None
        if start is not None and damage is None and self._lost_bytes(packet) and self._jumped(start):
            damage = f"everything from {self.end_seconds:.2f} s to {start:.2f} s is unreadable"
        if packet.duration:
            self.step_seconds = _seconds(packet.duration, packet)
        if start is not None:
            self.end_seconds = max(self.end_seconds, start + self.step_seconds)
        self.packets += 1
        self.skip(packet)
        return damage

    def contiguous(self, seconds: Iterable[float | None], last: float | None) -> int:
        """How many of these picture times follow `last` without a gap: what can be trusted behind a cut."""
        count = 0
        for moment in seconds:
            gap = None if moment is None or last is None else moment - last
            if gap is not None and gap > NEXT_STEPS * self.step_seconds:
                break
            count, last = count + 1, moment
        return count

    def _lost_bytes(self, packet: Any) -> bool:
        known = self._accounts_bytes and self._end_byte is not None and packet.pos is not None
        return known and packet.pos - self._end_byte > HEADER_BYTES

    def _jumped(self, start: float) -> bool:
        return start - self.end_seconds > LOST_STEPS * max(self.step_seconds, 1e-3)


def why_cut_short(container: "InputContainer", stream: "VideoStream", seen: Continuity) -> str | None:
    """Why the end that was reached is not the end the header announces, or None where it is.

    Both have to speak for it where a count is known: an edit list leaves packets out and shortens the time with them.
    """
    announced = _announced_end(container, stream)
    if announced is None or not seen.step_seconds:
        return None
    missing = (announced - seen.end_seconds) / seen.step_seconds
    fewer = bool(stream.frames) and seen.packets < stream.frames
    if missing > LATE_END_STEPS or (fewer and missing > 0.5):
        return f"it ends at {seen.end_seconds:.2f} s of {announced:.2f} s"
    return None


def _announced_end(container: "InputContainer", stream: "VideoStream") -> float | None:
    """Seconds at which the header says the picture stream ends, on its packets' clock; None if it does not say."""
    if stream.duration is not None and stream.time_base:
        return float(((stream.start_time or 0) + stream.duration) * stream.time_base)
    if container.duration and len(container.streams) == 1:
        return ((container.start_time or 0) + container.duration) / AV_TIME_BASE
    return None


def _seconds(ticks: int, packet: Any) -> float:
    return float(ticks * packet.time_base)
