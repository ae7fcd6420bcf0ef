"""Cost as the work grows: targets, frame size, threads, length of the video; each a row of points, measured in turn."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter, process_time
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from ..engine.bundle import Bundle
from ..engine.result import Box, Result, StageTimes
from ..engine.tracker import Tracker
from ..errors import UsageError
from ..video.source import Image
from .crowd import Crowd
from .footprint import resident_mib
from .machine import usable_cores
from .speed import Clip, Entry, Outcome, Plan, Runner, measure
from .speed_report import describe
from .stages import TRACKING

TARGETS = (1, 2, 4, 8, 16, 32)
HEIGHTS = (480, 720, 1080, 1440, 2160)
FIRST_LENGTH = 10


class Point(NamedTuple):
    """One amount of work in one way to do it."""

    series: str
    """The bundle, and what else tells the lines of a plot apart."""
    amount: int
    seconds: dict[str, float]
    """Median, quartiles and tail of a frame, in milliseconds, as `describe` gives them."""
    cpu_ms: float
    """Median of processor time, all threads together: what other work on the machine hardly disturbs."""
    memory_mib: float | None = None


@dataclass(frozen=True)
class Setup:
    """What is swept over."""

    bundles: Mapping[str, Bundle]
    backend: str
    device: str | None
    threads: int
    """Where threads are not what changes."""
    plan: Plan
    length: int
    """Frames of the longest video."""


class Resized:
    """A tracker that sees its clip in another size: frames are made beforehand, one for each of the clip's."""

    def __init__(self, runner: Runner, clip: Clip, height: int):
        self._runner = runner
        scale = height / clip.frames[0].shape[0]
        size = (round(clip.frames[0].shape[1] * scale), height)
        self._frames = [np.asarray(cv2.resize(frame, size), np.uint8) for frame in clip.frames]
        x, y, w, h = (value * scale for value in clip.box)
        self._box: Box = (x, y, w, h)
        self._at = 0
        self.stages = StageTimes(0.0, 0.0, 0.0)

    def init(self, frame: Image, box: Box) -> None:
        """Begin anew, with the clip's first frame."""
        del frame, box
        self._at = 0
        self._runner.init(self._frames[0], self._box)

    def update(self, frame: Image) -> Result:
        """Track the clip's next frame."""
        del frame
        self._at += 1
        result = self._runner.update(self._frames[self._at])
        self.stages = self._runner.stages
        return result


def sweep_targets(setup: Setup, clip: Clip, advance: Callable[[int], None]) -> list[Point]:
    """Return the time of a frame with 1 to 32 targets."""

    def entry(label: str, tracker: Tracker, count: int) -> Entry:
        return Entry(label, str(count), setup.threads, Crowd(tracker, count, setup.threads), same_boxes=False)

    found = []
    for label, bundle in setup.bundles.items():
        # One thread a target: it is the targets that are shared out to the cores.
        tracker = Tracker(bundle, setup.backend, setup.device, 1, on_lost="follow")
        found += [entry(label, tracker, count) for count in TARGETS]
    return _points(measure(found, clip, setup.plan, advance))


def sweep_size(setup: Setup, clip: Clip, advance: Callable[[int], None]) -> list[Point]:
    """Return the time of a frame of 480 to 2160 rows; the target grows with the frame."""
    found = []
    for label, bundle in setup.bundles.items():
        tracker = Tracker(bundle, setup.backend, setup.device, setup.threads, on_lost="follow")
        for height in HEIGHTS:
            runner = Resized(tracker, clip, height)
            found.append(Entry(label, str(height), setup.threads, runner, same_boxes=False))
    return _points(measure(found, clip, setup.plan, advance))


def sweep_threads(setup: Setup, clip: Clip, advance: Callable[[int], None]) -> list[Point]:
    """Return the time of a frame with one thread up to as many as there are cores."""
    cores = usable_cores()
    counts = [count for count in (1, 2, 4, 8, 16, 32, 64) if count <= cores]
    counts += [cores] if cores not in counts else []
    found = []
    for label, bundle in setup.bundles.items():
        for count in counts:
            tracker = Tracker(bundle, setup.backend, setup.device, count, on_lost="follow")
            found.append(Entry(label, str(count), count, tracker, same_boxes=False))
    return _points(measure(found, clip, setup.plan, advance))


def sweep_length(setup: Setup, clip: Clip, advance: Callable[[int], None]) -> list[Point]:
    """Return time of a frame and resident memory after 10, 100, ... frames: the clip forwards and backwards again.

    The time is that of the frames since the point before; bundles run one after the other.
    """
    lengths = [FIRST_LENGTH]
    while lengths[-1] * 10 <= setup.length:
        lengths.append(lengths[-1] * 10)
    lengths += [setup.length] if lengths[-1] < setup.length else []
    there_and_back = [*clip.frames[1:], *clip.frames[-2::-1]]
    found = []
    cv2.setNumThreads(setup.threads)
    for label, bundle in setup.bundles.items():
        tracker = Tracker(bundle, setup.backend, setup.device, setup.threads, on_lost="follow")
        tracker.init(clip.frames[0], clip.box)
        done = 0
        for length in lengths:
            # One number a frame, and no more of them than the newest: what grows must not be this list.
            times, cpu = np.empty(length - done), np.empty(length - done)
            for number in range(length - done):
                began, began_cpu = perf_counter(), process_time()
                tracker.update(there_and_back[(done + number) % len(there_and_back)])
                times[number], cpu[number] = perf_counter() - began, process_time() - began_cpu
                if number % 100 == 99:
                    advance(100)
            done = length
            seconds, cpu_ms = describe(times), _median_ms(cpu)
            del times, cpu
            found.append(Point(label, length, seconds, cpu_ms, resident_mib()))
    return found


SWEEPS: Mapping[str, tuple[Callable[..., list[Point]], str]] = {
    "targets": (sweep_targets, "targets"),
    "size": (sweep_size, "rows of the frame"),
    "threads": (sweep_threads, "threads"),
    "length": (sweep_length, "frames of the video"),
}
"""What can be swept, and what its amounts are."""


def sweep(name: str, setup: Setup, clip: Clip, advance: Callable[[int], None] = lambda count: None) -> list[Point]:
    """Return the points of one of SWEEPS. Raises what tracking raises; UsageError where a run failed."""
    work, _ = SWEEPS[name]
    # A crowd's boxes and a large frame's are nobody's to compare; one round more settles what one alone would not.
    return work(replace(setup, plan=replace(setup.plan, rounds=max(setup.plan.rounds, 2))), clip, advance)


def sweep_data(name: str, points: Sequence[Point]) -> dict[str, Any]:
    """Return a sweep ready for JSON."""
    crowd = name == "targets"
    return {
        "sweep": name,
        "amount": SWEEPS[name][1],
        "points": [
            {
                "series": point.series,
                "amount": point.amount,
                **point.seconds,
                "cpu_ms": point.cpu_ms,
                "memory_mib": point.memory_mib,
                "fps": round(1e3 / point.seconds["median_ms"], 2),
                **({"target_fps": round(point.amount * 1e3 / point.seconds["median_ms"], 2)} if crowd else {}),
            }
            for point in points
        ],
    }


def _points(outcome: Outcome) -> list[Point]:
    found = []
    for item in outcome.measured:
        if item.failed:
            raise UsageError(f"{item.entry.label} failed at {item.entry.how}: {item.failed}")
        seconds = describe(np.concatenate(item.seconds(*TRACKING)))
        cpu_ms = _median_ms(np.concatenate(item.cpu_seconds()))
        found.append(Point(item.entry.label, int(item.entry.how), seconds, cpu_ms))
    return found


def _median_ms(seconds: NDArray[np.float64]) -> float:
    return round(float(np.median(seconds)) * 1e3, 4)
