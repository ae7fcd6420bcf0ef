"""Annotation files: boxes and flags, whatever separates the numbers."""

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import SourceError
from .sequence import Boxes

_SEPARATORS = re.compile(r"[\s,;]+")
POLYGON = 8


def read_numbers(path: Path, what: str) -> NDArray[np.float64]:
    """Return the table [lines, columns] in `path`, separated by commas, semicolons, tabs or blanks.

    `what` the lines should be is for messages. Raises SourceError: unreadable, empty, not numbers, or uneven lines.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").rstrip().splitlines()
    except OSError as error:
        raise SourceError(f"{path} can't be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise SourceError(f"{path} is not text: {what} a line is what it should be") from None
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            rows.append([float(word) for word in _SEPARATORS.split(line.strip(" ,;\t"))])
        except ValueError:
            raise SourceError(f"{path}, line {number}: {line[:60]!r} is not {what}") from None
        if len(rows[-1]) != len(rows[0]):
            raise SourceError(f"{path}, line {number}: {len(rows[-1])} numbers, {len(rows[0])} before it; {what} it is")
    if not rows:
        raise SourceError(f"{path} is empty: {what} a line is what it should hold")
    return np.array(rows)


def read_boxes(path: Path, first_pixel: int = 0) -> Boxes:
    """Return the boxes [lines, 4] in `path`, 0-indexed; `first_pixel` is what the file calls the first one (0 or 1).

    Eight numbers a line are the corners of a polygon, as VOT has them: the box around it is taken.
    """
    boxes = read_numbers(path, "x,y,w,h")
    if boxes.shape[1] == POLYGON:
        x, y = boxes[:, ::2], boxes[:, 1::2]
        low_x, low_y = x.min(axis=1), y.min(axis=1)
        boxes = np.stack([low_x, low_y, x.max(axis=1) - low_x, y.max(axis=1) - low_y], axis=1)
    if boxes.shape[1] != 4:
        raise SourceError(f"{path} has {boxes.shape[1]} numbers a line, not x,y,w,h")
    boxes[:, :2] -= first_pixel
    return boxes


def read_flags(path: Path) -> NDArray[np.float64]:
    """Return the numbers in `path` in one row, whether it has them in a line or one a line. [N]."""
    return read_numbers(path, "a number").reshape(-1)
