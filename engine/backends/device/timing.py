"""Where a device's time goes, by its own clock, whatever the host does meanwhile."""

from itertools import pairwise
from typing import Any, NamedTuple

from ...cuda.calls import TIMED, Cuda


class DeviceTimes(NamedTuple):
    """Seconds of the parts of one search."""

    upload: float
    """Windows and parameters from the host's memory to the device's, and the crops cut."""
    compute: float
    """Everything the network's graph does."""
    download: float
    """Box, score and index back."""


class DeviceTimer:
    """Events in the stream of a `Cuda`, made once and used again."""

    def __init__(self, cuda: Cuda):
        self._cuda = cuda
        self._events: list[Any] = []
        self._recorded = 0

    def record(self) -> None:
        """Note the moment at which all that was put into the stream before is done."""
        if self._recorded == len(self._events):
            self._events.append(self._cuda.event(TIMED))
        event = self._events[self._recorded]
        self._cuda.call("cudaEventRecord", event, self._cuda.stream, what="record an event")
        self._recorded += 1

    def intervals(self) -> list[float]:
        """Wait for the last moment, return the seconds between each and the next, and forget them."""
        events, self._recorded = self._events[: self._recorded], 0
        if events:
            self._cuda.call("cudaEventSynchronize", events[-1], what="wait for an event")
        return [
            self._cuda.call("cudaEventElapsedTime", before, after, what="read events")[0] / 1e3
            for before, after in pairwise(events)
        ]
