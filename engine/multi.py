"""`MultiTracker`: several targets, in one video or in many, each as if it were followed alone."""

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from threading import Lock
from time import perf_counter

from ..errors import TrkError
from .bundle import Bundle
from .device_frame import AnyFrame, as_frame
from .result import Result, StageTimes
from .state import State
from .together import take_turns
from .tracker import Tracker

NO_TIME = StageTimes(0.0, 0.0, 0.0)


class MultiTracker:
    """Tracks any number of targets, which come and go while it runs.

        tracker = MultiTracker()
        first = tracker.add(frame, (x, y, w, h))
        results = tracker.update(next_frame)        # {first: Result}

    They may be in different videos: `update_each` takes a frame for each target. Frames and boxes as for `Tracker`,
    arguments too; a `Tracker` in the place of the bundle lends its loaded network. On a CPU the targets are shared out
    to `threads` cores (None: all), one target on one core at a time: small networks gain little from more cores each,
    and nothing from a batch. On a device they are searched for together, as many at once as the bundle has graphs for
    (`trk-export --targets`). `together` says which of the two it is; None goes by the device. Results equal those of
    one `Tracker` for each target. For one thread of the caller's.
    """

    def __init__(
        self,
        bundle: Tracker | Bundle | Path | str | None = None,
        backend: str = "auto",
        device: str | None = None,
        threads: int | None = None,
        *,
        preset: str | None = None,
        params: Mapping[str, float] | None = None,
        on_lost: str | None = None,
        template_rate: float | None = None,
        together: bool | None = None,
    ):
        if isinstance(bundle, Tracker):
            self.tracker = bundle.twin()
        else:
            self.tracker = Tracker(
                bundle,
                backend,
                device,
                1,
                preset=preset,
                params=params,
                on_lost=on_lost,
                template_rate=template_rate,
            )
        on_cpu = self.tracker.backend.device == "cpu"
        self._together = not on_cpu if together is None else together
        self._most_lanes = (threads or _cores()) if on_cpu else 1
        self._lanes = [self.tracker]
        self._pool: ThreadPoolExecutor | None = None
        self._states: dict[int, State] = {}
        self._last = 0
        self.stages = NO_TIME
        """Seconds of the last `update`, and of what was added since, as the parts of all targets shared them."""

    @property
    def ids(self) -> list[int]:
        """The numbers of the targets."""
        return list(self._states)

    def add(self, frame: AnyFrame, box: Sequence[float], target: int | None = None) -> int:
        """Follow what `box` holds in `frame`; return its number. A `target` that is there begins anew.

        Raises FrameError, BoxError; then nothing has changed.
        """
        tracker = self.tracker
        tracker.init(frame, box)
        assert tracker.state is not None
        if target is None:
            target = self._last + 1
        if self._together:
            tracker.backend.prepare(len(self._states.keys() | {target}))
        self._last = max(self._last, target)
        self._states[target] = tracker.state
        self.stages = _sum(self.stages, tracker.stages)
        return target

    def remove(self, target: int) -> None:
        """Stop following `target`; one that is not there is fine."""
        self._states.pop(target, None)

    def update(self, frame: AnyFrame, skip: Sequence[int] = ()) -> dict[int, Result]:
        """Where each target is in `frame`, by number; those in `skip` are left as they are. Raises FrameError."""
        found = dict.fromkeys((target for target in self._states if target not in skip), frame)
        if not found:
            as_frame(frame, self.tracker.backend.device)
        return self.update_each(found)

    def update_each(self, frames: Mapping[int, AnyFrame]) -> dict[int, Result]:
        """Where each target is in its own frame; those that `frames` has none for are left as they are.

        Frames may differ in size; targets of the same one are given the same object. On a device targets of different
        frames are searched for in one run, as many as the bundle has graphs for. Raises FrameError, before any target
        has moved; TrkError for a target that is not there.
        """
        started = perf_counter()
        for target in frames:
            if target not in self._states:
                raise TrkError(f"no target {target} is followed: add it first, with its box; there are {self.ids}")
        if self._together:
            found = take_turns(self.tracker, frames, self._states)
            self.stages = self.tracker.stages
            return found
        for frame in {id(frame): frame for frame in frames.values()}.values():
            as_frame(frame, self.tracker.backend.device)
        results: dict[int, Result] = {}
        turn = _Turn(list(frames))
        lanes = self._lanes_for(len(frames))
        others = (
            [self._pool.submit(self._work, lane, frames, turn, results) for lane in lanes[1:]] if self._pool else []
        )
        try:
            spent = self._work(lanes[0], frames, turn, results)
        finally:
            wait(others)
        self.stages = _sum(spent, *(other.result() for other in others))
        total = sum(self.stages)
        if total > 0:
            share = (perf_counter() - started) / total
            self.stages = StageTimes(*(seconds * share for seconds in self.stages))
        return {target: results[target] for target in frames}

    def snapshot(self) -> dict[int, State]:
        """The state of every target, for `restore`; small: kernels are shared, not copied."""
        return {target: state.copy() for target, state in self._states.items()}

    def restore(self, snapshot: Mapping[int, State]) -> None:
        """Go back to a `snapshot`, which stays good."""
        self._states = {target: state.copy() for target, state in snapshot.items()}

    def _lanes_for(self, targets: int) -> list[Tracker]:
        count = max(1, min(self._most_lanes, targets))
        while len(self._lanes) < count:
            self._lanes.append(self.tracker.twin())
        if count > 1 and self._pool is None:
            self._pool = ThreadPoolExecutor(self._most_lanes - 1, "trk-lane")
        return self._lanes[:count]

    def _work(
        self, lane: Tracker, frames: Mapping[int, AnyFrame], turn: "_Turn", results: dict[int, Result]
    ) -> StageTimes:
        """Take one target after the other, whichever is next."""
        spent = NO_TIME
        for target in turn:
            lane.state = self._states[target]
            results[target] = lane.update(frames[target])
            spent = _sum(spent, lane.stages)
        return spent


class _Turn:
    """An iterator that several threads take from: each gets items of its own."""

    def __init__(self, items: Sequence[int]):
        self._items = iter(items)
        self._lock = Lock()

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        with self._lock:
            return next(self._items)


def _cores() -> int:
    """Cores that this process may use: on a shared machine fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _sum(*times: StageTimes) -> StageTimes:
    return StageTimes(*map(sum, zip(*times, strict=True)))
