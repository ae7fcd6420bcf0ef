"""Where frames come from: one interface over video files, folders, globs and single images."""

import glob
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from ..errors import SourceError

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
DEFAULT_FPS = 25.0
"""Frames a second where the source has no clock of its own (images)."""

Image = NDArray[np.uint8]
"""uint8 [H, W, 3] BGR."""

LFS_MAGIC = b"version https://git-lfs.github.com/spec/"


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame. `image` is uint8 [H, W, 3] BGR, contiguous, and belongs to whoever receives it.

    `index` counts from 0 in the order delivered; `time` is in seconds from the first frame.
    """

    index: int
    time: float
    image: Image


class Source(ABC):
    """Frames in order, once: a context manager and an iterator of `Frame`.

    What is known before the first frame is asked for:

    - `name`: file or folder name, for titles and messages
    - `size_wh`: width and height in pixels as delivered (rotation already applied)
    - `fps`: average frames a second; None where the source has no clock
    - `count`: frames expected, possibly an estimate; None when unknown

    Iterating raises SourceError at a frame that can't be decoded, after every frame before it was delivered.
    """

    name: str
    size_wh: tuple[int, int]
    fps: float | None
    count: int | None

    @abstractmethod
    def __next__(self) -> Frame:
        """The next frame; StopIteration after the last."""

    @abstractmethod
    def close(self) -> None:
        """Give back what is held open; more than once is fine."""

    def __iter__(self) -> Iterator[Frame]:
        return self

    def __enter__(self) -> "Source":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_source(spec: str | Path) -> Source:
    """The source that `spec` names: a video file, an image, a folder of images or a glob such as `shots/*.png`.

    The first frame is decoded here, so that a source which opens also delivers.

    Raises SourceError: nothing there, nothing in it, or not a video or image.
    """
    text = str(spec)
    try:
        for matches, opener in _KINDS if text else ():
            if matches(text):
                return opener(text)
        folder = Path(text).parent
        where = "" if folder.is_dir() else f" (nor a folder {folder})"
    except OSError as error:  # the name itself is impossible: too long, or under a file
        raise SourceError(f"{text[:80]} can't be opened ({error.strerror})") from error
    raise SourceError(f"no file or folder {text!r}{where}: name a video, an image, a folder of images or a quoted glob")


def first_bytes(path: Path) -> bytes:
    """The first bytes of a file that holds something of its own.

    Raises SourceError: unreadable, empty, or a Git LFS pointer in place of the file.
    """
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise SourceError(f"{path} can't be read ({error.strerror}): check its permissions") from error
    if not head:
        raise SourceError(f"{path} is empty (0 bytes): copy or download it again")
    if head.startswith(LFS_MAGIC):
        raise SourceError(f"{path} is a Git LFS pointer, not the file itself: run `git lfs pull` where it came from")
    return head


def _open_images(text: str) -> Source:
    from .images import ImageSource

    return ImageSource(text)


def _open_video(text: str) -> Source:
    from .files import VideoFile

    return VideoFile(Path(text))


def _is_image_set(text: str) -> bool:
    path = Path(text)
    if path.is_file():
        return path.suffix.lower() in IMAGE_SUFFIXES
    return path.is_dir() or glob.has_magic(text)


def _is_file(text: str) -> bool:
    return Path(text).exists()


# The first row whose test holds opens the source. A new kind (camera, stream, pipe) is a new row.
_KINDS: tuple[tuple[Callable[[str], bool], Callable[[str], Source]], ...] = (
    (_is_image_set, _open_images),
    (_is_file, _open_video),
)
