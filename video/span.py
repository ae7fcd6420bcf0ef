"""A part of a source, and the direction in which it is read."""

import re
from pathlib import Path

from ..errors import SourceError, UsageError
from .ahead import Ahead
from .source import DEFAULT_FPS, SLACK_SECONDS, Frame, Position, Source, open_source

CLOCK = re.compile(r"(?:(\d+):)?(\d{1,2}):(\d{1,2}(?:\.\d+)?)")


def parse_position(text: str, option: str) -> Position:
    """Return the frame number of `"40"`, or the seconds of `"1.6s"` or `"1:02:03.5"`. Raises UsageError."""
    word = text.strip().lower()
    if word.isascii() and word.isdigit() and len(word) < 16:
        return int(word)
    clock = CLOCK.fullmatch(word)
    if clock:
        return float(clock[1] or 0) * 3600 + float(clock[2]) * 60 + float(clock[3])
    if re.fullmatch(r"\d{1,12}(\.\d+)?s", word):
        return float(word[:-1])
    raise UsageError(f"{option} {text!r} is neither a frame nor a time: write 40, 1.6s or 0:01:05.5")


class Span(Source):
    """The frames of `source` from `start` to `end`, both included, numbers and times unchanged; backwards if asked.

    Backwards the frames come from `end` (the last one, if None) down to `start`. Raises SourceError where the source
    can't be read backwards, and from the iterator where no frame lies between the two.
    """

    def __init__(self, source: Source, start: Position = 0, end: Position | None = None, *, reverse: bool = False):
        if end is not None and type(start) is type(end) and end < start:
            source.close()
            raise SourceError(f"--end {end} comes before --start {start}: nothing lies between them")
        self.name, self.size_wh, self.fps, self.live = source.name, source.size_wh, source.fps, source.live
        self.count = _count(source, start, end)
        self._start, self._end, self._reverse = start, end, reverse
        if start and not reverse:
            source.skip_to(start)
        self._source = _turned(source, end) if reverse else source
        self._delivered = False
        self._over = False

    def __next__(self) -> Frame:
        """The next frame of the part."""
        while not self._over:
            frame = next(self._source, None)
            if frame is None:
                break
            early, late = _before(frame, self._start), self._end is not None and _after(frame, self._end)
            if early if self._reverse else late:
                break
            if not (early or late):
                self._delivered = True
                return frame
        self._over = True
        if not self._delivered:
            self._delivered = True
            raise SourceError(f"{self.name} has no frame {self._asked()}: tracking starts at a frame that is there")
        raise StopIteration

    def ready(self) -> bool:
        """As its source."""
        return self._source.ready()

    def close(self) -> None:
        """Close the source."""
        self._over = self._delivered = True
        self._source.close()

    def _asked(self) -> str:
        first = _shown(self._start)
        return first if self._end is None else f"from {first} to {_shown(self._end)}"


def open_span(
    spec: Source | Path | str,
    start: Position = 0,
    end: Position | None = None,
    *,
    reverse: bool = False,
    ahead: bool = False,
    raw: str | None = None,
) -> Source:
    """Open `spec` (or take an open source) from `start` to `end`; with `ahead`, decoded by a thread of its own."""
    source = spec if isinstance(spec, Source) else open_source(spec, raw=raw)
    if reverse or end is not None or start:
        source = Span(source, start, end, reverse=reverse)
    return Ahead(source) if ahead and not source.live else source


def _before(frame: Frame, position: Position) -> bool:
    return frame.index < position if isinstance(position, int) else frame.time < position - SLACK_SECONDS


def _after(frame: Frame, position: Position) -> bool:
    return frame.index > position if isinstance(position, int) else frame.time > position + SLACK_SECONDS


def _turned(source: Source, last: Position | None) -> Source:
    try:
        return source.backwards(last + SLACK_SECONDS if isinstance(last, float) else last)
    except BaseException:
        source.close()
        raise


def _count(source: Source, start: Position, end: Position | None) -> int | None:
    rate = source.fps or DEFAULT_FPS
    first = start if isinstance(start, int) else round(start * rate)
    last = end if end is None or isinstance(end, int) else int(end * rate)
    if source.count is None:
        return None if last is None or source.live else max(last - first + 1, 0)
    stop = source.count if last is None else min(source.count, last + 1)
    return max(stop - first, 0)


def _shown(position: Position) -> str:
    return str(position) if isinstance(position, int) else f"at {position:g} s"
