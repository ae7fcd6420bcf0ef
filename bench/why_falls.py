"""The moments of a run at which the score fell, each with what the network was shown around it.

Everything is kept small: a few search crops for each of the deepest falls, however long the video is.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..engine.backends.base import Backend, Kernels, SearchOutput
from ..engine.result import Result

AROUND = (-5, -1, 0, 1, 5)
"""Frames of a moment, counted from the one in which the score was lowest."""
NEAR = 15
"""Two falls closer than this are one."""
USUAL = 30
"""Frames over which the usual score is taken: their median."""
LEAST_SCORES = 5
FALL = 0.3
"""A fall is a score this share below the usual one."""
MOST = 6


Arrays = dict[str, NDArray[Any]]
"""Kernels as the search graph takes them, by name."""
TemplateOf = Callable[[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]], Arrays]
"""Kernels of a template crop, the target's size in it and the hyper-parameters."""


class Held(NamedTuple):
    """A backend's kernels, and the same as arrays."""

    kernels: Kernels
    arrays: Arrays


class Call(NamedTuple):
    """One run of a search graph."""

    kernels: Arrays
    graph: int
    crop: NDArray[np.uint8]
    """[scales, S, S, 3] BGR."""
    size: NDArray[np.float32]
    """[1, 2] w, h of the target in crop pixels."""
    params: NDArray[np.float32]
    box: tuple[float, float, float, float]
    """The graph's answer: offset x, y from the crop's centre and smoothed w, h, in crop pixels."""


class Asked:
    """What was last asked of a backend and its lanes."""

    last: Call | None = None


class Recorder:
    """A backend that remembers what it was last asked; everything else is the backend it stands before.

    `template_of` makes kernels a second time, as arrays: what a backend keeps can't be looked into.
    """

    frames = False  # crops that a graph cuts inside can't be remembered: the host cuts them

    def __init__(self, backend: Backend, template_of: TemplateOf, asked: Asked | None = None):
        self._backend = backend
        self._template_of = template_of
        self._asked = asked or Asked()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def lane(self) -> "Recorder":
        """Return a recorder before a lane of the backend; what it sees is remembered here, too."""
        return Recorder(self._backend.lane(), self._template_of, self._asked)

    def template(self, size: NDArray[np.float32], params: NDArray[np.float32]) -> Held:
        """Return the backend's kernels, and those of the same crop as arrays."""
        arrays = self._template_of(self._backend.template_crop, size, params)
        return Held(self._backend.template(size, params), arrays)

    def mix(self, one: Held, other: Held, share: float) -> Held:
        """Return both forms mixed."""
        arrays = {name: a + share * (other.arrays[name] - a) for name, a in one.arrays.items()}
        mixed = {name: value.astype(one.arrays[name].dtype) for name, value in arrays.items()}
        return Held(self._backend.mix(one.kernels, other.kernels, share), mixed)

    def search(self, graph: int, held: Held, size: NDArray[np.float32], params: NDArray[np.float32]) -> SearchOutput:
        """Return the backend's answer; remember what was asked, and it."""
        found = self._backend.search(graph, held.kernels, size, params)
        x, y, w, h = found.box[0].tolist()
        crop = self._backend.search_crops[graph].copy()
        if self._asked.last is None:  # later ones of a frame look for a lost target elsewhere
            self._asked.last = Call(held.arrays, graph, crop, size.copy(), params.copy(), (x, y, w, h))
        return found

    def take(self) -> Call | None:
        """Return the first search since `take` was called before, None where there was none."""
        last, self._asked.last = self._asked.last, None
        return last


class Seen(NamedTuple):
    """One tracked frame."""

    position: int
    """Frames since the run began."""
    frame_index: int
    """Its number in the video."""
    call: Call
    score: float
    lost: bool
    usual: float
    """Median score of the frames before."""


@dataclass
class Moment:
    """One fall of the score."""

    position: int
    fall: float
    """Share by which the score lay below the usual one."""
    seen: list[Seen] = field(default_factory=list)

    @property
    def worst(self) -> Seen:
        """The frame in which the score was lowest."""
        return next(one for one in self.seen if one.position == self.position)


class Falls:
    """Finds the moments while a run goes on. Where nothing fell, the least sure frame is kept."""

    def __init__(self) -> None:
        self._scores: deque[float] = deque(maxlen=USUAL)
        self._recent: deque[Seen] = deque(maxlen=1 - AROUND[0])
        self._moments: list[Moment] = []
        self._position = 0

    def add(self, frame_index: int, call: Call, result: Result) -> None:
        """Take what a frame's search was shown and what came of it."""
        usual = median(self._scores) if len(self._scores) >= LEAST_SCORES else result.score
        seen = Seen(self._position, frame_index, call, result.score, result.lost, usual)
        self._recent.append(seen)
        for moment in self._moments:
            if seen.position - moment.position in AROUND:
                moment.seen.append(seen)
        if len(self._scores) >= LEAST_SCORES:
            fall = (usual - seen.score) / max(abs(usual), 1e-6)
            self._consider(Moment(seen.position, fall if np.isfinite(fall) else np.inf))
        if np.isfinite(seen.score):
            self._scores.append(seen.score)
        self._position += 1

    def moments(self) -> list[Moment]:
        """Return the falls in the order of the run; the one least sure frame where there was none."""
        fell = [moment for moment in self._moments if moment.fall >= FALL]
        return sorted(fell, key=lambda moment: moment.position) or self._deepest(self._moments)[:1]

    def _consider(self, moment: Moment) -> None:
        near = [other for other in self._moments if moment.position - other.position < NEAR]
        if any(other.fall >= moment.fall for other in near):
            return
        moment.seen = [one for one in self._recent if one.position - moment.position in AROUND]
        self._moments = self._deepest([one for one in self._moments if one not in near] + [moment])[:MOST]

    @staticmethod
    def _deepest(moments: Sequence[Moment]) -> list[Moment]:
        return sorted(moments, key=lambda moment: -moment.fall)
