"""Whole frames on their way to a GPU: through pinned memory, or from where they lie on it, in a stream of their own.

Built and tested on a CPU against a stand-in for CUDA. Not executed on a GPU yet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..device_frame import DeviceFrame, Frame
from .cuda import Cuda


@dataclass
class Place:
    """Where one frame is on the device, and on its way to it."""

    pinned: NDArray[np.uint8]
    """[H, W, 3] in pinned host memory."""
    address: int
    """Of the same on the device."""
    copied: Any
    """Event of the last copy to the device."""
    owner: Any = None
    """Keeps a device's frame until it was copied."""


class CudaCarrier:
    """Brings frames to the GPU of `cuda`, in a stream beside its own."""

    def __init__(self, cuda: Cuda):
        self._work = cuda
        self._copy = cuda.sibling()
        self.index = cuda.index

    @property
    def stream(self) -> int:
        """Handle of the stream in which frames are copied."""
        return int(self._copy.stream)

    def slot(self, shape: tuple[int, ...]) -> Place:
        """Return a place for frames of `shape`."""
        pinned = self._copy.pinned(shape, np.uint8)
        place = Place(pinned, self._copy.malloc(pinned.nbytes), self._copy.event())
        self._copy.free_with(place, place.address)
        self._copy.destroy_with(place, place.copied)
        return place

    def bring(self, frame: Frame, slot: Place) -> None:
        """Begin to copy `frame` to the device."""
        # What was copied out of this memory before is there long since, unless nobody ever searched it.
        self._copy.wait_until(slot.copied)
        slot.owner = None
        if isinstance(frame, DeviceFrame):
            slot.owner = frame
            if frame.stream is not None:
                self._copy.wait_for_stream(frame.stream)
            self._copy.copy(slot.address, frame.address, frame.nbytes)
        else:
            np.copyto(slot.pinned, frame)
            self._copy.upload(slot.address, slot.pinned)
        self._copy.record(slot.copied)

    def before_work(self, slot: Place) -> None:
        """Let the stream of the work wait for the copy."""
        self._work.wait_for(slot.copied)

    def pixels(self, frame: Frame) -> NDArray[np.uint8]:
        """Return `frame` in host memory."""
        if not isinstance(frame, DeviceFrame):
            return frame
        pixels: NDArray[np.uint8] = self._copy.pinned(frame.shape, np.uint8)
        if frame.stream is not None:
            self._copy.wait_for_stream(frame.stream)
        self._copy.download(pixels, frame.address)
        self._copy.wait()
        return pixels
