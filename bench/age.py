"""Age of a result: how old a frame is when its box is there, on a live source; how still a box on a still picture.

The source is a clip that plays at its own rate, read by the same thread as cameras and streams are (`video.live`): the
newest frame counts, what came while the tracker was busy is skipped.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from time import monotonic, sleep
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..engine.result import Box
from ..video.live import LiveSource
from ..video.source import Frame, Image, Source
from .speed import Runner

REMEMBERED = 64
"""Frames whose moment is kept: more than can be under way."""
STILL_FRAMES = 60
SETTLED = 20
"""Frames on a still picture after which a box should not move."""


class Ages(NamedTuple):
    """What a live run took."""

    seconds: NDArray[np.float64]
    """From a frame's arrival to its box, one for each frame that was tracked."""
    arrived: int
    """Frames that came, up to the last one tracked."""

    @property
    def skipped(self) -> int:
        """Frames that came and were never tracked."""
        return self.arrived - len(self.seconds)


class Played(Source):
    """Frames that come at `fps`, forwards and backwards again, as a camera's do: whether anybody takes them or not."""

    def __init__(self, frames: Sequence[Image], fps: float) -> None:
        self.name, self.count, self.fps = "clip", None, fps
        self.size_wh = (frames[0].shape[1], frames[0].shape[0])
        self._frames = [*frames, *frames[-2:0:-1]]
        self._index = 0
        self._began: float | None = None
        self._moments: OrderedDict[int, tuple[Image, int, float]] = OrderedDict()

    def __next__(self) -> Frame:
        """The next frame, at its time."""
        if self._began is None:
            self._began = monotonic()
        left = self._began + self._index / (self.fps or 1.0) - monotonic()
        if left > 0:
            sleep(left)
        image = self._frames[self._index % len(self._frames)][:]  # a view of its own tells when this one came
        self._moments[id(image)] = (image, self._index, monotonic())
        if len(self._moments) > REMEMBERED:
            self._moments.popitem(last=False)
        frame = Frame(self._index, self._index / (self.fps or 1.0), image)
        self._index += 1
        return frame

    def arrival(self, image: Image) -> tuple[int, float]:
        """Return number and moment of arrival of a frame that this gave out."""
        _, index, moment = self._moments[id(image)]
        return index, moment

    def close(self) -> None:
        """Nothing is held open."""


def measure_age(
    runner: Runner,
    frames: Sequence[Image],
    box: Box,
    fps: float,
    count: int,
    advance: Callable[[], None] = lambda: None,
) -> Ages:
    """Return the ages of the results of `count` frames that `runner` tracked while `frames` played at `fps`.

    The target is taken from the first frame that plays; that and the first update after it are not counted.
    """
    played = Played(frames, fps)
    ages: list[float] = []
    arrived = 0
    # Taken before the clip plays: a box drawn on a still picture is how a user begins.
    runner.init(frames[0], box)
    runner.update(frames[0])
    first: int | None = None
    with LiveSource(lambda: played, "clip", patience=30.0) as live:
        for frame in live:
            index, moment = played.arrival(frame.image)
            runner.update(frame.image)
            if first is None:
                first = index
            else:
                ages.append(monotonic() - moment)
                arrived = index - first
                advance()
            if len(ages) >= count:
                break
    return Ages(np.array(ages), arrived)


def jitter(runner: Runner, frame: Image, box: Box) -> dict[str, float]:
    """Return how a box moves though nothing does: the same frame again and again.

    `step_px`: mean change of a corner between two frames once settled; `largest_step_px` of these; `drift_px`: largest
    difference of any of x, y, w, h from the box that was given, at the end.
    """
    runner.init(frame, box)
    boxes = np.array([runner.update(frame).box for _ in range(STILL_FRAMES)])
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    steps = np.abs(np.diff(corners[SETTLED:], axis=0)).max(axis=1)
    return {
        "step_px": round(float(steps.mean()), 4),
        "largest_step_px": round(float(steps.max()), 4),
        "drift_px": round(float(np.abs(boxes[-1] - np.array(box)).max()), 3),
    }


def age_data(ages: Ages, fps: float) -> dict[str, Any]:
    """Return ages ready for JSON, in milliseconds."""
    p50, p90, p99 = np.percentile(ages.seconds, (50, 90, 99)) * 1e3
    return {
        "source_fps": fps,
        "tracked": len(ages.seconds),
        "skipped": ages.skipped,
        "p50_ms": round(float(p50), 3),
        "p90_ms": round(float(p90), 3),
        "p99_ms": round(float(p99), 3),
        "largest_ms": round(float(ages.seconds.max()) * 1e3, 3),
    }
