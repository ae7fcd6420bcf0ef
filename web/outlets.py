"""The files that `--out` and `--boxes` name, written while the page is used, flushed frame by frame.

Where the run is wound back they go back with it: files of boxes are written anew up to there; the video is dropped, and
made by reading its source again when the session ends.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from itertools import groupby
from operator import attrgetter
from pathlib import Path

from ..video.boxes import Mark, TextSink
from ..video.draw import draw
from ..video.formats import open_format
from ..video.record import Record
from ..video.source import Frame, Image, Source
from ..video.span import open_span
from ..video.writer import CONTAINERS, open_video
from .journal import Journal


class Outlet(ABC):
    """One file. Whatever it is told is in the journal already."""

    path: Path

    @abstractmethod
    def add(self, frame: Frame, records: Sequence[Record]) -> None:
        """A frame was tracked. Raises SinkError: the disk refuses."""

    @abstractmethod
    def change(self, frame: Frame, records: Sequence[Record]) -> None:
        """The records of the last frame are other ones."""

    @abstractmethod
    def wind_back(self) -> None:
        """The journal was cut: forget what it no longer has."""

    @abstractmethod
    def close(self) -> bool:
        """Complete the file; whether there is one: without records there is none. More than once is fine."""


class BoxesOutlet(Outlet):
    """A file of boxes."""

    def __init__(self, path: Path, journal: Journal, about: Mapping[str, object]) -> None:
        self.path = path
        self._journal = journal
        self._about = about
        open_format(path, several=True)  # one that has room for one target only is told now, not at the second
        self._sink = TextSink(path, open_format(path, several=False), about)
        self._targets: set[int] = set()
        self._before_last: Mark = self._sink.mark()

    def add(self, frame: Frame, records: Sequence[Record]) -> None:
        """Write the records."""
        self._before_last = self._sink.mark()
        self._write(records)

    def change(self, frame: Frame, records: Sequence[Record]) -> None:
        """Write them over those of the last frame."""
        self._sink.rewind(self._before_last)
        self._write(records)

    def wind_back(self) -> None:
        """Write everything anew."""
        self._targets = self._journal.targets()
        self._sink.discard()
        self._sink = TextSink(self.path, open_format(self.path, len(self._targets) > 1), self._about)
        self._before_last = self._sink.mark()
        for _, records in groupby(self._journal.records(), attrgetter("frame_index")):
            self._before_last = self._sink.mark()
            for record in records:
                self._sink.write(record)

    def close(self) -> bool:
        """Complete the file."""
        if self._sink.written:
            self._sink.close()
        else:
            self._sink.discard()
        return self._sink.written > 0

    def _write(self, records: Sequence[Record]) -> None:
        alone = len(self._targets) < 2
        self._targets.update(record.target for record in records)
        if alone and len(self._targets) > 1:
            self.wind_back()  # rows that tell targets apart look different
            return
        for record in records:
            self._sink.write(record)


class VideoOutlet(Outlet):
    """The video with the boxes drawn; a frame behind, since boxes are still drawn anew in the last one."""

    def __init__(self, path: Path, journal: Journal, source: Source, again: str | None) -> None:
        self.path = path
        self._journal = journal
        self._again = again
        """The video's name, to be read again; None where it can't."""
        self._writer = open_video(path, source.size_wh, source.fps)
        self._last: tuple[Frame, Sequence[Record]] | None = None
        self._stale = False

    def add(self, frame: Frame, records: Sequence[Record]) -> None:
        """Write the frame before this one."""
        if self._last is not None and self._last[0].index < frame.index:
            self._flush()
        if not self._stale:
            self._last = frame, records

    def change(self, frame: Frame, records: Sequence[Record]) -> None:
        """Draw these in the last frame."""
        self.add(frame, records)

    def wind_back(self) -> None:
        """Drop what was written: it is made anew at the end."""
        self._stale, self._last = True, None
        self._writer.discard()

    def close(self) -> bool:
        """Complete the video; read its source again where the run was wound back."""
        if not self._journal:
            self._writer.discard()
            return False
        if self._stale and self._again is not None:
            self._stale = False
            return write_video(self._again, self._journal, self.path)
        self._flush()
        self._writer.close()
        return self._writer.written > 0

    def _flush(self) -> None:
        if self._last is not None:
            (frame, records), self._last = self._last, None
            self._writer.write(_drawn(frame, records), frame.time)


class Outlets:
    """All files of a session."""

    def __init__(
        self, paths: Sequence[Path], journal: Journal, source: Source, again: str | None, about: Mapping[str, object]
    ) -> None:
        """Open them; raises SinkError where one can't be written, and leaves none behind."""
        self._outlets: list[Outlet] = []
        with ExitStack() as opening:
            for path in paths:
                outlet: Outlet
                if path.suffix.lower() in CONTAINERS:
                    outlet = VideoOutlet(path, journal, source, again)
                else:
                    outlet = BoxesOutlet(path, journal, about)
                opening.callback(outlet.close)
                self._outlets.append(outlet)
            opening.pop_all()

    def add(self, frame: Frame, records: Sequence[Record]) -> None:
        """A frame was tracked. Raises SinkError."""
        for outlet in self._outlets:
            outlet.add(frame, records)

    def change(self, frame: Frame, records: Sequence[Record]) -> None:
        """The records of the last frame are other ones. Raises SinkError."""
        for outlet in self._outlets:
            outlet.change(frame, records)

    def wind_back(self) -> None:
        """The journal was cut. Raises SinkError."""
        for outlet in self._outlets:
            outlet.wind_back()

    def close(self) -> list[Path]:
        """Complete all files, each whatever becomes of the others; returns those that were written."""
        written: list[Path] = []
        with ExitStack() as closing:
            for outlet in reversed(self._outlets):
                closing.callback(_close, outlet, written)
        return written


def _close(outlet: Outlet, written: list[Path]) -> None:
    if outlet.close():
        written.append(outlet.path)


def write_video(video: str, journal: Journal, path: Path) -> bool:
    """Read the part of `video` that has records again and draw them; whether there was any.

    Raises SourceError, SinkError, UsageError: the run was wound back meanwhile.
    """
    first, last = journal.first_frame, journal.last_frame
    if first is None or last is None:
        return False
    frames = groupby(journal.records(), attrgetter("frame_index"))
    number, records = -1, list[Record]()
    with open_span(video, first, last) as source, open_video(path, source.size_wh, source.fps) as writer:
        for frame in source:
            while number < frame.index:
                number, group = next(frames, (frame.index + 1, iter(())))
                records = list(group)
            writer.write(_drawn(frame, records if number == frame.index else []), frame.time)
    return True


def _drawn(frame: Frame, records: Sequence[Record]) -> Image:
    return draw(frame.image, records, numbered=True, frame_index=frame.index)
