"""`track`: a video goes in, the target's box in every frame comes out."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

from .engine.boxes import check_box
from .engine.result import Result, StageTimes
from .engine.tracker import Tracker
from .errors import SourceError
from .video.source import Frame, Source, open_source


class Tracked(NamedTuple):
    """One frame with what was found in it."""

    frame: Frame
    result: Result
    decode: float
    """Seconds that reading the frame took."""
    stages: StageTimes


def track(
    source: Source | Path | str, box: Sequence[float], tracker: Tracker | None = None, *, start: int = 0
) -> Iterator[Tracked]:
    """Yield every frame from number `start` on with the target's box; `box` is where the target is in that first one.

    `source`: a video file, a folder or a glob of images, or an open `Source`. `tracker`: None is `Tracker()`. The first
    result is `box` itself, with score 1. Raises SourceError, BoxError.
    """
    opened = source if isinstance(source, Source) else open_source(source)
    with opened:
        yield from _track(opened, box, tracker or Tracker(), start)


def _track(source: Source, box: Sequence[float], tracker: Tracker, start: int) -> Iterator[Tracked]:
    frames = iter(source)
    begun = False
    while True:
        asked = perf_counter()
        frame = next(frames, None)
        decode = perf_counter() - asked
        if frame is None:
            break
        if frame.index < start:
            continue
        if begun:
            result = tracker.update(frame.image)
        else:
            tracker.init(frame.image, box)
            height, width = frame.image.shape[:2]
            result = Result(check_box(box, (width, height)), 1.0, False, 0, sum(tracker.stages))
            begun = True
        yield Tracked(frame, result, decode, tracker.stages)
    if not begun:
        raise SourceError(f"{source.name} has no frame {start}: tracking starts at a frame that is there")
