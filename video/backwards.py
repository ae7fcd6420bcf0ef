"""A video file from its last frame to its first: group of pictures by group of pictures, each decoded forwards.

Kept in memory are at most `KEPT` decoded frames; of a longer group the end is decoded first and the group again for
what comes before, so that memory does not grow with the distance of key frames.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av

from ..errors import SourceError
from .files import ContainerSource, ToBgr, open_file, picture_stream
from .source import DEFAULT_FPS, Frame, Position, Source
from .survey import survey

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

KEPT_BYTES = 256 << 20
"""Decoded frames that may be held at once: 90 of 720p."""
MIN_KEPT = 8


class BackwardsVideo(Source):
    """Frames of a video file, last first; `index` and `time` are those of reading it forwards.

    Raises SourceError: no time stamps to go by, or packets missing; and where a frame can't be decoded (those after it
    were delivered).
    """

    def __init__(self, path: Path, last: Position | None = None) -> None:
        with ContainerSource(open_file(path), str(path)) as forwards:
            self.size_wh, self.fps = forwards.size_wh, forwards.fps
        self.name = path.name
        self._path = path
        self._container = open_file(path)
        self._stream = picture_stream(self._container, str(path))
        self._to_bgr = ToBgr()
        self._frames: Iterator[Frame] = iter(())
        width, height = self.size_wh
        self._kept = max(MIN_KEPT, KEPT_BYTES // (width * height * 3))
        try:
            self._survey = survey(self._container, self._stream)
            if self._survey.flaw is not None:
                raise SourceError(f"{self._path} can't be read backwards: {self._survey.flaw}")
        except BaseException:
            self.close()
            raise
        self._shown = self._survey.shown
        self._base = float(self._stream.time_base or 1 / DEFAULT_FPS)
        self.count: int = len(self._shown)
        self._frames = self._decoded(self._stop_behind(last))

    def __next__(self) -> Frame:
        """The frame before the last one delivered."""
        return next(self._frames)

    def close(self) -> None:
        """Close the file."""
        self._frames = iter(())
        self._container.close()

    def _stop_behind(self, last: Position | None) -> int:
        if last is None:
            return self.count
        if isinstance(last, int):
            return min(last + 1, self.count)
        return bisect_right(self._shown, self._shown[0] + last / self._base + 1e-6)

    def _decoded(self, stop: int) -> Iterator[Frame]:
        """Frames `stop` - 1 down to 0."""
        while stop > 0:
            # A group ends before the next key frame; the key itself is looked up by the last frame still to deliver.
            key = self._survey.key_before(stop - 1)
            start = max(self._survey.number_at(key), stop - self._kept)
            pictures = self._between(key, start, stop)
            for index in range(stop - 1, start - 1, -1):
                picture = pictures.pop(self._shown[index], None)
                if picture is None or picture.is_corrupt:
                    raise SourceError(
                        f"{self._path}: frame {index} can't be decoded: the file is damaged or cut short; the frames "
                        "after it are good"
                    )
                yield Frame(index, (self._shown[index] - self._shown[0]) * self._base, self._to_bgr(picture))
            stop = start

    def _between(self, key: int, start: int, stop: int) -> dict[int, "VideoFrame"]:
        """The pictures number `start` to `stop` - 1 by time stamp, decoded from the key frame at `key` on."""
        first, end = self._shown[start], self._shown[stop - 1]
        kept: deque[tuple[int, Any]] = deque(maxlen=stop - start)
        self._container.seek(key, stream=self._stream, backward=True)
        try:
            for picture in self._container.decode(self._stream):
                if picture.pts is not None and first <= picture.pts <= end:
                    kept.append((picture.pts, picture))
                if picture.pts is not None and picture.pts >= end:
                    break
        except av.error.FFmpegError:
            pass  # told by the first frame that is missing
        return dict(kept)
