"""Where boxes go: CSV, JSON and OTB's text, one record per frame.

A sink writes beside its target, without buffering, and takes the target's name when it is closed. Closing after an
error or Ctrl-C keeps what was written: the file is complete and readable, only shorter.
"""

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from ..errors import SinkError
from .partial import PartialFile

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Record:
    """One frame's result. `box` is x, y, w, h: top-left corner, 0-indexed, pixels; `time` in seconds."""

    frame_index: int
    time: float
    box: Box
    score: float | None = None
    lost: bool = False


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


@dataclass(frozen=True)
class BoxFormat:
    """How a text format spells records: `head` (given `about`), rows joined by `between`, `tail`.

    No row may be shorter than `tail`: the next row overwrites it.
    """

    head: Callable[[Mapping[str, object]], str]
    row: Callable[[Record], str]
    between: str
    tail: str


def csv_row(record: Record) -> str:
    """`frame,time,x,y,w,h,score,lost`: frame and box 0-indexed, score empty where there is none, lost 0 or 1."""
    score = "" if _number(record.score) is None else f"{record.score:.6f}"
    box = (f"{value:.4f}" for value in record.box)
    return ",".join((str(record.frame_index), f"{record.time:.6f}", *box, score, str(int(record.lost)))) + "\n"


def json_row(record: Record) -> str:
    """One object on one line; numbers that JSON does not have (NaN, infinity) become null."""
    fields = {
        "frame": record.frame_index,
        "time": _number(record.time, 6),
        "box": [_number(v, 4) for v in record.box],
        "score": _number(record.score, 6),
        "lost": record.lost,
    }
    return json.dumps(fields, allow_nan=False)


def otb_row(record: Record) -> str:
    """`x,y,w,h` as the OTB benchmark has it: x and y count from 1, so a box at the corner is `1.0000,1.0000,...`."""
    x, y, w, h = record.box
    return f"{x + 1:.4f},{y + 1:.4f},{w:.4f},{h:.4f}\n"


def json_head(about: Mapping[str, object]) -> str:
    """The document up to its first row: `about`'s keys, then the list of frames."""
    keys = "".join(f"{json.dumps(key)}: {json.dumps(value)},\n" for key, value in about.items())
    return f'{{\n{keys}"frames": [\n'


BOX_FORMATS: dict[str, BoxFormat] = {
    ".csv": BoxFormat(lambda about: "frame,time,x,y,w,h,score,lost\n", csv_row, "", ""),
    ".json": BoxFormat(json_head, json_row, ",\n", "\n]\n}\n"),
    ".txt": BoxFormat(lambda about: "", otb_row, "", ""),
}
"""By the file's suffix. A format is a row here."""


def open_sink(path: str | Path, *, about: Mapping[str, object] | None = None) -> Sink:
    """A sink for boxes in the format of the path's suffix: .csv, .json or .txt (OTB).

    `about`: keys for the head of a JSON document (video, model, ...); formats without a head leave them out.
    Raises SinkError: unknown suffix, or a place that can't be written.
    """
    target = Path(path)
    form = BOX_FORMATS.get(target.suffix.lower())
    if form is None:
        raise SinkError(f"can't write boxes to {target}: name a file that ends in {', '.join(BOX_FORMATS)}")
    return TextSink(target, form, about or {})


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
        self._file = self._partial.temporary.open("wb", buffering=0)
        self._end = 0
        self._put(head)

    def write(self, record: Record) -> None:
        """Add one record; it is on its way to the disk when this returns."""
        self._put(((self._form.between if self.written else "") + self._form.row(record)).encode())
        self.written += 1

    def close(self) -> None:
        """Give the file its name."""
        if not self._file.closed:
            self._file.close()
            self._partial.publish()

    def discard(self) -> None:
        """Remove the temporary file."""
        self._file.close()
        self._partial.discard()

    def _put(self, text: bytes) -> None:
        try:
            self._overwrite(text + self._tail)
        except OSError as error:
            self._overwrite(self._tail)  # fits: it stood here before
            self._file.truncate()
            raise SinkError(
                f"can't go on writing {self._partial.path} ({error.strerror}): it holds {self.written} frames"
            ) from error
        self._end += len(text)

    def _overwrite(self, data: bytes) -> None:
        self._file.seek(self._end)
        while data:
            data = data[self._file.write(data) :]


def _number(value: float | None, digits: int = 6) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, digits)
