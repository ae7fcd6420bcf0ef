"""`follow_all`: many videos followed in one process, with one loaded network; several cameras at once are the same."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter, sleep
from types import TracebackType
from typing import NamedTuple

from .engine.multi import MultiTracker
from .engine.result import Box, StageTimes
from .engine.tracker import Tracker
from .errors import SourceError, TrkError
from .tracking import NO_FRAME, Followed, Waiting
from .video.seeds import Seed
from .video.source import Frame, Position, Source
from .video.span import open_span

POLL_SECONDS = 0.002
"""Between looks at cameras of which none has a new frame."""


class OfVideo(NamedTuple):
    """One frame of one of the videos with what was found in it, or the end of that video."""

    video: str
    """Its name among the videos."""
    followed: Followed | None
    """None: this video is over."""
    error: TrkError | None = None
    """What it broke off at; None: it is not over, or came to its end."""


def follow_all(
    videos: Mapping[str, tuple[Source | Path | str, Sequence[Seed]]],
    tracker: MultiTracker | Tracker | None = None,
    *,
    form: str = "xywh",
    relative: bool = False,
    start: Position = 0,
    end: Position | None = None,
    at_once: int | None = None,
) -> Iterator[OfVideo]:
    """Yield the frames of all `videos` with the boxes of their targets, each as `follow` would, and each one's end.

        for video, followed, error in trk.follow_all({"door": (0, seeds), "yard": ("rtsp://...", more)}):
            ...

    `videos`: by a name of the caller's, whatever `trk-run` takes as VIDEO or an open `Source`, and its boxes; targets
    are numbered in each video anew. A step is one frame of each file, the next ones decoded meanwhile, and of those
    cameras and streams that have a new one: none waits for another camera. `at_once`: how many are open at a time, the
    others follow as those end; None: all. A video that can't be opened, breaks off or has a box outside its frame is
    over, with its error, and the others go on. The rest is as for `follow`.
    """
    left = list(videos.items())
    with Videos(tracker if isinstance(tracker, MultiTracker) else MultiTracker(tracker)) as running:
        while left or running.names:
            while left and (at_once is None or len(running.names) < at_once):
                name, (source, seeds) = left.pop(0)
                try:
                    opened = open_span(source, start, end, ahead=True)
                except TrkError as error:
                    yield OfVideo(name, None, error)
                    continue
                running.add(name, opened, seeds, form, relative=relative)
            yield from running.step()


@dataclass
class _Video:
    """A video on its way."""

    source: Source
    waiting: Waiting
    numbers: dict[int, int] = field(default_factory=dict)
    """Of its targets among those of all videos, by their own."""


class _Step(NamedTuple):
    """One video's part in a step."""

    video: _Video
    frame: Frame
    boxes: dict[int, Box]
    """That begin, or are put right, in this frame."""
    decode: float

    @property
    def searched(self) -> dict[int, int]:
        """Its targets that are looked for in this frame, numbered as in `_Video.numbers`."""
        return {target: number for target, number in self.video.numbers.items() if target not in self.boxes}


class Videos:
    """Videos that are followed side by side: they come and go, and each is over by itself.

    `targets` is theirs as long as they run. A context manager, which closes the sources that are still open.
    """

    def __init__(self, targets: MultiTracker):
        self._targets = targets
        self._videos: dict[str, _Video] = {}

    @property
    def names(self) -> list[str]:
        """Of the videos that are not over."""
        return list(self._videos)

    def add(
        self, name: str, source: Source, seeds: Sequence[Seed], form: str = "xywh", *, relative: bool = False
    ) -> None:
        """Follow a video, too, from its next frame on; `source` is closed when it is over."""
        self._videos[name] = _Video(source, Waiting(seeds, form, relative=relative))

    def drop(self, name: str) -> None:
        """Leave a video where it is, and close it; one that is over is fine."""
        video = self._videos.pop(name, None)
        if video is not None:
            for number in video.numbers.values():
                self._targets.remove(number)
            video.source.close()

    def step(self) -> list[OfVideo]:
        """Follow one frame of every file, and of every camera and stream that has a new one; waits for the first."""
        steps: dict[str, _Step] = {}
        found: list[OfVideo] = []
        for name in self._ready():
            try:
                step = self._read(self._videos[name])
            except TrkError as error:
                found.append(self._over(name, error))
            else:
                if step is None:
                    found.append(self._ended(name))
                else:
                    steps[name] = step
        for name, followed in self._followed(steps).items():
            if isinstance(followed, TrkError):
                found.append(self._over(name, followed))
            elif followed.results:
                found.append(OfVideo(name, followed))
                if self._stops(followed, self._videos[name]):
                    found.append(self._ended(name))
        return found

    def __enter__(self) -> "Videos":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with ExitStack() as stack:
            for name in self.names:
                stack.callback(self.drop, name)

    def _ready(self) -> list[str]:
        """Return the videos to read: those that are not live, and of those that are, the ones with a new frame."""
        while True:
            ready = [name for name, video in self._videos.items() if not video.source.live or video.source.ready()]
            if ready or not self._videos:
                return ready
            sleep(POLL_SECONDS)

    def _read(self, video: _Video) -> _Step | None:
        """Return the next frame, None at the end. Raises SourceError, BoxError."""
        asked = perf_counter()
        frame = next(video.source, None)
        decode = perf_counter() - asked
        return None if frame is None else _Step(video, frame, video.waiting.due(frame), decode)

    def _followed(self, steps: Mapping[str, _Step]) -> dict[str, Followed | TrkError]:
        """Return what was found in each frame. Where not all can be searched, each is alone: one that fails is over."""
        kept = self._targets.snapshot() if len(steps) > 1 else {}
        found: dict[str, Followed | TrkError] = {}
        try:
            found |= self._search(steps)
        except TrkError as error:
            if len(steps) == 1:
                return dict.fromkeys(steps, error)
            self._targets.restore(kept)
            for name, step in steps.items():
                found |= self._followed({name: step})
        return found

    def _search(self, steps: Mapping[str, _Step]) -> dict[str, Followed]:
        targets = self._targets
        images = {number: step.frame.image for step in steps.values() for number in step.searched.values()}
        results = targets.update_each(images)
        seconds, followed = targets.stages, {}
        for name, step in steps.items():
            mine = {target: results[number] for target, number in step.searched.items()}
            share = len(mine) / max(1, len(results))
            stages = [part * share for part in seconds]
            for target, box in step.boxes.items():
                began = perf_counter()
                targets.stages = StageTimes(0.0, 0.0, 0.0)
                step.video.numbers[target] = targets.add(step.frame.image, box, step.video.numbers.get(target))
                mine[target] = targets.tracker.given(box, perf_counter() - began)
                stages = [part + more for part, more in zip(stages, targets.stages, strict=True)]
            followed[name] = Followed(step.frame, dict(sorted(mine.items())), step.decode, StageTimes(*stages))
        return followed

    def _stops(self, followed: Followed, video: _Video) -> bool:
        lost = all(result.lost for result in followed.results.values())
        return self._targets.tracker.policy.stops and lost and not video.waiting

    def _ended(self, name: str) -> OfVideo:
        """Return the end of a video whose frames have all come, or which is followed no more."""
        video = self._videos[name]
        video.waiting.tell(name)
        return self._over(name, None if video.numbers else SourceError(NO_FRAME.format(video.source.name)))

    def _over(self, name: str, error: TrkError | None) -> OfVideo:
        self.drop(name)
        return OfVideo(name, None, error)
