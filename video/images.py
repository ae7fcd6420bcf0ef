"""Frames from image files: a folder, a glob or a single image, read by OpenCV."""

import glob
import re
import zlib
from collections.abc import Callable
from math import ceil
from pathlib import Path
from typing import cast

import cv2
import numpy as np

from ..errors import SourceError
from .source import DEFAULT_FPS, IMAGE_SUFFIXES, SLACK_SECONDS, Frame, Image, Position, Source, first_bytes

# OpenCV 5 moved it.
set_log_level = cast("Callable[[int], int]", getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel)
SILENT = 0

PNG = b"\x89PNG\r\n\x1a\n"


class ImageSource(Source):
    """Images in natural order (frame2 before frame10), `DEFAULT_FPS` of them to a second.

    EXIF rotation is applied; grey, 16-bit and transparent images become 8-bit BGR.
    """

    def __init__(self, spec: str) -> None:
        self._paths = find_images(spec)
        self._next = 0
        self.name = Path(spec).name or str(spec)
        self.fps = None
        self.count = len(self._paths)
        self._first: Image | None = read_image(self._paths[0], 0)
        self.size_wh = (self._first.shape[1], self._first.shape[0])

    def __next__(self) -> Frame:
        """The next image; SourceError where one is unreadable or of another size."""
        index = self._next
        if index >= len(self._paths):
            raise StopIteration
        image, self._first = self._first, None
        if image is None:
            image = read_image(self._paths[index], index)
        height, width = image.shape[:2]
        if (width, height) != self.size_wh:
            raise SourceError(
                f"{self._paths[index]} (frame {index}) is {width}x{height}, the frames before it are "
                f"{self.size_wh[0]}x{self.size_wh[1]}: keep images of one size in a sequence"
            )
        self._next = index + 1
        return Frame(index, index / DEFAULT_FPS, image)

    def skip_to(self, position: Position) -> None:
        """Leave out the images before `position`."""
        number = position if isinstance(position, int) else ceil((position - SLACK_SECONDS) * DEFAULT_FPS)
        if number > 0:
            self._first, self._next = None, min(number, len(self._paths))

    def backwards(self, last: Position | None = None) -> Source:
        """The images from `last` (None: the last one) to the first, with their own numbers and times."""
        return BackwardsImages(self._paths, self.name, last)

    def close(self) -> None:
        """End the sequence: nothing stays open between images."""
        self._next = len(self._paths)


class BackwardsImages(Source):
    """The same images from the last to the first."""

    def __init__(self, paths: list[Path], name: str, last: Position | None) -> None:
        self.name = name
        self.fps = None
        self.count = len(paths)
        number = len(paths) - 1 if last is None else last if isinstance(last, int) else int(last * DEFAULT_FPS + 1e-6)
        end = min(len(paths), number + 1)
        self._left = [(index, paths[index]) for index in range(end)]
        first = read_image(self._left[-1][1], end - 1)
        self.size_wh = (first.shape[1], first.shape[0])

    def __next__(self) -> Frame:
        """The image before; SourceError where one is unreadable or of another size."""
        if not self._left:
            raise StopIteration
        index, path = self._left.pop()
        image = read_image(path, index)
        height, width = image.shape[:2]
        if (width, height) != self.size_wh:
            raise SourceError(
                f"{path} (frame {index}) is {width}x{height}, the frames read before it are "
                f"{self.size_wh[0]}x{self.size_wh[1]}: keep images of one size in a sequence"
            )
        return Frame(index, index / DEFAULT_FPS, image)

    def close(self) -> None:
        """End the sequence."""
        self._left = []


def find_images(spec: str) -> list[Path]:
    """The image files of a folder, a glob or a single path, in natural order; never empty.

    Raises SourceError: the folder holds no image, the glob matches nothing, or nothing that is an image.
    """
    path = Path(spec)
    if path.is_file():
        return [path]
    kinds = " ".join(sorted(IMAGE_SUFFIXES))
    if path.is_dir():
        try:
            found = list(path.iterdir())
        except OSError as error:
            raise SourceError(f"folder {spec} can't be read ({error.strerror}): check its permissions") from error
        nothing = f"folder {spec} holds no images: it needs files ending in {kinds}"
    else:
        found = [Path(match) for match in glob.glob(spec, recursive=True)]  # noqa: PTH207  (absolute patterns too)
        nothing = f"{spec} matches no file: check the pattern, and quote it so that the shell leaves it alone"
        if found:
            nothing = f"{spec} matches {len(found)} files, none of them an image ({kinds}): name one video instead"
    images = [p for p in found if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".") and p.is_file()]
    if not images:
        raise SourceError(nothing)
    return sorted(images, key=lambda image: natural_key(str(image)))


def natural_key(text: str) -> tuple[list[tuple[int, str]], str]:
    """A sort key under which numbers inside a name count as numbers: img2 < img10 < img010 < imga."""
    parts = re.findall(r"(\d+)|(\D+)", text.casefold())
    return [(int(digits), "") if digits else (-1, word) for digits, word in parts], text


def read_image(path: Path, index: int) -> Image:
    """The image as uint8 [H, W, 3] BGR.

    Raises SourceError: missing, empty, a Git LFS pointer, cut off, or not an image. `index` names the frame.
    """
    first_bytes(path)
    data = path.read_bytes()
    wrong = flaw(data)
    if wrong is not None:
        raise SourceError(f"{path} (frame {index}) {wrong}: copy or download it again")
    level = set_log_level(SILENT)  # OpenCV would print lines of its own about what is told here in one
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:  # absurd sizes in the header
        image = None
    finally:
        set_log_level(level)
    if image is None:
        raise SourceError(f"{path} (frame {index}) can't be decoded: not an image, or damaged")
    return np.ascontiguousarray(image, dtype=np.uint8)


def flaw(data: bytes) -> str | None:
    """What is wrong with a PNG's or JPEG's bytes, or None.

    Looked for here because the decoders behind OpenCV may fill missing rows with grey, or print a line of their own.
    """
    if data.startswith(PNG):
        return _png_flaw(data)
    # An embedded thumbnail has an end marker of its own, ahead of the last start-of-scan.
    if data.startswith(b"\xff\xd8\xff") and data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda"):
        return f"is cut off after {len(data)} bytes"
    return None


def _png_flaw(data: bytes) -> str | None:
    """PNG is a chain of chunks (length, name, content, checksum) that ends with IEND."""
    at = len(PNG)
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        end = at + 8 + length
        if zlib.crc32(data[at + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            return "is damaged" if end + 4 <= len(data) else f"is cut off after {len(data)} bytes"
        if data[at + 4 : at + 8] == b"IEND":
            return None
        at = end + 4
    return f"is cut off after {len(data)} bytes"
