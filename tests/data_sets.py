"""Small data sets as benchmarks lay them out, for tests."""

from pathlib import Path

import cv2
import numpy as np

SIZE = 16
"""Of the images, in pixels: they are opened rarely here."""


def images(folder: Path, names: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    ok, picture = cv2.imencode(".jpg", np.zeros((SIZE, SIZE, 3), np.uint8))
    assert ok
    for name in names:
        (folder / name).write_bytes(picture.tobytes())


def numbered(count: int, digits: int = 4, start: int = 1) -> list[str]:
    return [f"{number:0{digits}d}.jpg" for number in range(start, start + count)]


def lines(path: Path, rows: list, separator: str = ",") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [row if isinstance(row, (list, tuple)) else [row] for row in rows]
    path.write_text("".join(separator.join(map(str, row)) + "\n" for row in rows))


def boxes(count: int) -> list[list[float]]:
    return [[10 + number, 20, 5, 6] for number in range(count)]
