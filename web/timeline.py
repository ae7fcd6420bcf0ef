"""The scores of a run for the page's timeline: as many points as a screen shows, however long the run."""

from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import attrgetter
from typing import Any

from ..video.record import Record

MOST_POINTS = 1200


class Timeline:
    """Points of `step` frames each: by target the lowest score in them, and whether it was lost in any.

    `step` doubles when there are too many points; `points` are then other ones.
    """

    def __init__(self, most: int = MOST_POINTS) -> None:
        self.step = 1
        """Frames a point."""
        self.points: list[tuple[int, dict[int, tuple[float | None, bool]]]] = []
        """The first frame that is in each, and score and lost by target."""
        self._most = most

    def add(self, records: Iterable[Record]) -> bool:
        """Add the records of one frame; whether earlier points have changed."""
        for record in records:
            self._merge(record.frame_index, record.target, record.score, record.lost)
        return self._thin()

    def cut(self, last_frame: int, again: Iterable[Record]) -> None:
        """Forget the frames after `last_frame`; `again`: the records up to there from the frame `begin_of` says."""
        begin = self.begin_of(last_frame)
        while self.points and self.points[-1][0] >= begin:
            self.points.pop()
        for _, records in groupby(again, attrgetter("frame_index")):
            self.add(records)

    def begin_of(self, frame_index: int) -> int:
        """The first frame of the point that `frame_index` falls in."""
        return frame_index // self.step * self.step

    def told(self, first: int) -> Iterator[list[Any]]:
        """The points from number `first` on, as the page takes them: frame, and score and lost of each target."""
        for frame, targets in self.points[first:]:
            yield [frame, [[target, score, int(lost)] for target, (score, lost) in sorted(targets.items())]]

    def _merge(self, frame: int, target: int, score: float | None, lost: bool) -> None:
        score = None if score is None or not -1e9 < score < 1e9 else round(score, 4)
        if not self.points or self.begin_of(self.points[-1][0]) != self.begin_of(frame):
            self.points.append((frame, {}))
        targets = self.points[-1][1]
        if target in targets:
            before, was_lost = targets[target]
            lowest = min((value for value in (before, score) if value is not None), default=None)
            targets[target] = lowest, lost or was_lost
        else:
            targets[target] = score, lost

    def _thin(self) -> bool:
        thinned = False
        while len(self.points) > self._most:
            self.step *= 2
            points, self.points = self.points, []
            for frame, targets in points:
                for target, (score, lost) in targets.items():
                    self._merge(frame, target, score, lost)
            thinned = True
        return thinned
