"""Where a device's time goes: marks in its stream, and what a backend that can split a search offers.

The device's own clock times what runs on it, whatever the host does meanwhile. On a
CPU the same marks are read from the host's clock.
"""

import itertools
from time import perf_counter
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from .base import Kernels
from .device.cuda import TIMED, Cuda


class DeviceTimes(NamedTuple):
    """Seconds of the parts of one search, as the device counts them."""

    upload: float
    """Crop (or frame), size and parameters from the host's memory to the device's."""
    compute: float
    """Everything the network's graph does."""
    download: float
    """Box, score and index back."""


@runtime_checkable
class Staged(Protocol):
    """A backend that can run a search in parts, with a mark before and after each."""

    def stages(
        self, graph: int, kernels: Kernels, size: NDArray[np.float32], params: NDArray[np.float32]
    ) -> DeviceTimes:
        """Run search graph `graph` on its crop buffer as `search` does, in three parts; return what each took.

        Slower than `search`, which launches all three as one, and never part of it.
        """
        ...


class Marks(Protocol):
    """Moments in the order of a stream's work."""

    def mark(self) -> None:
        """Note the moment at which all that was put into the stream before is done."""

    def seconds(self) -> list[float]:
        """Wait for the last mark, return the seconds between each mark and the next, and forget them."""
        ...


class HostMarks:
    """Moments of the host's clock: right where work is done when its call returns, on a CPU."""

    def __init__(self) -> None:
        self._moments: list[float] = []

    def mark(self) -> None:
        """Note this moment."""
        self._moments.append(perf_counter())

    def seconds(self) -> list[float]:
        """Return the seconds between marks."""
        moments, self._moments = self._moments, []
        return [later - earlier for earlier, later in itertools.pairwise(moments)]


class CudaMarks:
    """Events in the stream of a `Cuda`, made once and used again."""

    def __init__(self, cuda: Cuda):
        self._cuda = cuda
        self._events: list[Any] = []
        self._marked = 0

    def mark(self) -> None:
        """Record an event."""
        if self._marked == len(self._events):
            self._events.append(self._cuda.event(TIMED))
        event = self._events[self._marked]
        self._cuda.call("cudaEventRecord", event, self._cuda.stream, what="record an event")
        self._marked += 1

    def seconds(self) -> list[float]:
        """Return the seconds between events."""
        events, self._marked = self._events[: self._marked], 0
        if events:
            self._cuda.call("cudaEventSynchronize", events[-1], what="wait for an event")
        return [
            self._cuda.call("cudaEventElapsedTime", before, after, what="read events")[0] / 1e3
            for before, after in itertools.pairwise(events)
        ]
