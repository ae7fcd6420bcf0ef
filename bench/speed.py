"""Speed of trackers on one clip: everything that is compared takes turns in one run, so that noise hits all alike.

The frames are decoded before the first one is timed. A round is one pass through the clip from its first box; within
it, blocks of frames go to every tracker in turn, in an order that changes (seeded). The first frame of a block is
tracked and not counted: it pays for what the other trackers left in the caches.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from random import Random
from time import process_time
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from ..engine.result import Box, Result, StageTimes
from ..errors import BoxError, CheckpointError, TrkError
from ..video.source import Image
from .device import to_gpu
from .metrics import overlap
from .speed_clip import LEAST_FRAMES
from .speed_clip import Clip as Clip
from .speed_clip import read_clip as read_clip
from .stages import TRACKING

SETTLE = 1
"""Frames at the beginning of a block that are tracked and not counted."""
SAME_BOX = 0.05
"""Pixels by which two ways to run the same network may differ in a frame."""


class Runner(Protocol):
    """What can be measured: `Tracker`, or anything that is used like it."""

    stages: StageTimes

    def init(self, frame: Image, box: Box) -> None:
        """Take `box` in `frame` as the target."""

    def update(self, frame: Image) -> Result:
        """Return where the target is in `frame`."""


@dataclass(frozen=True)
class Entry:
    """One way to run one bundle."""

    label: str
    """The bundle's name."""
    how: str
    """Who runs it: a backend's name, or a style."""
    threads: int
    runner: Runner
    about: dict[str, Any] = field(default_factory=dict)
    is_close_call: Callable[[], bool] = lambda: False
    """Whether rounding may have decided the last frame, so that equal trackers may part there. Not all can tell."""
    has_parts: bool = True
    """It tells crop, search and host apart. One that does not counts as search alone."""
    same_boxes: bool = True
    """Its boxes have to be those of the others of its label. Not so where it takes whole pixels or has other rules."""
    recipe: dict[str, Any] | None = None
    """How another process opens it; None where none can."""
    targets: int = 1
    """How many it follows at once."""
    on_device: bool = False
    """Its frames lie in a GPU's memory before anything is timed."""

    @property
    def alike(self) -> tuple[str, int, int]:
        """What two entries have to share for their ratio to be that of the ways they were run."""
        return self.label, self.threads, self.targets


@dataclass(frozen=True)
class Plan:
    """How often what is run."""

    warmup: int = 10
    """Frames that every entry tracks before anything is timed."""
    rounds: int = 5
    block: int = 10
    seconds: float | None = None
    """Rounds and frames are cut down to what the entries track in so long; None: as they are."""


@dataclass
class Measured:
    """One entry and what it took."""

    entry: Entry
    rounds: list[list[tuple[float, float, float]]] = field(default_factory=list)
    """Seconds of crop, search and host per counted frame, a list for each round."""
    cpu: list[list[float]] = field(default_factory=list)
    """Seconds of processor time, all threads together, of the same frames."""
    boxes: list[Box] = field(default_factory=list)
    """Where the target was, frame by frame, in the first round."""
    close_calls: list[bool] = field(default_factory=list)
    """Whether rounding may have decided each of them."""
    failed: str = ""
    """Why it stopped before the end; what it took until then is no measurement."""

    def seconds(self, *stages: str) -> list[NDArray[np.float64]]:
        """Return the seconds of `stages` together, per counted frame, an array for each round."""
        columns = [TRACKING.index(stage) for stage in stages]
        return [np.asarray(times).reshape(-1, len(TRACKING))[:, columns].sum(1) for times in self.rounds]

    def cpu_seconds(self) -> list[NDArray[np.float64]]:
        """Return the processor time per counted frame, an array for each round: what other work hardly disturbs."""
        return [np.asarray(times) for times in self.cpu]

    def total(self) -> NDArray[np.float64]:
        """Return the seconds of crop, search and host together, of all counted frames."""
        return np.concatenate(self.seconds(*TRACKING))


class Ratio(NamedTuple):
    """How many times slower one entry was than another, round by round: medians divided."""

    rounds: list[float]

    @property
    def median(self) -> float:
        """The ratio to quote."""
        return float(np.median(self.rounds))


class Agreement(NamedTuple):
    """How far the boxes of two entries lie apart."""

    frames: int
    """Frames that were compared: all, or those before the two parted on a rounding."""
    largest: float
    """Largest difference of any of x, y, w, h in these, in pixels."""
    parted: int | None
    """Number of the frame in which a rounding parted them, None where none did."""


class Outcome(NamedTuple):
    """What was measured, and on what: clip and plan as `Plan.seconds` left them."""

    measured: list[Measured]
    clip: Clip
    plan: Plan


def measure(
    entries: Sequence[Entry],
    clip: Clip,
    plan: Plan,
    advance: Callable[[int], None] = lambda _: None,
    beside: Callable[[], None] = lambda: None,
) -> "Outcome":
    """Run every entry through the clip, `plan.rounds` times, and return what each took.

    `advance` is called with the number of frames just tracked, `beside` once a round, for what else is measured in
    turn. An entry that fails is left out from there on. Raises CheckpointError where two ways to run one bundle don't
    find the same boxes while they warm up: their ratio would say nothing.
    """
    turns = Random(0)
    frames: dict[bool, Sequence[Any]] = {False: clip.frames}
    if any(entry.on_device for entry in entries):
        frames[True] = to_gpu(clip.frames)
    with _threads_restored():
        warm = [Measured(entry) for entry in entries]
        for item in warm:
            _attempt(item, _begin, frames[item.entry.on_device][0], clip.box)
            _attempt(item, _run, frames[item.entry.on_device][1 : 1 + plan.warmup])
            advance(len(item.boxes))
        _require_same_boxes(warm)
        clip, plan = _cut_down(clip, plan, warm)
        measured = [Measured(item.entry, failed=item.failed) for item in warm]
        for _ in range(plan.rounds):
            beside()
            for item in measured:
                _attempt(item, _begin, frames[item.entry.on_device][0], clip.box)
            for first in range(1, len(clip.frames), plan.block):
                block = slice(first, min(first + plan.block, len(clip.frames)))
                for item in turns.sample(measured, len(measured)):
                    _attempt(item, _run, frames[item.entry.on_device][block])
                    advance(block.stop - block.start)
    return Outcome(measured, clip, plan)


def _attempt(item: Measured, work: Callable[..., None], *given: Any) -> None:
    """Do a piece of work unless the entry has failed; remember it where it fails."""
    if item.failed:
        return
    try:
        work(item, *given)
    except BoxError:
        raise  # the user's box: nobody could track it
    except TrkError as error:
        item.failed = str(error)


def _cut_down(clip: Clip, plan: Plan, warm: Sequence[Measured]) -> tuple[Clip, Plan]:
    """Return clip and plan such that `plan.seconds` suffice: fewer rounds first, then fewer frames of a single one."""
    if plan.seconds is None:
        return clip, plan
    frame = sum(float(np.median(item.total())) for item in warm if item.total().size)
    updates = len(clip.frames) - 1
    rounds = int(plan.seconds / max(frame * updates, 1e-9))
    if rounds >= 1:
        return clip, replace(plan, rounds=min(plan.rounds, rounds))
    kept = max(LEAST_FRAMES, 1 + int(plan.seconds / frame))
    truth = None if clip.truth is None else clip.truth[:kept]
    return clip._replace(frames=clip.frames[:kept], truth=truth), replace(plan, rounds=1)


def frames_to_track(entries: int, clip: Clip, plan: Plan) -> int:
    """Return how many frames `measure` will track: what its `advance` adds up to."""
    updates = len(clip.frames) - 1
    return entries * (min(plan.warmup, updates) + plan.rounds * updates)


def ratio(slow: Sequence[NDArray[np.float64]], fast: Sequence[NDArray[np.float64]]) -> Ratio:
    """Return how many times longer the frames of `slow` took than those of `fast`, an array of seconds a round each."""
    return Ratio([float(np.median(a) / np.median(b)) for a, b in zip(slow, fast, strict=True)])


def agreement(one: Measured, other: Measured) -> Agreement:
    """Return how far the boxes of two entries lie apart.

    From the frame on in which they are too far apart for the first time, and which rounding may have decided, nothing
    is compared: their crops differ from there on.
    """
    frames = min(len(one.boxes), len(other.boxes))
    apart = np.abs(np.array(one.boxes[:frames]) - np.array(other.boxes[:frames])).reshape(-1, 4).max(axis=1)
    far = next((number for number in range(frames) if not apart[number] <= SAME_BOX), None)
    if far is not None and any(item.close_calls[far] for item in (one, other)):
        return Agreement(far, float(apart[:far].max(initial=0.0)), far + 1)
    return Agreement(frames, float(apart.max(initial=0.0)), None)


def pairs(measured: Sequence[Measured], baselines: Sequence[str]) -> Iterator[tuple[Measured, Measured]]:
    """Yield each entry run as one of `baselines` with each that isn't, of the same bundle, threads and targets."""
    for slow in measured:
        for fast in measured:
            same = slow.entry.alike == fast.entry.alike
            if slow.failed or fast.failed:
                continue
            if same and slow.entry.how in baselines and fast.entry.how not in baselines:
                yield slow, fast


def overlaps(one: Sequence[Box], other: Sequence[Box] | NDArray[np.float64]) -> float | None:
    """Return the mean overlap of two rows of boxes, frame by frame; None where there is nothing to compare."""
    count = min(len(one), len(other))
    if not count:
        return None
    found = overlap(np.asarray(one[:count], float), np.asarray(other[:count], float))
    return float(np.nanmean(found)) if np.isfinite(found).any() else None


def _begin(item: Measured, frame: Image, box: Box) -> None:
    _use_threads(item.entry.threads)
    item.entry.runner.init(frame, box)
    item.rounds.append([])
    item.cpu.append([])


def _run(item: Measured, block: Sequence[Image]) -> None:
    runner = item.entry.runner
    _use_threads(item.entry.threads)
    first_round = len(item.rounds) == 1
    for number, frame in enumerate(block):
        before = process_time()
        box = runner.update(frame).box
        cpu = process_time() - before
        if number >= SETTLE:
            item.cpu[-1].append(cpu)
            item.rounds[-1].append(runner.stages)
        if first_round:
            item.boxes.append(box)
            item.close_calls.append(item.entry.is_close_call())


def _require_same_boxes(warm: Sequence[Measured]) -> None:
    for one in warm:
        for other in warm:
            different = (one.entry.label, one.entry.targets) != (other.entry.label, other.entry.targets)
            if different or one.entry.about.get("precision", "fp32") != "fp32":
                continue
            if one.failed or other.failed or not (one.entry.same_boxes and other.entry.same_boxes):
                continue
            found = agreement(one, other)
            if found.frames == 0 or not found.largest <= SAME_BOX:
                apart = f"{found.largest:.2g} px apart within {found.frames} frames" if found.frames else "far apart"
                raise CheckpointError(
                    f"{one.entry.label}: {one.entry.how} and {other.entry.how} find boxes {apart}, {SAME_BOX:g} px are "
                    "allowed: they don't run the same weights"
                )


def _use_threads(threads: int) -> None:
    """Give OpenCV, and PyTorch where it is loaded, `threads` threads; a backend has had its own from the start."""
    cv2.setNumThreads(threads)
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


@contextmanager
def _threads_restored() -> Iterator[None]:
    torch = sys.modules.get("torch")
    before = cv2.getNumThreads(), torch.get_num_threads() if torch else 1
    try:
        yield
    finally:
        cv2.setNumThreads(before[0])
        if torch is not None:
            torch.set_num_threads(before[1])
