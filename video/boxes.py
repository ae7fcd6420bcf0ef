"""Where boxes go: CSV, JSON, JSON lines, COCO's JSON, and the text of OTB, VOT, GOT-10k and MOT.

A sink writes beside its target, without buffering, and takes the target's name when it is closed. Closing after an
error or Ctrl-C keeps what was written: the file is complete and readable, only shorter.
"""

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, TextIO

from ..errors import SinkError
from .formats import BOX_FORMATS, BoxFormat, jsonl_row, open_format
from .partial import PartialFile
from .record import Box, Record

__all__ = ["BOX_FORMATS", "Box", "BoxFormat", "LineSink", "Mark", "Record", "Sink", "TextSink", "open_sink"]

STDOUT = "-"


class Sink(ABC):
    """Takes records in order: a context manager; after an error it keeps what was written."""

    written: int = 0
    """Records so far."""

    @abstractmethod
    def write(self, record: Record) -> None:
        """Add one record. Raises SinkError when the disk refuses."""

    @abstractmethod
    def close(self) -> None:
        """Complete the file under its name; more than once is fine."""

    @abstractmethod
    def discard(self) -> None:
        """Leave nothing behind."""

    def __enter__(self) -> "Sink":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # An error before the first record leaves no empty file, and whatever had this name before.
        if kind is not None and not self.written:
            self.discard()
        else:
            self.close()


def open_sink(path: str | Path, *, about: Mapping[str, object] | None = None, several: bool = False) -> Sink:
    """A sink for boxes in the format that the path's suffix names, one of `BOX_FORMATS`; `-`: JSON lines on stdout.

    `about`: keys for the head of a document (video, model, ...; COCO's images take their size from `size_wh`); formats
    without a head leave them out. `several`: records of more than one target will come.
    Raises SinkError: unknown suffix, a format for one target, or a place that can't be written.
    """
    if str(path) == STDOUT:
        return LineSink(sys.stdout)
    target = Path(path)
    return TextSink(target, open_format(target, several), about or {})


class LineSink(Sink):
    """Records as JSON lines to an open text stream, flushed one by one."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, record: Record) -> None:
        """Add one record. Raises BrokenPipeError where the reader has left."""
        self._stream.write(jsonl_row(record))
        self._stream.flush()
        self.written += 1

    def close(self) -> None:
        """Nothing: the stream is somebody else's."""

    def discard(self) -> None:
        """Nothing: what was written is gone."""


class Frames:
    """Numbers of frames, kept as runs: a day of video takes no more room than a second."""

    def __init__(self, runs: Iterable[tuple[int, int]] = ()) -> None:
        self._runs = list(runs)

    def add(self, number: int) -> None:
        """Add one; cheap where it is beside the last one added."""
        first, last = self._runs[-1] if self._runs else (number, number)
        if self._runs and first - 1 <= number <= last + 1:
            self._runs[-1] = min(first, number), max(last, number)
        else:
            self._runs.append((number, number))

    def copy(self) -> "Frames":
        """The same numbers, to be kept while these grow."""
        return Frames(self._runs)

    def __iter__(self) -> Iterator[int]:
        return chain.from_iterable(range(first, last + 1) for first, last in self._runs)


class Mark(NamedTuple):
    """How far a `TextSink` had come."""

    end: int
    written: int
    frames: Frames


class TextSink(Sink):
    """Records as lines of text in one of `BOX_FORMATS`.

    Every write ends with the format's tail and the next one overwrites it, so that the file is a whole document at any
    moment, also after a crash that lets nothing run, or on a disk that is full.
    """

    def __init__(self, path: Path, form: BoxFormat, about: Mapping[str, object]) -> None:
        head = form.head(about).encode()  # first: an `about` that JSON can't hold leaves no file behind
        self._form = form
        self._tail = form.tail.encode()
        self._partial = PartialFile(path)
        self._file = self._partial.open()
        self._end = 0
        self._about = about
        self._frames = Frames()
        self._published = False
        self._put(head)

    def write(self, record: Record) -> None:
        """Add one record, if the format has boxes of lost targets; it is on its way to the disk when this returns."""
        if record.lost and self._form.only_sure:
            return
        self._put(((self._form.between if self.written else "") + self._form.row(record, self.written)).encode())
        self.written += 1
        if self._form.end is not None:
            self._frames.add(record.frame_index)
        if self._form.streams and not self._published:
            self._publish()

    def mark(self) -> Mark:
        """Where the file stands, to come back to."""
        return Mark(self._end, self.written, self._frames.copy())

    def rewind(self, mark: Mark) -> None:
        """Forget what was written since `mark`."""
        self._end, self.written, self._frames = mark.end, mark.written, mark.frames.copy()
        self._overwrite(self._tail)
        self._file.truncate()

    def close(self) -> None:
        """Give the file its name."""
        if self._file.closed:
            return
        try:
            if self._form.end is not None:
                self._tail, tail = b"", self._tail
                self._put(self._form.end(self._about, self._frames).encode(), instead=tail)
        finally:
            self._file.close()
            if not self._published:
                self._publish()

    def discard(self) -> None:
        """Remove the file."""
        self._file.close()
        if self._published:  # and wound back to nothing
            self._partial.path.unlink(missing_ok=True)
        self._partial.discard()

    def _publish(self) -> None:
        self._partial.publish()
        self._published = True

    def _put(self, text: bytes, instead: bytes | None = None) -> None:
        """Write `text` and the tail over the tail; where the disk refuses, what stood there (or `instead`) is back."""
        try:
            self._overwrite(text + self._tail)
        except OSError as error:
            self._overwrite(self._tail if instead is None else instead)  # fits: it stood here before
            self._file.truncate()
            raise SinkError(
                f"can't go on writing {self._partial.path} ({error.strerror}): it holds {self.written} frames"
            ) from error
        self._end += len(text)

    def _overwrite(self, data: bytes) -> None:
        self._file.seek(self._end)
        while data:
            data = data[self._file.write(data) :]
