"""`track`: a video goes in, the target's box in every frame comes out; `follow` does it for several targets."""

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

from .engine.boxes import check_box
from .engine.multi import MultiTracker
from .engine.result import Box, Result, StageTimes
from .engine.tracker import Tracker
from .errors import BoxError, SourceError
from .video.boxes import Record
from .video.seeds import Seed, as_xywh
from .video.source import Frame, Position, Source
from .video.span import open_span

log = logging.getLogger("trk.tracking")


class Tracked(NamedTuple):
    """One frame with what was found in it."""

    frame: Frame
    result: Result
    decode: float
    """Seconds that reading the frame took."""
    stages: StageTimes


class Followed(NamedTuple):
    """One frame with what was found of each target."""

    frame: Frame
    results: dict[int, Result]
    """By the target's number."""
    decode: float
    """Seconds that reading the frame took."""
    stages: StageTimes
    """Of all targets together."""

    def records(self) -> list[Record]:
        """One record for a sink per target."""
        return [as_record(self.frame, target, result) for target, result in self.results.items()]


def as_record(frame: Frame, target: int, result: Result) -> Record:
    """Return what a sink takes, and a picture: the result of `target` in `frame`."""
    return Record(frame.index, frame.time, result.box, result.score, result.lost, target, result.confidence)


def track(
    source: Source | Path | str,
    box: Sequence[float],
    tracker: Tracker | None = None,
    *,
    start: Position = 0,
    end: Position | None = None,
    reverse: bool = False,
) -> Iterator[Tracked]:
    """Yield every frame from `start` to `end` with the target's box; `box` is where the target is in the first one.

    `source`: whatever `trk-run` takes as VIDEO, or an open `Source`. `tracker`: None is `Tracker()`. `start`, `end`: an
    int is the number of a frame, a float seconds; both are included. `reverse`: from the end to the start; `box` is
    then of the last frame. The first result is `box` itself, with score 1. Where the tracker's policy is "stop", the
    frame in which its target is lost is the last. Raises SourceError, BoxError.
    """
    with open_span(source, start, end, reverse=reverse) as frames:
        targets = MultiTracker(tracker or Tracker(), threads=1)

        def begin(frame: Frame) -> dict[int, Box]:
            return {} if targets.ids else {1: check_box(box, _size_wh(frame))}

        for one in _follow(frames, begin, targets):
            yield Tracked(one.frame, one.results[1], one.decode, one.stages)


def follow(
    source: Source | Path | str,
    seeds: Sequence[Seed],
    tracker: MultiTracker | Tracker | None = None,
    *,
    form: str = "xywh",
    relative: bool = False,
    start: Position = 0,
    end: Position | None = None,
    reverse: bool = False,
) -> Iterator[Followed]:
    """Yield every frame with the box of each target, from the first frame on that has one.

    `seeds`: where targets begin, or are put right while they are tracked; their numbers are in the format `form`, one
    of `video.seeds.FORMATS`, in pixels or `relative` to the frame. `tracker`: None is `MultiTracker()`, on every core.
    The rest is as for `track`.
    """
    waiting = Waiting(seeds, form, relative=relative)
    with open_span(source, start, end, reverse=reverse) as frames:
        targets = tracker if isinstance(tracker, MultiTracker) else MultiTracker(tracker)
        yield from _follow(frames, waiting.due, targets, waiting)
        waiting.tell()
        if not targets.ids:
            raise SourceError(NO_FRAME.format(frames.name))


NO_FRAME = "{} has none of the frames that the boxes are for"


class Waiting:
    """Boxes that wait for their frames: numbers in the format `form`, in pixels or `relative` to the frame."""

    def __init__(self, seeds: Sequence[Seed], form: str = "xywh", *, relative: bool = False):
        self._form, self._relative = form, relative
        self._by_frame: dict[int | None, list[Seed]] = {}
        for seed in seeds:
            self._by_frame.setdefault(seed.frame, []).append(seed)

    def __bool__(self) -> bool:
        """Whether there are any left."""
        return bool(self._by_frame)

    def due(self, frame: Frame) -> dict[int, Box]:
        """Return the boxes of `frame` by target; those without a frame are the first one's. Raises BoxError."""
        boxes = {}
        for seed in [*self._by_frame.pop(None, []), *self._by_frame.pop(frame.index, [])]:
            try:
                size_wh = _size_wh(frame)
                numbers = as_xywh(seed.numbers, self._form, size_wh, relative=self._relative)
                boxes[seed.target] = check_box(numbers, size_wh)
            except BoxError as error:
                raise BoxError(f"{error} (frame {frame.index})" if seed.frame is not None else str(error)) from None
        return boxes

    def tell(self, video: str = "") -> None:
        """Tell of the boxes whose frames never came; `video`: where there are several, which one this is."""
        for seed in [seed for left in self._by_frame.values() for seed in left]:
            of = f"{video}: " if video else ""
            log.warning("%sthe box of target %s at frame %s was never reached", of, seed.target, seed.frame)


def _follow(
    frames: Source,
    begin: Callable[[Frame], dict[int, Box]],
    targets: MultiTracker,
    waiting: Waiting | None = None,
) -> Iterator[Followed]:
    stops = targets.tracker.policy.stops
    while True:
        asked = perf_counter()
        frame = next(frames, None)
        decode = perf_counter() - asked
        if frame is None:
            return
        boxes = begin(frame)
        results = targets.update(frame.image, skip=list(boxes))
        for target, box in boxes.items():
            began = perf_counter()
            targets.add(frame.image, box, target)
            results[target] = targets.tracker.given(box, perf_counter() - began)
        if results:
            yield Followed(frame, dict(sorted(results.items())), decode, targets.stages)
            if stops and not waiting and all(result.lost for result in results.values()):
                return


def _size_wh(frame: Frame) -> tuple[int, int]:
    return frame.image.shape[1], frame.image.shape[0]
