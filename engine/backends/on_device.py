"""What backends on a GPU have in common: kernels in device memory, whole frames, one launch and one wait a search.

A search is: what the host says from pinned memory to the device, the graph, three small results back. Addresses are
frozen in a captured graph, so the kernels of a template are copied into the place that the graph reads when another
template is searched for, and each of the two places that frames come to has a capture of its own.

Built and tested on a CPU against stand-ins for CUDA and for the runtimes. Not executed on a GPU yet.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import zip_longest
from threading import RLock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..device_frame import Frame
from ..manifest import Graph, Manifest
from ..regions import Regions
from .base import SearchOutput
from .cuda import Cuda
from .cuda_frames import CudaCarrier
from .cuda_runner import Array, Runner, Work, bytes_of
from .events import DeviceTimes
from .plans import frame_graphs
from .slots import Shape, Slots

ANYWHERE = (0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 1.0)
"""A region of regions.REGION that every frame has: what is searched while a graph is made ready."""


class OnDevice(ABC):
    """Runs a bundle on a GPU; subclasses say by which runtime."""

    device = "cuda"
    frames: bool
    _manifest: Manifest
    _cuda: Cuda
    _lock: RLock

    @abstractmethod
    def _work(self, graph: Graph) -> Work:
        """Return `graph` as it was loaded, with a context of its own."""

    def _allocate(self) -> None:
        manifest, cuda = self._manifest, self._cuda

        def runner(graph: Graph) -> Runner:
            return Runner(cuda, self._work(graph), graph)

        self._template = runner(manifest.template)
        self._searches = [runner(search) for search in manifest.searches]
        self._batches = {
            (number, batch.targets): runner(batch)
            for number, search in enumerate(manifest.searches)
            for batch in search.batches
        }
        self._framed = frame_graphs(manifest, self.frames)
        self._wholes: dict[tuple[int, int, Shape], Runner] = {}
        self._carrier = CudaCarrier(cuda)
        self._slots = Slots(self._carrier)
        self.template_crop = self._template.host["crop"]
        self.search_crops = [one.host["crop"] for one in self._searches]

    def template(self, size: NDArray[np.float32], params: NDArray[np.float32]) -> Kernels:
        """Return the kernels, in device memory of their own."""
        with self._lock:
            self._template.write(size=size, params=params)
            self._template.run()
            kernels = Kernels(self._cuda)
            for tensor in self._manifest.template.outputs:
                kernels.take(tensor.name, self._template.device[tensor.name], bytes_of(tensor))
            self._cuda.wait()
        return kernels

    def search(self, graph: int, kernels: Any, size: NDArray[np.float32], params: NDArray[np.float32]) -> SearchOutput:
        """Run one search graph and wait for its three results."""
        return self._search(self._searches[graph], [kernels], size=size, params=params)

    def stages(self, graph: int, kernels: Any, size: NDArray[np.float32], params: NDArray[np.float32]) -> DeviceTimes:
        """Run one search graph in three parts and time each: see `events.Staged`."""
        runner = self._searches[graph]
        with self._lock:
            self._hold(runner, [kernels])
            runner.write(size=size, params=params)
            return runner.parts()

    def batches(self, graph: int) -> list[int]:
        """Return for how many targets at once there is a graph, most first."""
        return sorted((targets for number, targets in self._batches if number == graph), reverse=True)

    def batch_crops(self, graph: int, targets: int) -> NDArray[np.uint8]:
        """Return the crop buffer of the graph for `targets`, in pinned memory."""
        return self._batches[graph, targets].host["crop"]

    def search_batch(
        self, graph: int, kernels: Sequence[Any], size: NDArray[np.float32], params: NDArray[np.float32]
    ) -> SearchOutput:
        """Run the graph for `len(kernels)` targets."""
        return self._search(self._batches[graph, len(kernels)], kernels, size=size, params=params)

    @property
    def stream(self) -> int:
        """The stream that frames are copied in."""
        return self._carrier.stream

    def take(self, frame: Frame) -> None:
        """Make `frame` the one that is searched; where its size is a new one, graphs are captured for it."""
        with self._lock:
            self._slots.take(frame)
            self._whole(0, 1)

    def announce(self, frame: Frame) -> None:
        """Name the next frame: it is copied while the search of this one runs."""
        self._slots.announce(frame)

    def pixels(self, frame: Frame) -> NDArray[np.uint8]:
        """Return `frame` in host memory."""
        return self._carrier.pixels(frame)

    def search_frame(
        self,
        graph: int,
        kernels: Sequence[Any],
        region: Regions,
        size: NDArray[np.float32],
        params: NDArray[np.float32],
    ) -> SearchOutput:
        """Search the frame that was taken for `len(kernels)` targets, and wait for their three results."""
        runner = self._whole(graph, len(kernels))
        return self._search(runner, kernels, self._slots.current, region=region, size=size, params=params)

    def mix(self, one: Any, other: Any, share: float) -> Kernels:
        """Return (1 - share) one + share other, through host memory."""
        cuda, mixed, arrays = self._cuda, Kernels(self._cuda), []
        with self._lock:
            for tensor in self._manifest.template.outputs:
                a, b = (cuda.pinned(tensor.shape, tensor.dtype) for _ in range(2))
                for array, kernels in ((a, one), (b, other)):
                    cuda.download(array, kernels.places[tensor.name][0])
                arrays.append((tensor.name, a, b))
            cuda.wait()
            for name, a, b in arrays:
                a[:] = a + share * (b.astype(np.float32) - a)
                mixed.upload(name, a)
            cuda.wait()
        return mixed

    def _search(self, runner: Runner, kernels: Sequence[Any], key: int = 0, **values: Array) -> SearchOutput:
        with self._lock:
            self._hold(runner, kernels)
            runner.write(**values)
            runner.run(key)
            # The device is at work: now is the time to bring the next frame on its way.
            self._slots.stage()
            self._cuda.wait()
        return runner.output

    def _hold(self, runner: Runner, kernels: Sequence[Any]) -> None:
        """Put `kernels` where the graph reads them, those that do not lie there yet."""
        for number, (held, wanted) in enumerate(zip_longest(runner.held, kernels)):
            if held is not wanted:
                for name, (address, bytes_) in wanted.places.items():
                    self._cuda.copy(runner.device[name] + number * bytes_, address, bytes_)
        runner.held = list(kernels)

    def _whole(self, graph: int, targets: int) -> Runner:
        """Return what searches whole frames of the size at hand, ready for both places that they come to."""
        key = graph, targets, self._slots.shape
        if key not in self._wholes:
            with self._lock:
                for gone in [other for other in self._wholes if other[-1] not in self._slots.shapes]:
                    self._wholes.pop(gone).forget()
                described = self._framed[graph, targets]
                # One for each size: what was captured for a shape may not outlive a change of its context's.
                runner = Runner(self._cuda, self._work(described), described)
                runner.write(region=np.array(ANYWHERE, np.float32))
                for slot, place in enumerate(self._slots.places):
                    runner.prepare(slot, (place.address, place.pinned.size // 3))
                self._wholes[key] = runner
        return self._wholes[key]


class Kernels:
    """Kernels of one template, in device memory that goes when nobody holds them any more."""

    def __init__(self, cuda: Cuda):
        self._cuda = cuda
        self.places: dict[str, tuple[int, int]] = {}
        """Name: address and bytes."""

    def take(self, name: str, source: int, size: int) -> None:
        """Keep a copy of device memory."""
        self._cuda.copy(self._place(name, size), source, size)

    def upload(self, name: str, array: Array) -> None:
        """Keep a copy of host memory."""
        self._cuda.upload(self._place(name, array.nbytes), array)

    def _place(self, name: str, size: int) -> int:
        address = self._cuda.malloc(size)
        self._cuda.free_with(self, address)
        self.places[name] = address, size
        return address
