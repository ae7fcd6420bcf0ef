"""Where trk-bench writes: places are opened before anything is measured, and hold the whole report or nothing."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from ..errors import UsageError
from ..video.partial import PartialFile


@contextmanager
def report_file(path: str | None) -> Iterator[Callable[[str], None]]:
    """Give a function that writes a report; an unwritable place is found out before anything is measured."""
    if path is None:
        yield lambda text: None
    elif path == "-":
        yield lambda text: click.echo(text)
    else:
        file = PartialFile(Path(path))
        try:
            yield lambda text: _write(file, (text + "\n").encode())
            file.publish()
        finally:
            file.discard()


@contextmanager
def picture_file(path: Path | None) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Give a function that draws a report; a place or a kind that can't be is found out before."""
    if path is None:
        yield lambda found: None
        return
    try:
        from ..bench.speed_picture import KINDS, picture
    except ImportError as error:
        raise UsageError(f"--picture needs {error.name}: pip install 'trk-engine[eval]'") from None
    kind = path.suffix.lower().lstrip(".")
    if kind not in KINDS:
        raise UsageError(f"--picture {path}: name a file that ends in {', '.join(f'.{one}' for one in KINDS)}")
    file = PartialFile(path)
    try:
        yield lambda found: _write(file, picture(found, kind))
        file.publish()
    finally:
        file.discard()


def _write(file: PartialFile, data: bytes) -> None:
    file.temporary.write_bytes(data)
