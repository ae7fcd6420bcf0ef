"""The states to wind a run back to: all of the last frames, ever fewer of those long ago."""

from bisect import bisect_right
from collections.abc import Mapping

from ..engine.state import State

RECENT = 128
OLDER = 128
"""At most so many are kept of the last frames, and of those before. A state is small, but where templates are updated
it has kernels of its own."""

States = Mapping[int, State]


class History:
    """States of all targets by frame. Those that a person had a hand in are kept for good: no others lead to them."""

    def __init__(self, recent: int = RECENT, older: int = OLDER) -> None:
        self._most_recent, self._most_older = recent, older
        self._recent: list[int] = []
        self._older: list[int] = []
        self._step = 1
        """Of the older frames those whose number it divides are kept."""
        self._states: dict[int, States] = {}
        self._kept: set[int] = set()

    def __len__(self) -> int:
        return len(self._states)

    def add(self, frame_index: int, states: States, *, keep: bool = False) -> None:
        """Add the states after a frame, the last one or one later than all before; `keep`: for good."""
        if frame_index not in self._states:
            self._recent.append(frame_index)
        self._states[frame_index] = states
        if keep or len(self._states) == 1:
            self._kept.add(frame_index)
        if len(self._recent) > self._most_recent:
            self._older.append(self._recent.pop(0))
            self._thin(len(self._older) - 1)
        while len(self._older) > self._most_older + len(self._kept):
            self._step *= 2
            self._thin(0)

    def before(self, frame_index: int) -> tuple[int, States]:
        """The last frame up to `frame_index` whose states are kept, and these. Raises KeyError: there is none."""
        for frames in (self._recent, self._older):
            number = bisect_right(frames, frame_index)
            if number:
                return frames[number - 1], self._states[frames[number - 1]]
        raise KeyError(frame_index)

    def cut(self, last_frame: int) -> None:
        """Forget the frames after `last_frame`."""
        for frames in (self._recent, self._older):
            while frames and frames[-1] > last_frame:
                frame = frames.pop()
                del self._states[frame]
                self._kept.discard(frame)

    def _thin(self, first: int) -> None:
        """Of the older frames from number `first` on, drop those that are not to be kept."""
        for frame in self._older[first:]:
            if frame % self._step and frame not in self._kept:
                del self._states[frame]
        self._older[first:] = [frame for frame in self._older[first:] if frame in self._states]
