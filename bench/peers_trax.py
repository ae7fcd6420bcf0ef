"""A program that speaks TraX as a peer: the vot-trax package talks to it over its standard input and output."""

import subprocess
from contextlib import suppress
from math import nan
from typing import Any

import numpy as np

from ..engine.result import Box, Result
from ..errors import BackendError
from ..video.source import Image

MISSING = "this needs the vot-trax package: pip install 'trk-engine[trax]'"


class TraxPeer:
    """Starts `command` for each target, as the VOT toolkit does, and ends it with the next one."""

    def __init__(self, command: list[str]):
        try:
            import trax
        except ImportError:
            raise BackendError(f"command: {MISSING}") from None
        self._trax: Any = trax
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._client: Any = None

    def init(self, frame: Image, box: Box) -> None:
        """Start the program and give it `box` in `frame`."""
        from trax.client import Client
        from trax.region import Rectangle

        self.close()
        try:
            self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        except OSError as error:
            raise BackendError(f"command {self._command[0]} can't be started ({error.strerror})") from None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            streams = (self._process.stdin.fileno(), self._process.stdout.fileno())
            self._client = Client(streams, log=_ignore)  # without a logger, 4.0.2 passes None to its C library
            self._client.initialize(self._images(frame), [(Rectangle.create(*box), {})], {})
        except self._trax.TraxException as error:
            raise self._died(error) from None

    def update(self, frame: Image) -> Result:
        """Return the program's answer to `frame`."""
        try:
            objects, elapsed = self._client.frame(self._images(frame), {}, [])
        except self._trax.TraxException as error:
            raise self._died(error) from None
        return _answer(objects, elapsed)

    def close(self) -> None:
        """End the program."""
        if self._process is None:
            return
        if self._client is not None and self._process.poll() is None:
            with suppress(self._trax.TraxException):
                self._client.quit()
        self._free()  # before the streams: it may close them itself
        for stream in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                if stream is not None:
                    stream.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _free(self) -> None:
        """Let the client go, its C handle first: cleaning that up writes a last line to the client's logger."""
        if self._client is not None:
            self._client._handle = None
        self._client = None

    def _images(self, frame: Image) -> Any:
        # TraX has images in RGB.
        from trax.image import MemoryImage

        return {"color": MemoryImage.create(np.ascontiguousarray(frame[:, :, ::-1]))}

    def _died(self, error: Exception) -> BackendError:
        self._free()
        code = self._process.poll() if self._process else None
        ended = "" if code is None else f" (it ended with {code})"
        return BackendError(f"command {' '.join(self._command)} stopped answering{ended}: {error}")


def _ignore(line: str) -> None:
    del line


def _answer(objects: Any, elapsed: float) -> Result:
    """What the program said of its one target."""
    region, properties = objects[0]
    confidence = properties.get("confidence") if properties else None
    return Result(box_of(region), 0.0 if confidence is None else float(confidence), False, 0, elapsed)


def box_of(region: Any) -> Box:
    """Return the box of a TraX region, that around a polygon; nan where there is none."""
    if region.type == "rectangle":
        x, y, w, h = region.bounds()
        return x, y, w, h
    if region.type == "polygon":
        points = np.array([region.get(number) for number in range(region.size())])
        (x, y), (right, bottom) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
        return x, y, right - x, bottom - y
    return nan, nan, nan, nan
