"""What training data is, whatever its layout: tracks of frames, each an image somewhere and a box in it."""

import zipfile
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import SourceError

Image = NDArray[np.uint8]
Box = tuple[float, float, float, float]
"""x, y, w, h: top-left corner, 0-indexed, float pixels."""


@dataclass(frozen=True)
class Frame:
    """An image, or a member of a zip, and the target's box in it; None: no box, a random region is the target."""

    path: Path
    box: Box | None
    member: str | None = None
    number: int = 0
    """Frame number in its video."""
    relative: bool = False
    """Whether the box is in shares of the image's width and height."""

    def box_in(self, image: Image) -> Box | None:
        """Return the box in pixels of `image`, None where there is none."""
        if self.box is None or not self.relative:
            return self.box
        (height, width), (x, y, w, h) = image.shape[:2], self.box
        return x * width, y * height, w * width, h * height


@dataclass(frozen=True)
class Track:
    """Frames of one target. `source` is where it comes from, `kind` "video" or "still"."""

    name: str
    source: str
    kind: str
    frames: tuple[Frame, ...]


class Images:
    """Reads frames; keeps zips open, a few of them."""

    def __init__(self, keep: int = 8):
        self._zips: OrderedDict[Path, zipfile.ZipFile] = OrderedDict()
        self._keep = keep

    def read(self, frame: Frame) -> Image:
        """Return the image, uint8 [H, W, 3] BGR. Raises SourceError where it can't be read."""
        try:
            data = self._zip(frame.path).read(frame.member) if frame.member else frame.path.read_bytes()
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise SourceError(f"{frame.path} {frame.member or ''} can't be read: {error}") from None
        return decoded(data, f"{frame.path} {frame.member or ''}")

    def _zip(self, path: Path) -> zipfile.ZipFile:
        if path not in self._zips:
            self._zips[path] = zipfile.ZipFile(path)
            if len(self._zips) > self._keep:
                self._zips.popitem(last=False)[1].close()
        self._zips.move_to_end(path)
        return self._zips[path]


def decoded(data: bytes, name: str) -> Image:
    """Return the image, uint8 [H, W, 3] BGR, of an image file's bytes. Raises SourceError."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if image is None:
        raise SourceError(f"{name} is no image that OpenCV can decode")
    return np.asarray(image, np.uint8)


def usable(box: Sequence[float], smallest: float = 4.0) -> bool:
    """Return whether a box can be a target: finite, sides of `smallest` pixels or more, no longer than 8 to 1."""
    x, y, w, h = box
    return bool(np.isfinite([x, y, w, h]).all()) and min(w, h) >= smallest and max(w / h, h / w) <= 8.0
