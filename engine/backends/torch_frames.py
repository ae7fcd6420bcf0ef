"""Whole frames in PyTorch: read where they lie on a CPU, brought to a GPU in a stream beside the work.

The part for CUDA was not executed on a GPU yet.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..device_frame import DeviceFrame, Frame


class Place(NamedTuple):
    """Where one frame is on the device, and on its way to it."""

    pinned: Any
    """uint8 [H, W, 3] in pinned host memory."""
    device: Any
    """The same on the device."""
    copied: Any
    """Event of the last copy into `device`."""


class TorchCarrier:
    """Brings frames into tensors on PyTorch's current CUDA device."""

    def __init__(self, torch: Any):
        self._torch = torch
        self.index: int = torch.cuda.current_device()
        self._stream = torch.cuda.Stream()

    @property
    def stream(self) -> int:
        """Handle of the stream in which frames are copied."""
        return int(self._stream.cuda_stream)

    def slot(self, shape: tuple[int, ...]) -> Place:
        """Return a place for frames of `shape`."""
        torch = self._torch
        pinned = torch.zeros(shape, dtype=torch.uint8).pin_memory()
        return Place(pinned, torch.zeros(shape, dtype=torch.uint8, device="cuda"), torch.cuda.Event())

    def bring(self, frame: Frame, slot: Place) -> None:
        """Copy `frame` to the device, a host's through pinned memory."""
        if isinstance(frame, DeviceFrame):
            source = self._torch.as_tensor(_Memory(frame), device="cuda")
            if frame.stream is not None:
                self._stream.wait_stream(self._torch.cuda.ExternalStream(frame.stream))
        else:
            slot.copied.synchronize()  # the copy before out of this memory: done long ago
            np.copyto(slot.pinned.numpy(), frame)
            source = slot.pinned
        with self._torch.cuda.stream(self._stream), self._torch.inference_mode():
            slot.device.copy_(source, non_blocking=True)
            slot.copied.record(self._stream)

    def before_work(self, slot: Place) -> None:
        """Let the current stream wait for the copy."""
        self._torch.cuda.current_stream().wait_event(slot.copied)


class _Memory:
    """A device frame as PyTorch reads it."""

    def __init__(self, frame: DeviceFrame):
        self._frame = frame
        self.__cuda_array_interface__ = {
            "shape": frame.shape,
            "typestr": "|u1",
            "data": (frame.address, False),
            "version": 2,
        }


def downloaded(torch: Any, frame: DeviceFrame) -> Any:
    """Return a device frame as an array of the host's."""
    if frame.stream is not None:
        torch.cuda.ExternalStream(frame.stream).synchronize()
    torch.cuda.synchronize()
    return torch.as_tensor(_Memory(frame), device="cuda").cpu().numpy()
