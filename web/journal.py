"""Everything that was found, on disk: a session may last for days, and memory stays as it was.

A nameless temporary file of rows of one length: appended to, cut off where the run is wound back, searched by halves.
"""

import threading
from collections.abc import Iterable, Iterator
from dataclasses import astuple, fields
from tempfile import TemporaryFile, gettempdir
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import SinkError, UsageError
from ..video.record import Box, Record

COLUMNS: dict[Any, Any] = {int: "<i8", float: "<f8", bool: "?", Box: "<f8, <f8, <f8, <f8", float | None: "?, <f8"}
"""How a field of a record is stored, by its type; where there may be none, whether there is one, and which."""
ROW = np.dtype([(field.name, COLUMNS[field.type]) for field in fields(Record)])
OPTIONAL = tuple(field.type == float | None for field in fields(Record))
ROWS_READ = 4096
WOUND_BACK = "the run was wound back meanwhile: try again"


class Journal:
    """Records in the order of frames. One thread writes; any number may read at the same time."""

    def __init__(self) -> None:
        self._file = TemporaryFile(prefix="trk-", buffering=0)  # noqa: SIM115
        self._lock = threading.Lock()
        self._rows = 0
        self._cuts = 0

    def __len__(self) -> int:
        return self._rows

    @property
    def last_frame(self) -> int | None:
        """Number of the last frame that has records."""
        return int(self._read(self._rows - 1, self._rows)[0]["frame_index"]) if self._rows else None

    @property
    def first_frame(self) -> int | None:
        """Number of the first frame that has records."""
        return int(self._read(0, 1)[0]["frame_index"]) if self._rows else None

    def append(self, records: Iterable[Record]) -> None:
        """Add the records of one frame, later than all before. Raises SinkError: the disk is full."""
        rows = np.array([_row(record) for record in records], ROW)
        with self._lock:
            try:
                self._file.seek(self._rows * ROW.itemsize)
                data = memoryview(rows.tobytes())
                while data:
                    data = data[self._file.write(data) :]
            except OSError as error:
                raise SinkError(f"can't keep more records in {gettempdir()} ({error.strerror}): make room") from error
            self._rows += len(rows)

    def cut(self, last_frame: int) -> None:
        """Forget the frames after `last_frame`."""
        rows = self._rows_up_to(last_frame)
        with self._lock:
            if rows < self._rows:
                self._rows = rows
                self._cuts += 1
                self._file.truncate(rows * ROW.itemsize)

    def frame_at(self, frame_index: int) -> int | None:
        """The last frame up to `frame_index` that has records."""
        rows = self._rows_up_to(frame_index)
        return int(self._read(rows - 1, rows)[0]["frame_index"]) if rows else None

    def records(self, first_frame: int = 0, last_frame: int | None = None) -> Iterator[Record]:
        """The records from one frame to another, both included, as they are now.

        Raises UsageError where the run is wound back to before what was read already.
        """
        position = self._rows_up_to(first_frame - 1)
        end = self._rows if last_frame is None else self._rows_up_to(last_frame)
        cuts = self._cuts
        while position < end:
            rows = self._read(position, min(end, position + ROWS_READ))
            if self._cuts != cuts:
                raise UsageError(WOUND_BACK)
            for row in rows.tolist():
                yield _record(row)
            position += len(rows)

    def targets(self) -> set[int]:
        """The numbers of all targets that have records."""
        found: set[int] = set()
        for start in range(0, self._rows, ROWS_READ):
            found.update(np.unique(self._read(start, min(self._rows, start + ROWS_READ))["target"]).tolist())
        return found

    def close(self) -> None:
        """Give the disk's room back; more than once is fine."""
        self._file.close()

    def _rows_up_to(self, frame_index: int) -> int:
        """How many rows belong to frames up to `frame_index`."""
        low, high = 0, self._rows
        while low < high:
            middle = (low + high) // 2
            if self._read(middle, middle + 1)[0]["frame_index"] <= frame_index:
                low = middle + 1
            else:
                high = middle
        return low

    def _read(self, start: int, end: int) -> NDArray[Any]:
        with self._lock:
            self._file.seek(start * ROW.itemsize)
            data = self._file.read((end - start) * ROW.itemsize)
        if len(data) < (end - start) * ROW.itemsize:
            raise UsageError(WOUND_BACK)
        return np.frombuffer(data, ROW)


def _row(record: Record) -> tuple[Any, ...]:
    values = zip(astuple(record), OPTIONAL, strict=True)
    return tuple((value is not None, value or 0.0) if optional else value for value, optional in values)


def _record(row: tuple[Any, ...]) -> Record:
    columns = zip(row, OPTIONAL, strict=True)
    values: list[Any] = [(value[1] if value[0] else None) if optional else value for value, optional in columns]
    return Record(*values)
