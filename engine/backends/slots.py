"""Two places on a device for frames of a size: one is searched while the next frame is on its way into the other."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from math import prod
from typing import Generic, Protocol, TypeVar

from ...errors import FrameError
from ..device_frame import DeviceFrame, Frame

SLOTS = 2
KEPT_BYTES = 256 << 20
"""Of frames of all sizes on the device: forty-eight sizes of 720p, twenty of 1080p, five of 4K."""

Shape = tuple[int, ...]

S = TypeVar("S")


class Carrier(Protocol[S]):
    """What brings frames to a device, in a stream beside that of the work."""

    index: int
    """Number of the device."""

    def slot(self, shape: tuple[int, ...]) -> S:
        """Return a place for a frame of that shape."""
        ...

    def bring(self, frame: Frame, slot: S) -> None:
        """Begin to bring `frame` into `slot`; whoever gave it may change it when this returns, if the host has it."""
        ...

    def before_work(self, slot: S) -> None:
        """Let the work that comes wait for what `slot` is to hold; the host does not wait."""
        ...


@dataclass
class _Pair(Generic[S]):
    """The places of one size."""

    places: list[S]
    current: int = 0


class Slots(Generic[S]):
    """Frames of several sizes, two places each: what is made for the places of a size serves whenever it comes again.

    Where all of them take more than KEPT_BYTES, those go whose size has not come for longest.
    """

    def __init__(self, carrier: Carrier[S]) -> None:
        self._carrier = carrier
        self._announced: Frame | None = None
        """The frame that is to be brought when there is work to do meanwhile,"""
        self._staged: Frame | None = None
        """and the one that was: it is in the place of its size that is not current, or on its way."""
        self._pairs: dict[Shape, _Pair[S]] = {}
        """The size that came last at the end."""
        self.shape: Shape = ()
        """Of the frame that was taken."""

    @property
    def shapes(self) -> Collection[Shape]:
        """The sizes that have places; the newest last."""
        return self._pairs.keys()

    @property
    def places(self) -> list[S]:
        """Those of the size that was taken."""
        return self._pairs[self.shape].places

    @property
    def current(self) -> int:
        """Which of `places` holds the frame that was taken."""
        return self._pairs[self.shape].current

    def take(self, frame: Frame) -> None:
        """Make `frame` the current one: it is on its way already if it was staged. Raises FrameError."""
        check_device(frame, self._carrier.index)
        pair = self._pair(frame.shape)
        if frame is self._staged:
            pair.current, self._staged = 1 - pair.current, None
        else:
            # What is staged in the other place stays there: its turn may still come.
            self._carrier.bring(frame, pair.places[pair.current])
        if frame is self._announced:
            self._announced = None
        self._carrier.before_work(pair.places[pair.current])

    def announce(self, frame: Frame) -> None:
        """Name the frame after the one that is taken next. Raises FrameError."""
        check_device(frame, self._carrier.index)
        self._announced = None if frame is self._staged else frame

    def stage(self) -> None:
        """Begin to bring what was announced, while work on the current frame goes on; a frame of a new size waits."""
        pair = None if self._announced is None else self._pairs.get(self._announced.shape)
        if pair is not None and self._announced is not None:
            self._carrier.bring(self._announced, pair.places[1 - pair.current])
            self._announced, self._staged = None, self._announced

    def _pair(self, shape: Shape) -> _Pair[S]:
        pair = self._pairs.pop(shape, None)
        if pair is None:
            while self._pairs and sum(map(_bytes, [*self._pairs, shape])) > KEPT_BYTES:
                gone = next(iter(self._pairs))
                if self._staged is not None and self._staged.shape == gone:
                    self._staged = None
                del self._pairs[gone]
            pair = _Pair([self._carrier.slot(shape) for _ in range(SLOTS)])
        self._pairs[shape] = pair
        self.shape = shape
        return pair


def _bytes(shape: Shape) -> int:
    return SLOTS * prod(shape)


def check_device(frame: Frame, index: int) -> None:
    """Raise FrameError where `frame` lies on another device than number `index`."""
    if isinstance(frame, DeviceFrame) and frame.device not in (None, index):
        raise FrameError(
            f"this frame lies on GPU {frame.device} and the backend runs on GPU {index}: copy the frame there first "
            f"(PyTorch: frame.to('cuda:{index}')), or decode on that GPU"
        )
