"""Two places on a device for frames: one is searched while the next frame is on its way into the other."""

from __future__ import annotations

from typing import Any, Generic, Protocol, TypeVar

from ...errors import FrameError
from ..device_frame import DeviceFrame, Frame

SLOTS = 2

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


class Slots(Generic[S]):
    """Frames of one size at a time; another size gets places of its own, and `generation` counts on."""

    def __init__(self, carrier: Carrier[S]) -> None:
        self._carrier = carrier
        self._shape: tuple[int, ...] = ()
        self._announced: Any = None
        """The frame that is to be brought when there is work to do meanwhile,"""
        self._staged: Any = None
        """and the one that was: it is in the place that is not current, or on its way."""
        self.places: list[S] = []
        self.generation = 0
        """How many sizes there were: what is made for certain places is made again when it changes."""
        self.current = 0
        """Which of `places` holds the frame that was taken."""

    def take(self, frame: Frame) -> None:
        """Make `frame` the current one: it is on its way already if it was staged. Raises FrameError."""
        check_device(frame, self._carrier.index)
        if frame is self._staged:
            self.current, self._staged = 1 - self.current, None
        else:
            if frame.shape != self._shape:
                self._grow(frame.shape)
            # What is staged in the other place stays there: its turn may still come.
            self._carrier.bring(frame, self.places[self.current])
        if frame is self._announced:
            self._announced = None
        self._carrier.before_work(self.places[self.current])

    def announce(self, frame: Frame) -> None:
        """Name the frame after the one that is taken next. Raises FrameError."""
        check_device(frame, self._carrier.index)
        self._announced = frame

    def stage(self) -> None:
        """Begin to bring what was announced, while work on the current frame goes on; a frame of another size waits."""
        if self._announced is not None and self._announced.shape == self._shape:
            self._carrier.bring(self._announced, self.places[1 - self.current])
            self._announced, self._staged = None, self._announced

    def _grow(self, shape: tuple[int, ...]) -> None:
        # The old places go first: two sizes at once are more than a frame's memory, twice.
        self.places, self._staged, self._shape = [], None, ()
        self.places = [self._carrier.slot(shape) for _ in range(SLOTS)]
        self._shape, self.current = shape, 0
        self.generation += 1


def check_device(frame: Frame, index: int) -> None:
    """Raise FrameError where `frame` lies on another device than number `index`."""
    if isinstance(frame, DeviceFrame) and frame.device not in (None, index):
        raise FrameError(
            f"this frame lies on GPU {frame.device} and the backend runs on GPU {index}: copy the frame there first "
            f"(PyTorch: frame.to('cuda:{index}')), or decode on that GPU"
        )
