"""A file that appears under its name only when it is complete."""

import os
from io import FileIO
from pathlib import Path

from ..errors import SinkError


class PartialFile:
    """A temporary file beside `path`, created at once so that an unwritable place is known before any work is done.

    Write to `.temporary`, then `publish()` (renames it to `path`, replacing what was there) or `discard()`.
    Raises SinkError: the folder is missing, `path` is a folder, or nothing can be written there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
        if path.is_dir():
            raise SinkError(f"can't write {path}: it is a folder: name a file in it")
        if not path.parent.is_dir():
            raise SinkError(f"can't write {path}: no folder {path.parent}: make it first")
        if path.exists() and not os.access(path, os.W_OK):
            raise SinkError(f"can't write {path}: it is write-protected: choose another name")
        try:
            self.temporary.open("wb").close()
        except OSError as error:
            raise SinkError(f"can't write {path} ({error.strerror}): choose a folder you may write to") from error

    def open(self) -> FileIO:
        """Open it for writing without a buffer. Raises SinkError, and nothing is left then."""
        try:
            return self.temporary.open("wb", buffering=0)
        except OSError as error:
            self.discard()
            raise SinkError(
                f"can't write {self.path} ({error.strerror}): make room, or choose another folder"
            ) from error

    def publish(self) -> None:
        """Give the file its name."""
        try:
            self.temporary.replace(self.path)
        except OSError as error:
            raise SinkError(f"can't rename {self.temporary} to {self.path} ({error.strerror})") from error

    def discard(self) -> None:
        """Remove the file; what was under the name before stays."""
        self.temporary.unlink(missing_ok=True)
