"""A source of which one frame was looked at and given back."""

from .source import Frame, Source


class Resumed(Source):
    """`frame` again, then what `source` has left. The source is closed with it."""

    def __init__(self, frame: Frame, source: Source) -> None:
        self.name, self.size_wh, self.fps = source.name, source.size_wh, source.fps
        self.count, self.live = source.count, source.live
        self._frame: Frame | None = frame
        self._source = source

    def __next__(self) -> Frame:
        """The frame that was given back, then the next ones."""
        frame, self._frame = self._frame, None
        return frame if frame is not None else next(self._source)

    def close(self) -> None:
        """Close the source."""
        self._frame = None
        self._source.close()
