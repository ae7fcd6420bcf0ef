"""Where frames come from: one interface over files, folders, globs, cameras, streams and pipes."""

import glob
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from urllib.parse import urlsplit
from urllib.request import url2pathname

import numpy as np
from numpy.typing import NDArray

from ..errors import SourceError

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
DEFAULT_FPS = 25.0
"""Frames a second where the source has no clock of its own (images)."""

SLACK_SECONDS = 1e-4
"""A time typed with four digits still meets its frame."""

Image = NDArray[np.uint8]
"""uint8 [H, W, 3] BGR."""

STDIN = "-"
URL = re.compile(r"[a-z][a-z0-9+.]+://", re.IGNORECASE)

LFS_MAGIC = b"version https://git-lfs.github.com/spec/"


Position = int | float
"""Where in a source: an int is the number of a frame, a float seconds from the first frame."""


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
    - `live`: whether frames come as they happen, so that a slow reader gets the newest and not the next

    Iterating raises SourceError at a frame that can't be decoded, after every frame before it was delivered.
    """

    name: str
    size_wh: tuple[int, int]
    fps: float | None
    count: int | None
    live: bool = False

    @abstractmethod
    def __next__(self) -> Frame:
        """The next frame; StopIteration after the last."""

    def ready(self) -> bool:
        """Whether there is something to be had without waiting for it to happen: a stream's next frame, or its end."""
        return True

    @abstractmethod
    def close(self) -> None:
        """Give back what is held open; more than once is fine."""

    def skip_to(self, position: Position) -> None:
        """Leave out frames before `position`, all or some, where that costs less than reading them.

        Before the first frame is asked for; numbers and times stay what they are.
        """
        del position  # a pipe, a stream: everything is read

    def backwards(self, last: Position | None = None) -> "Source":
        """The same frames from the last to the first, numbers and times as before; this source is used up.

        `last`: begin at that frame, or the last one not later than it. Raises SourceError: the source has no end yet.
        """
        raise SourceError(f"{self.name} can't be read backwards: --reverse needs a video file or images")

    def __iter__(self) -> Iterator[Frame]:
        return self

    def __enter__(self) -> "Source":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_source(spec: str | Path, *, raw: str | None = None) -> Source:
    """The source that `spec` names.

    A video file, an image, a folder of images, a glob such as `shots/*.png`, the number of a camera (`0`), a URL
    (rtsp, http, ...), or `-` for standard input: any container FFmpeg reads, MJPEG, or, with `raw` as
    `WIDTHxHEIGHT[:FORMAT[:FPS]]`, bare pictures. The first frame is decoded here, so that a source which opens also
    delivers.

    Raises SourceError: nothing there, nothing in it, or not a video or image.
    """
    text = str(spec)
    if raw is not None and text != STDIN:
        raise SourceError(f"{raw!r} describes bare pictures on standard input, not {text}: name - as the video")
    try:
        for matches, opener in _KINDS if text else ():
            if matches(text):
                return opener(text) if raw is None else _open_pipe(text, raw)
        folder = Path(text).parent
        where = "" if folder.is_dir() else f" (nor a folder {folder})"
    except OSError as error:  # the name itself is impossible: too long, or under a file
        raise SourceError(f"{text[:80]} can't be opened ({error.strerror})") from error
    raise SourceError(f"no file or folder {text!r}{where}: name a video, an image, a folder of images or a quoted glob")


def public_name(spec: str) -> str:
    """`spec` as it may be shown and written: a URL loses user, password and query."""
    if URL.match(spec) is None:
        return spec
    parts = urlsplit(spec)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


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


def _open_pipe(text: str, raw: str | None = None) -> Source:
    from .pipe import open_pipe

    return open_pipe(0, raw)


def _open_camera(text: str) -> Source:
    from .live import open_camera

    return open_camera(int(text))


def _open_url(text: str) -> Source:
    from .live import open_url

    if text.lower().startswith("file:"):
        return _open_video(url2pathname(urlsplit(text).path))
    return open_url(text)


def _is_pipe(text: str) -> bool:
    return text == STDIN


def _is_camera(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 4 and not Path(text).exists()


def _is_url(text: str) -> bool:
    return URL.match(text) is not None and not Path(text).exists()


def _is_image_set(text: str) -> bool:
    path = Path(text)
    if path.is_file():
        return path.suffix.lower() in IMAGE_SUFFIXES
    return path.is_dir() or glob.has_magic(text)


def _is_file(text: str) -> bool:
    return Path(text).exists()


# The first row whose test holds opens the source. A new kind is a new row.
_KINDS: tuple[tuple[Callable[[str], bool], Callable[[str], Source]], ...] = (
    (_is_pipe, _open_pipe),
    (_is_url, _open_url),
    (_is_camera, _open_camera),
    (_is_image_set, _open_images),
    (_is_file, _open_video),
)
