"""Where the pictures and key frames of a video file lie, read off its packets: nothing is decoded."""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import av

from .damage import Continuity, why_cut_short
from .source import SLACK_SECONDS, Position

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

NO_TIMES = "it has no time stamps: put it in a container, ffmpeg -i in -c copy out.mp4"


@dataclass
class Survey:
    """Time stamps in ticks, ascending."""

    shown: list[int] = field(default_factory=list)
    """Of all pictures: number n is the n-th frame."""
    keys: list[int] = field(default_factory=list)
    """Of the key frames among them."""
    packets: dict[int, int] = field(default_factory=dict)
    """How many packets lie before that of each key frame."""
    flaw: str | None = None
    """Why the file can't be read by these, or None."""
    whole: bool = True
    """Whether the first picture is a key frame: before one, it depends on the decoder which pictures are good."""

    def key_before(self, number: int) -> int:
        """The key frame from which on picture `number` can be decoded."""
        return self.keys[bisect_right(self.keys, self.shown[number]) - 1]

    def number_at(self, ticks: float) -> int:
        """The number of the first picture that is not earlier."""
        return bisect_left(self.shown, ticks)

    def number_of(self, position: Position, base: float) -> int:
        """The number of the frame at `position`, ticks of `base` seconds."""
        if isinstance(position, int):
            return position
        return self.number_at(self.shown[0] + (position - SLACK_SECONDS) / base)


def survey(container: "InputContainer", stream: "VideoStream", until: Position | None = None) -> Survey:
    """Read the packets of `stream`, up to a key frame after `until` or to the end. Never raises: see `Survey.flaw`."""
    found = Survey()
    base = float(stream.time_base or 0)
    seen = Continuity(container.format.name)
    try:
        for packet in container.demux():
            if packet.stream.index != stream.index:
                seen.skip(packet)
            elif packet.size and not packet.is_discard:
                found.flaw = seen.check(packet) if found.shown else None
                if found.flaw is None and packet.pts is None:
                    found.flaw = NO_TIMES
                if found.flaw is not None or packet.pts is None:
                    return found
                if packet.is_keyframe:
                    if until is not None and _behind(packet.pts, until, found.shown, base):
                        break
                    found.keys.append(packet.pts)
                    found.packets[packet.pts] = len(found.shown)
                found.shown.append(packet.pts)
        else:
            found.flaw = why_cut_short(container, stream, seen)
    except av.error.FFmpegError as error:
        found.flaw = error.strerror or str(error)
    found.shown.sort()
    if found.shown:
        # Pictures shown before the first key frame need what lies before the file.
        keys = [key for key in sorted(found.keys) if key >= found.shown[0]]
        found.whole = bool(keys) and keys[0] == found.shown[0]
        found.keys = keys if found.whole else [found.shown[0], *keys]
    return found


def _behind(key: int, until: Position, shown: list[int], base: float) -> bool:
    """Whether the picture at `until` is shown before this key frame: all before it has gone by then."""
    if isinstance(until, int):
        return len(shown) > until
    return bool(shown) and (key - min(shown)) * base > until + 1.0
