"""Crops for a GPU: of a frame in host memory only the visible window goes up; one on the device is cut where it is.

A crop is a row of numbers that `crop.cu` reads. Rows and windows are in pinned memory that the captured graph of a
search reads, so that one capture serves frames, windows and pitches of every size.
"""

from __future__ import annotations

import copy
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....errors import FrameError
from ...crop import Cropper, CutAs, Image
from ...cuda.calls import Cuda
from ...device_frame import DeviceFrame, Frame
from ...geometry import CropRule, Extent, Region, Regions

ROW = struct.Struct("<Qq6i4B4x")
"""`Crop` of crop.cu: address and pitch of the window; x, y, columns, rows of the region; width, height; fill colour."""
SEGMENT = struct.Struct("<3Q")
"""`Segment` of crop.cu: where from, where to, how many QUADs."""
QUAD = 16
CAPACITY = 1024 * 1024 * 3
"""Bytes of windows that fit in before the memory has to grow."""
LARGE_WINDOW = 9.0
"""Pixels of a window per pixel of its crop from which on the host cuts: resizing reads fewer than copying then."""
_ADDRESS = struct.Struct("<Q")


def check_device(frame: DeviceFrame, index: int) -> None:
    """Raise FrameError where `frame` is on another GPU than number `index`."""
    if frame.device not in (None, index):
        raise FrameError(
            f"this frame lies on GPU {frame.device} and the backend runs on GPU {index}: copy the frame there first "
            f"(PyTorch: frame.to('cuda:{index}')), or decode on that GPU"
        )


class _Memory:
    """Owns device memory: that goes with it."""


class Staging:
    """Windows on their way to the GPU: pinned memory, and as much on the device. It grows and never shrinks."""

    def __init__(self, cuda: Cuda):
        self._cuda = cuda
        self.used = 0
        self._frames: dict[int, list[int]] = {}
        """By id, frames with windows here: pixels of these so far, and the offset of the whole frame or -1."""
        self._allocate(CAPACITY)

    def _allocate(self, size: int) -> None:
        self.host, self._owner = self._cuda.pinned(size), _Memory()
        self.host_address: int = self.host.ctypes.data
        self.address = self._cuda.malloc(size, self._owner)

    def clear(self) -> None:
        """Forget all windows: they have been searched."""
        self.used = 0
        self._frames.clear()

    def put(self, pixels: Image) -> int:
        """Copy `pixels` [h, w, 3] to the end; return the offset."""
        height, width, _ = pixels.shape
        first, size = self.used, height * width * 3
        end = first + -(-size // QUAD) * QUAD
        if end > self.host.size:
            held = self.host
            self._allocate(max(end, 2 * held.size))
            self.host[:first] = held[:first]
        np.copyto(self.host[first : first + size].reshape(height, width, 3), pixels)
        self.used = end
        return first

    def put_window(self, frame: Image, left: int, top: int, width: int, height: int) -> tuple[int, int]:
        """Make a window of `frame` available; return its offset and pitch.

        Many targets of a frame have windows that overlap: when they are more than the frame, the frame is put here.
        """
        seen = self._frames.setdefault(id(frame), [0, -1])
        seen[0] += width * height
        frame_height, frame_width, _ = frame.shape
        if seen[0] <= frame_height * frame_width:
            return self.put(frame[top : top + height, left : left + width]), width * 3
        if seen[1] < 0:
            seen[1] = self.put(frame)
        return seen[1] + (top * frame_width + left) * 3, frame_width * 3


class CropTable:
    """The crops of one graph, as rows: it is to a device's backend what an array of crops is to a host's."""

    def __init__(self, cuda: Cuda, staging: Staging, rows: NDArray[np.uint8], size: int, pixels: int):
        self._cuda, self._staging, self._rows, self._pixels = cuda, staging, rows.data, pixels
        self._first = 0
        self._staged: list[tuple[int, int]] = []
        """Rows whose windows are in `staging`, and their offsets in it,"""
        self._address = [0]
        """counted from here."""
        self._owners: list[Any] = []
        """Frames on the device, kept until they have been searched."""
        self.size = size
        self.shape = len(rows) // ROW.size, size, size, 3

    def copy(self) -> Image:
        """Return the crops that were cut last, which are at the address `pixels`, in host memory."""
        crops = np.empty(self.shape, np.uint8)
        self._cuda.copy_to_host(crops, self._pixels)
        self._cuda.synchronize()
        return crops

    def __setitem__(self, rows: slice, crops: Image) -> None:
        for number, crop in enumerate(crops):
            self[rows].put(number, crop)

    def __getitem__(self, rows: slice) -> CropTable:
        """Return the part of the table that begins with row `rows.start`."""
        part = copy.copy(self)
        part._first = self._first + (rows.start or 0)
        return part

    def place(self, number: int, frame: Frame, region: Region, fill: Image, unseen_edge: int = 0) -> None:
        """Let crop `number` be the `region` of `frame`, `fill` outside it. Row 0 starts a new table.

        `unseen_edge`: the frame's last columns and rows that count as outside.
        """
        x, y, columns, rows, _ = region
        frame_height, frame_width = frame.shape[0] - unseen_edge, frame.shape[1] - unseen_edge
        if x >= 0 and y >= 0 and x + columns <= frame_width and y + rows <= frame_height:
            left, top, width, height = x, y, columns, rows
        else:
            left, top = max(x, 0), max(y, 0)
            width, height = min(x + columns, frame_width) - left, min(y + rows, frame_height) - top
            if width <= 0 or height <= 0:
                left = top = width = height = 0
        at = self._begin(number)
        if isinstance(frame, DeviceFrame):
            check_device(frame, self._cuda.index)
            pitch = frame.pitch
            address = frame.address + top * pitch + left * 3
            if frame.stream is not None and frame not in self._owners:
                self._cuda.wait_for_stream(frame.stream)
            self._owners.append(frame)
        else:
            offset, pitch = self._staging.put_window(frame, left, top, width, height)
            address = self._at(at, offset)
        blue, green, red = fill.tolist()
        place = x - left, y - top, columns, rows, width, height
        ROW.pack_into(self._rows, at * ROW.size, address, pitch, *place, blue, green, red, 0)

    def put(self, number: int, crop: Image) -> None:
        """Let crop `number` be `crop` [size, size, 3], which the host has cut."""
        at = self._begin(number)
        address = self._at(at, self._staging.put(crop))
        side = len(crop)
        ROW.pack_into(self._rows, at * ROW.size, address, 3 * side, 0, 0, *(side,) * 4, 0, 0, 0, 0)

    def finish(self) -> None:
        """Make the rows ready to be read, where `staging` has moved since they were written."""
        if self._address[0] != self._staging.address:
            for at, offset in self._staged:
                _ADDRESS.pack_into(self._rows, at * ROW.size, self._staging.address + offset)

    def release(self) -> None:
        """Let go of frames on the device: the search is done."""
        self._owners.clear()

    def _begin(self, number: int) -> int:
        at = self._first + number
        if at == 0:
            self._staging.clear()
            self._staged.clear()
            self._owners.clear()
            self._address[0] = self._staging.address
        return at

    def _at(self, row: int, offset: int) -> int:
        self._staged.append((row, offset))
        return self._address[0] + offset


class DeviceCropper:
    """Cuts crops by one rule into a `CropTable`, as `Cropper` does into an array, with the same bytes."""

    def __init__(self, rule: CropRule):
        self._host, self._regions = Cropper(rule), Regions(rule)
        self._unseen = rule.unseen_edge
        self._resized = rule.sampling == "resize"
        """Whether a crop is a region of whole pixels, resized,"""
        self._direct = self._resized and rule.pyramid == "direct"
        """and each crop of several one of the frame itself."""

    def cut_pyramid(
        self, frame: Frame, centre: tuple[float, float], extents: list[Extent], fill: Image, out: CropTable
    ) -> CutAs:
        """Place a crop for each of `extents`, smallest first; return what the middle one shows. Raises FrameError.

        The host cuts where crops are no plain regions of whole pixels, and regions that are far larger than their crop.
        """
        whole_pixels = self._direct or (self._resized and len(extents) == 1)
        on_device = isinstance(frame, DeviceFrame)
        if on_device and not whole_pixels:
            raise FrameError(
                "this frame is on a GPU, and the crops of this model are cut by the host: bring the frame to host "
                "memory first (PyTorch: frame.cpu().numpy(), CuPy: frame.get())"
            )
        width, height, _, _ = extents[-1]
        if on_device or (whole_pixels and width * height <= LARGE_WINDOW * out.size**2):
            regions = [self._regions.at(centre, extent) for extent in extents]
            for number, region in enumerate(regions):
                out.place(number, frame, region, fill, self._unseen)
            _, _, columns, rows, middle = regions[len(regions) // 2]
            return middle, columns, rows
        crops = np.empty((len(extents), out.size, out.size, 3), np.uint8)
        assert isinstance(frame, np.ndarray)
        cut = self._host.cut_pyramid(frame, centre, extents, fill, crops)
        for number, crop in enumerate(crops):
            out.put(number, crop)
        return cut
