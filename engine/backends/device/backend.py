"""What backends on a GPU have in common: kernels in device memory, one launch and one wait per search."""

from __future__ import annotations

import copy
from abc import abstractmethod
from threading import RLock
from typing import Any

import numpy as np

from ...crop import Image
from ...cuda.calls import Cuda
from ...cuda.kernel_source import engine_kernels
from ...device_frame import DeviceFrame, Frame
from ...geometry import CropRule
from ...manifest import Graph, Manifest
from ..base import Backend, Floats
from .crops import DeviceCropper, Staging, check_device
from .graph_runner import THREADS, DeviceKernels, GraphRunner, Layout, LoadedGraph
from .timing import DeviceTimes


class DeviceBackend(Backend):
    """Runs a bundle on a GPU; a subclass for each runtime says how it loads a graph."""

    device = "cuda"
    _searches: list[Any]

    def __init__(self, manifest: Manifest, cuda: Cuda):
        super().__init__(manifest)
        self._cuda, self._lock = cuda, RLock()
        self._functions = engine_kernels(cuda)
        self._layout = Layout(manifest.template.outputs)

    @abstractmethod
    def _loaded(self, graph: Graph) -> LoadedGraph:
        """Return the loaded `graph`, to be bound to separate memory."""

    def _allocate(self) -> None:
        self._staging = Staging(self._cuda)
        super()._allocate()

    def _runner(self, graph: Graph) -> GraphRunner:
        shared = self._cuda, self._lock, self._functions, self._staging, self._layout
        return GraphRunner(*shared, self._loaded(graph), graph)

    def lane(self) -> DeviceBackend:
        """The same loaded graphs with separate memory, captures and stream."""
        lane = copy.copy(self)
        lane._cuda, lane._lock = self._cuda.with_new_stream(), RLock()
        lane._allocate()
        return lane

    def cropper(self, rule: CropRule) -> DeviceCropper:
        """Return what cuts crops for this backend."""
        return DeviceCropper(rule)

    def pixels(self, frame: Frame) -> Image:
        """Return `frame` in host memory."""
        if not isinstance(frame, DeviceFrame):
            return frame
        check_device(frame, self._cuda.index)
        height, width, _ = frame.shape
        pixels = np.empty((height, frame.pitch), np.uint8)
        with self._lock:
            if frame.stream is not None:
                self._cuda.wait_for_stream(frame.stream)
            self._cuda.copy_to_host(pixels.reshape(-1)[: frame.nbytes], frame.address)
            self._cuda.synchronize()
        return pixels[:, : width * 3].reshape(height, width, 3)

    def timed_search(self, graph: int, kernels: Any, size: Floats, params: Floats) -> DeviceTimes:
        """Run one search graph in three parts, one launch each, and return what each took."""
        times: DeviceTimes = self._searches[graph].timed_search((kernels,), size, params)
        return times

    def mix(self, one: DeviceKernels, other: DeviceKernels, share: float) -> DeviceKernels:
        """Return (1 - share) one + share other."""
        made = DeviceKernels(self._cuda, self._layout)
        with self._lock:
            for dtype, first, count in self._layout.runs:
                places = (kernels.address + first for kernels in (one, other, made))
                grid = -(-count // THREADS), 1
                self._cuda.run_kernel(self._functions[f"mix_{dtype}"], grid, THREADS, *places, count, share)
            self._cuda.synchronize()
        return made
