"""Frames that are on a GPU already: whatever speaks `__cuda_array_interface__` or DLPack, read without a library.

PyTorch, CuPy, Numba, PyCUDA and PyNvVideoCodec do. Nothing is copied here: what is read is the address of the pixels,
and what has to be waited for before they are there.

Source: the CUDA Array Interface, version 3 (Numba's documentation); dmlc/dlpack:include/dlpack/dlpack.h.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import FrameError
from .crop import MAX_FRAME_SIDE, check_frame

ORDER = "uint8 [H, W, 3] in BGR order"
_CUDA = (2, 13)
"""Kinds of DLPack's devices: a GPU's memory, and memory that a GPU and the host share."""
DEFAULT_STREAM = 1
"""CUDA's own number of the stream that is every program's."""
_UINT8 = (1, 8, 1)
"""DLPack's code, bits and lanes of uint8."""


@dataclass(eq=False, slots=True)  # one for every frame: to make a frozen one takes three times as long
class DeviceFrame:
    """A frame in a GPU's memory: uint8 [H, W, 3] BGR, its rows `pitch` bytes apart."""

    address: int
    shape: tuple[int, int, int]
    owner: Any
    """What keeps the memory."""
    device: int | None = None
    """Number of the GPU; None where the owner does not say."""
    stream: int | None = None
    """Stream in which the pixels may still be in the making; None: they are there."""
    stride: int = 0
    """Bytes from one row to the next; 0: rows without gaps."""

    @property
    def pitch(self) -> int:
        """Bytes from one row to the next."""
        return self.stride or self.shape[1] * 3

    @property
    def nbytes(self) -> int:
        """Bytes from the first pixel to the last."""
        height, width, _ = self.shape
        return (height - 1) * self.pitch + width * 3


Frame = NDArray[np.uint8] | DeviceFrame
"""A frame in host memory, or on a device."""
AnyFrame = Any
"""What callers give: an array uint8 [H, W, 3] BGR, or such a frame on a GPU in whatever speaks one of the two."""


def as_frame(frame: Any, device: str) -> Frame:
    """Return `frame`, checked: an array of the host's as it is, one on a GPU as a `DeviceFrame`.

    `device`: where the backend runs. Raises FrameError, in one line that says what to change.
    """
    if isinstance(frame, np.ndarray):
        check_frame(frame)
        return frame
    if isinstance(frame, DeviceFrame):
        return frame
    # DLPack first: its makers say when they are done, whichever stream is theirs.
    by_dlpack = _dlpack_kind(frame) in _CUDA
    described = None if by_dlpack else getattr(frame, "__cuda_array_interface__", None)
    if described is None and not by_dlpack:
        check_frame(frame)
    if device == "cpu":
        raise FrameError(
            "this frame lies on a GPU and the backend runs on the cpu: choose device cuda, or bring the frame to host "
            "memory first (PyTorch: frame.cpu().numpy(), CuPy: frame.get())"
        )
    return _from_dlpack(frame) if by_dlpack else _from_interface(frame, described or {})


def _from_interface(frame: Any, described: dict[str, Any]) -> DeviceFrame:
    shape = tuple(described["shape"])
    strides = described.get("strides")
    kind = described["typestr"]
    _check(shape, None if kind.lstrip("|<>=") == "u1" else kind, strides)
    address, _ = described["data"]
    height, width, channels = shape
    # Before version 3 nothing was said of streams: what was made in the default one is waited for.
    stream = described.get("stream", DEFAULT_STREAM if described.get("version", 0) < 3 else None)
    return DeviceFrame(int(address), (height, width, channels), frame, None, stream, strides[0] if strides else 0)


class _Tensor(ctypes.Structure):
    """DLTensor."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


# Not `ctypes.pythonapi.PyCapsule_GetPointer` itself, whose types all of a program share.
_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)


def _from_dlpack(frame: Any) -> DeviceFrame:
    # Its maker lets the default stream wait for its work, which is nothing to do where that is its own.
    capsule = frame.__dlpack__(stream=DEFAULT_STREAM)
    tensor = _Tensor.from_address(_pointer(capsule, b"dltensor"))
    axes = tensor.ndim
    shape = tuple(tensor.shape[:axes])
    strides = tuple(tensor.strides[:axes]) if tensor.strides else None
    kind = (tensor.code, tensor.bits, tensor.lanes)
    _check(shape, None if kind == _UINT8 else f"DLPack type {kind}", strides)
    height, width, channels = shape
    address = int(tensor.data or 0) + tensor.byte_offset
    # A capsule that was not consumed frees its memory when it is collected: it stays with the frame.
    stride = strides[0] if strides else 0
    return DeviceFrame(address, (height, width, channels), (frame, capsule), tensor.device_id, DEFAULT_STREAM, stride)


def _check(shape: tuple[int, ...], wrong_type: str | None, strides: Any) -> None:
    """Raise FrameError unless a frame on a device is one.

    `wrong_type`: its type, None where that is uint8. Strides are in bytes or elements, the same for uint8.
    """
    if len(shape) != 3 or shape[2] != 3:
        planes = len(shape) == 3 and shape[0] == 3
        hint = ": bring the channels behind, as in frame.permute(1, 2, 0).contiguous()" if planes else ""
        raise FrameError(f"a frame is {ORDER}, not {list(shape)}{hint}")
    if wrong_type is not None:
        raise FrameError(f"a frame is uint8, 0..255, not {wrong_type}: scale it and convert it on the device")
    if min(shape) < 1 or max(shape) > MAX_FRAME_SIDE:
        raise FrameError(f"a frame has 1 to {MAX_FRAME_SIDE} pixels a side, not shape {list(shape)}")
    if strides is not None and (tuple(strides[1:]) != (3, 1) or strides[0] < shape[1] * 3):
        raise FrameError(
            "the pixels of a row have to be contiguous, and rows in order: frame.contiguous() (PyTorch), "
            "cupy.ascontiguousarray(frame)"
        )


def _dlpack_kind(frame: Any) -> int:
    """Return the kind of device that DLPack names, 0 where `frame` doesn't speak it."""
    asked = getattr(frame, "__dlpack_device__", None)
    return int(asked()[0]) if asked is not None else 0
