"""Cameras and network streams: the newest frame, however slow the reader; a lost stream is opened again.

A thread reads as fast as frames come and keeps only the last one, so that the lag does not grow while a tracker is busy
(visionml/pytracking#228). Losses and returns are told through the logger `trk.video`.
"""

import logging
import sys
import threading
from collections.abc import Callable, Iterator
from time import monotonic
from urllib.parse import urlsplit

import numpy as np

from ..errors import SourceError
from .files import ContainerSource
from .source import Frame, Image, Source, public_name

log = logging.getLogger("trk.video")

OPEN_SECONDS = 10.0
STALL_SECONDS = 5.0
"""A stream that sends nothing for so long is lost."""
PATIENCE_SECONDS = 30.0
"""After so long without a frame it is not coming back."""
BACK_OFF = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds between attempts; the last one repeats."""

# Not "nobuffer": it throws the first key frame away, and the picture comes only with the second. Where one comes every
# two seconds: 2.1 s to the first picture, 0.4 s so; the lag is the same, since only the newest frame is delivered.
LOW_DELAY = {"flags": "low_delay", "fpsprobesize": "2"}
OPTIONS: dict[str, dict[str, str]] = {
    "rtsp": {**LOW_DELAY, "rtsp_transport": "tcp"},
    "rtsps": {**LOW_DELAY, "rtsp_transport": "tcp"},
}
"""FFmpeg's options by the URL's scheme. RTSP over UDP loses packets and decodes them to smears: TCP."""

Opener = Callable[[], Source]


class LiveSource(Source):
    """The newest frame of what `opener` opens, numbered as delivered, timed by this machine's clock from the first.

    `dropped` counts frames that were read and never asked for, `reconnects` how often the source was opened again.
    Iterating raises SourceError after `patience` seconds without a frame, or when the frame size changes.
    """

    live = True

    def __init__(self, opener: Opener, name: str, patience: float = PATIENCE_SECONDS) -> None:
        self.name = name
        self.count = None
        self.dropped = 0
        self.reconnects = 0
        self._opener = opener
        self._patience = patience
        self._opened = opener()  # raises at once where there is nothing to begin with
        self.size_wh, self.fps = self._opened.size_wh, self._opened.fps
        self._news = threading.Condition()
        self._newest: tuple[Image, float] | None = None
        self._failure: SourceError | None = None
        self._stop = threading.Event()
        self._began: float | None = None
        self._delivered = 0
        self._thread = threading.Thread(target=self._read, name="trk-live", daemon=True)
        self._thread.start()

    def __next__(self) -> Frame:
        """The newest frame that was not delivered yet; waits for one."""
        with self._news:
            self._news.wait_for(lambda: self._newest or self._failure or self._stop.is_set())
            if self._stop.is_set():
                raise StopIteration
            if self._newest is None:
                raise self._failure or StopIteration
            image, moment = self._newest
            self._newest = None
        if self._began is None:
            self._began = moment
        frame = Frame(self._delivered, moment - self._began, image)
        self._delivered += 1
        return frame

    def ready(self) -> bool:
        """Whether there is a frame that was not delivered yet, or none will come."""
        return self._newest is not None or self._failure is not None or self._stop.is_set()

    def close(self) -> None:
        """Stop reading; more than once is fine."""
        self._stop.set()
        with self._news:
            self._news.notify_all()
        self._thread.join(timeout=2.0)

    def _read(self) -> None:
        last = monotonic()
        attempt = 0
        source: Source | None = self._opened
        while not self._stop.is_set():
            try:
                source = source or self._opener()
                for frame in source:
                    if attempt:
                        log.warning("%s is back", self.name)
                        self.reconnects += 1
                    last, attempt = monotonic(), 0
                    if self._stop.is_set() or not self._offer(frame):
                        break
                why = "it ended"
            except SourceError as error:
                why = str(error).removeprefix(f"{self.name} ")
            finally:
                if source is not None:
                    source.close()
            source = None
            if self._failure or self._stop.is_set():
                return
            if monotonic() - last > self._patience:
                self._fail(f"{self.name} gave no frame for {self._patience:g} s ({why}): check it and its network")
                return
            pause = min(BACK_OFF[min(attempt, len(BACK_OFF) - 1)], self._patience / 4)
            log.warning("%s is lost (%s): trying again in %g s", self.name, why, pause)
            attempt += 1
            self._stop.wait(pause)

    def _offer(self, frame: Frame) -> bool:
        height, width = frame.image.shape[:2]
        if (width, height) != self.size_wh:
            self._fail(
                f"{self.name} changed from {self.size_wh[0]}x{self.size_wh[1]} to {width}x{height}: start again with "
                "a box in the new picture"
            )
            return False
        with self._news:
            self.dropped += self._newest is not None
            self._newest = (frame.image, monotonic())
            self._news.notify_all()
        return True

    def _fail(self, message: str) -> None:
        with self._news:
            self._failure = SourceError(message)
            self._news.notify_all()


class Capture(Source):
    """Frames of a camera through OpenCV, which knows the cameras of every system."""

    def __init__(self, device: int | str) -> None:
        import cv2

        from .images import SILENT, set_log_level

        self.name = f"camera {device}"
        self.count = None
        level = set_log_level(SILENT)  # OpenCV would tell on stderr what is told here in one line
        try:
            self._capture = cv2.VideoCapture(device)
            image = self._image() if self._capture.isOpened() else None
        finally:
            set_log_level(level)
        if image is None:
            self._capture.release()
            hint = " (ls /dev/video*)" if sys.platform.startswith("linux") else ""
            raise SourceError(f"{self.name} gives no picture: is it plugged in, and not used by another program?{hint}")
        self.fps = self._capture.get(cv2.CAP_PROP_FPS) or None
        self.size_wh = (image.shape[1], image.shape[0])
        self._first: Image | None = image
        self._index = 0

    def __next__(self) -> Frame:
        """The next frame; StopIteration where the camera gives none."""
        image, self._first = self._first, None
        if image is None:
            image = self._image()
            if image is None:
                raise StopIteration
        frame = Frame(self._index, self._index / (self.fps or 25.0), image)
        self._index += 1
        return frame

    def _image(self) -> Image | None:
        good, image = self._capture.read()
        return np.asarray(image, np.uint8) if good else None

    def close(self) -> None:
        """Give the camera back."""
        self._capture.release()


def open_camera(device: int) -> Source:
    """The newest frame of camera number `device`. Raises SourceError: there is none, or it is in use."""
    return LiveSource(lambda: Capture(device), f"camera {device}")


def open_url(url: str, patience: float = PATIENCE_SECONDS) -> Source:
    """What lies at `url`: every frame of a file that has a length, the newest frame of a stream that has none.

    Raises SourceError: nobody answers, or it is not a video. A password in the URL appears in no message.
    """
    name = public_name(url)
    first = _Container(url, name)
    if first.ends:
        return first
    reused: Iterator[Source] = iter((first,))
    return LiveSource(lambda: next(reused, None) or _Container(url, name), name, patience)


class _Container(ContainerSource):
    """An opened URL."""

    def __init__(self, url: str, name: str) -> None:
        import av

        try:
            container = av.open(
                url, options=OPTIONS.get(urlsplit(url).scheme.lower(), {}), timeout=(OPEN_SECONDS, STALL_SECONDS)
            )
        except (av.error.FFmpegError, OSError, ValueError) as error:
            why = (getattr(error, "strerror", None) or str(error)).replace(url, name)
            raise SourceError(f"{name} can't be opened ({why}): check the address, and that it sends video") from error
        self.ends = container.duration is not None and container.duration > 0
        super().__init__(container, name)
