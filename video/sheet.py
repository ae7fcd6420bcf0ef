"""A contact sheet: frames of a run, evenly spaced, in one picture."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from ..errors import SinkError
from .draw import draw
from .partial import PartialFile
from .record import Box, Record
from .source import Image

TILE_AREA = 400 * 225
"""Pixels of one tile, whatever its shape: a sheet of twelve is about 1650 x 750 for wide video."""

GAP = 10
MARGIN = 16
BACKGROUND = (28, 26, 24)
SPARE = 4
"""Up to this many times the tiles are kept while the length of the run is unknown."""

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


@dataclass(frozen=True)
class _Shot:
    frame_index: int
    tile: Image


class ContactSheet:
    """`tiles` frames, evenly spaced over all that were added, with their boxes and numbers, `columns` to a row.

    A context manager; the picture is written when it is closed, also after an error or Ctrl-C, from the frames so far.
    Raises SinkError at once: a suffix OpenCV can't write, or a place that can't be written.
    """

    def __init__(self, path: str | Path, tiles: int = 12, columns: int = 4) -> None:
        target = Path(path)
        if target.suffix.lower() not in SUFFIXES:
            raise SinkError(f"can't write a contact sheet to {target}: name a file that ends in {', '.join(SUFFIXES)}")
        self._partial = PartialFile(target)
        self._tiles = max(1, tiles)
        self._columns = max(1, columns)
        self._every = 1
        self._added = 0
        self._shots: list[_Shot] = []
        self._closed = False

    def add(self, frame_index: int, image: Image, records: Iterable[Record] = (), *, numbered: bool = False) -> None:
        """Offer a frame (uint8 [H, W, 3] BGR) and what is known of its targets; only some are shrunk and kept."""
        if self._added % self._every == 0:
            self._shots.append(_Shot(frame_index, _tile(image, records, frame_index, numbered)))
        self._added += 1
        if len(self._shots) > SPARE * self._tiles:
            self._shots = self._shots[::2]
            self._every *= 2

    def close(self) -> None:
        """Write the sheet; nothing when no frame was added."""
        if self._closed:
            return
        self._closed = True
        if not self._shots:
            self._partial.discard()
            return
        sheet = _grid([shot.tile for shot in self._chosen()], self._columns)
        fine, data = cv2.imencode(self._partial.path.suffix.lower(), sheet)
        try:
            if not fine:
                raise SinkError(f"OpenCV can't encode {self._partial.path}")
            self._partial.temporary.write_bytes(data.tobytes())
        except OSError as error:
            self._partial.discard()
            raise SinkError(f"can't write {self._partial.path} ({error.strerror})") from error
        self._partial.publish()

    def _chosen(self) -> list[_Shot]:
        count = min(self._tiles, len(self._shots))
        return [self._shots[i] for i in np.linspace(0, len(self._shots) - 1, count).round().astype(int)]

    def __enter__(self) -> "ContactSheet":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _tile(image: Image, records: Iterable[Record], frame_index: int, numbered: bool) -> Image:
    height, width = image.shape[:2]
    scale = math.sqrt(TILE_AREA / (width * height))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    placed = [replace(record, box=_scaled(record.box, scale)) for record in records]
    return draw(np.asarray(small, np.uint8), placed, numbered=numbered, frame_index=frame_index)


def _scaled(box: Box, scale: float) -> Box:
    x, y, w, h = box
    return x * scale, y * scale, w * scale, h * scale


def _grid(tiles: list[Image], columns: int) -> Image:
    """Tiles of one size in rows, gaps between and a margin around."""
    columns = min(columns, len(tiles))
    rows = math.ceil(len(tiles) / columns)
    h, w = tiles[0].shape[:2]
    sheet = np.empty((rows * (h + GAP) - GAP + 2 * MARGIN, columns * (w + GAP) - GAP + 2 * MARGIN, 3), np.uint8)
    sheet[:] = BACKGROUND
    for place, tile in enumerate(tiles):
        row, column = divmod(place, columns)
        y, x = MARGIN + row * (h + GAP), MARGIN + column * (w + GAP)
        sheet[y : y + h, x : x + w] = tile
    return sheet
