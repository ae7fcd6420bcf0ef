"""All sinks of a run, opened together and closed whole together."""

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ..tracking import Followed
from ..video.boxes import STDOUT, open_sink
from ..video.draw import draw
from ..video.sheet import ContactSheet
from ..video.source import Source
from ..video.writer import open_video


class Outputs:
    """The annotated video, the files of boxes and the contact sheet of a run; opened before the first frame.

    A context manager: every sink is closed whole whatever happens. Raises SinkError.
    """

    def __init__(
        self,
        source: Source,
        out: Path | None,
        boxes: Sequence[Path],
        sheet: Path | None,
        about: Mapping[str, object],
        *,
        several: bool = False,
    ):
        self._stack = ExitStack()
        self._several = several
        self.paths: list[Path] = [path for path in (out, *boxes, sheet) if path and str(path) != STDOUT]
        with ExitStack() as opening:
            self._video = opening.enter_context(open_video(out, source.size_wh, source.fps)) if out else None
            self._boxes = [opening.enter_context(open_sink(path, about=about, several=several)) for path in boxes]
            self._sheet = opening.enter_context(ContactSheet(sheet)) if sheet else None
            self._stack = opening.pop_all()
        self._recent = 0.0
        self._first_time: float | None = None

    def __enter__(self) -> "Outputs":
        return self

    def __exit__(self, *error: Any) -> bool | None:
        return self._stack.__exit__(*error)

    def add(self, one: Followed) -> tuple[dict[str, float], dict[str, float]]:
        """Write one frame; return the seconds of drawing and of writing, empty where there was none."""
        frame = one.frame
        started = time.perf_counter()
        picture = None
        if self._video:
            seconds = sum(result.time for result in one.results.values())
            self._recent = 0.9 * self._recent + 0.1 * seconds if self._recent else seconds
            fps = 1 / self._recent if self._recent else None
            picture = draw(frame.image, one.records(), numbered=self._several, fps=fps, frame_index=frame.index)
        drawn = time.perf_counter()
        if self._video and picture is not None:
            if self._first_time is None:
                self._first_time = frame.time
            # A run backwards plays backwards: its clock goes forwards all the same.
            self._video.write(picture, abs(frame.time - self._first_time))
        records = one.records()
        for sink in self._boxes:
            for record in records:
                sink.write(record)
        if self._sheet:
            self._sheet.add(one.frame.index, one.frame.image, records, numbered=self._several)
        written = time.perf_counter()
        return (
            {"draw": drawn - started} if self._video else {},
            {"write": written - drawn} if self.paths else {},
        )
