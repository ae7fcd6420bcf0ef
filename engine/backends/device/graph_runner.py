"""One graph on a GPU: its memory, and the CUDA graph that crops, network and copies become.

A run is one launch: what the host says and the windows of the frame go up, crops are cut, the network runs, and the
results come down.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import groupby, zip_longest
from threading import RLock
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ....errors import BackendError
from ...cuda.calls import Cuda, CudaGraph, Kernel
from ...manifest import Graph, Tensor
from ..base import SearchOutput
from .crops import QUAD, ROW, SEGMENT, CropTable, Staging
from .timing import DeviceTimer, DeviceTimes

log = logging.getLogger(__name__)
Array = NDArray[Any]
ALIGNED = 256
"""Bytes that a tensor begins at a multiple of, as what CUDA allocates does."""
UPLOAD_BLOCKS, THREADS = 16, 256
"""Blocks of the kernel `upload`, and threads of a block. More blocks than these slow the bus down (bench/NOTES.md)."""


class LoadedGraph(Protocol):
    """A graph that a runtime has loaded, to be put into one stream."""

    warm_up: int
    """Runs after which one is as the next."""

    @property
    def capturable(self) -> bool:
        """Whether a run may be captured with what is before and after it."""
        ...

    def bind(self, tensor: Tensor, address: int) -> None:
        """Read or write `tensor` at `address`."""
        ...

    def run(self) -> None:
        """Put one run into the stream."""
        ...

    def capture(self, steps: Callable[[], None]) -> CudaGraph:
        """Return what `steps`, with runs of this graph among them, put into the stream. Raises BackendError."""
        ...


class Layout:
    """Where tensors are in one piece of memory."""

    def __init__(self, tensors: Sequence[Tensor]):
        self.tensors = tuple(tensors)
        self.offsets: dict[str, int] = {}
        self.size = 0
        for tensor in tensors:
            self.offsets[tensor.name] = self.size
            self.size += -(-bytes_of(tensor) // ALIGNED) * ALIGNED
        self.runs = list(self._runs())
        """Stretches of one dtype, gaps between tensors included: the dtype, the first byte, how many values."""

    def _runs(self) -> Iterator[tuple[str, int, int]]:
        for dtype, several in groupby(self.tensors, lambda tensor: tensor.dtype):
            tensors = list(several)
            first, last = self.offsets[tensors[0].name], tensors[-1]
            end = self.offsets[last.name] + bytes_of(last)
            yield dtype, first, (end - first) // np.dtype(dtype).itemsize

    def views(self, memory: NDArray[np.uint8]) -> dict[str, Array]:
        """Return the tensors in `memory` by name."""
        found = {}
        for tensor in self.tensors:
            first = self.offsets[tensor.name]
            found[tensor.name] = memory[first : first + bytes_of(tensor)].view(tensor.dtype).reshape(tensor.shape)
        return found

    def addresses(self, address: int) -> dict[str, int]:
        """Return the addresses of the tensors in memory at `address` by name."""
        return {name: address + offset for name, offset in self.offsets.items()}


class PinnedBlock:
    """Tensors in pinned host memory, and in the same layout on the device."""

    def __init__(self, cuda: Cuda, tensors: Sequence[Tensor], room: int = 0):
        layout = Layout(tensors)
        self.pinned = cuda.pinned(max(-(-(layout.size + room) // QUAD) * QUAD, QUAD))
        self.address = cuda.malloc(self.pinned.nbytes, self)
        self.host = layout.views(self.pinned)
        self.device = layout.addresses(self.address)
        self.room = self.pinned[layout.size :]
        """`room` bytes behind the tensors, and"""
        self.room_address = self.address + layout.size
        """where they are on the device."""


class DeviceKernels:
    """Kernels of one template in device memory, which goes with them."""

    def __init__(self, cuda: Cuda, layout: Layout):
        self.address = cuda.malloc(layout.size, self)


class GraphRunner:
    """One graph with its memory, ready to run; `layout` is that of the kernels of a template.

    Addresses are frozen in a captured graph, so the kernels of a template are copied to where the graph reads them
    when another template is searched for.
    """

    def __init__(
        self,
        cuda: Cuda,
        lock: RLock,
        functions: Mapping[str, Kernel],
        staging: Staging,
        layout: Layout,
        loaded: LoadedGraph,
        graph: Graph,
    ):
        self._cuda, self._lock, self._functions, self._staging = cuda, lock, functions, staging
        self._layout, self._loaded = layout, loaded
        tensors = (*graph.inputs, *graph.outputs)
        crop = next(tensor for tensor in graph.inputs if tensor.name == "crop")
        count, size = crop.shape[:2]
        self._grid = -(-size * size // THREADS), count
        self._crop = cuda.malloc(bytes_of(crop), self)
        self._inputs = PinnedBlock(cuda, [t for t in graph.inputs if _is_host(t)], count * ROW.size)
        self._results = PinnedBlock(cuda, [t for t in graph.outputs if _is_host(t)])
        kernels = Layout([tensor for tensor in tensors if tensor.name.startswith("kernel_")])
        self._kernels = cuda.malloc(kernels.size, self)
        self._pieces = _pieces(layout, kernels)
        self._held: tuple[DeviceKernels, ...] = ()
        """Whose kernels are there, target by target."""
        self.crops = CropTable(cuda, staging, self._inputs.room, size, self._crop)
        segments = cuda.pinned(2 * SEGMENT.size)
        self._segments, self._segments_address = segments.data, segments.ctypes.data
        inputs = self._inputs
        SEGMENT.pack_into(
            self._segments, SEGMENT.size, inputs.pinned.ctypes.data, inputs.address, inputs.pinned.nbytes // QUAD
        )
        places = {"crop": self._crop, **kernels.addresses(self._kernels), **inputs.device, **self._results.device}
        for tensor in tensors:
            loaded.bind(tensor, places[tensor.name])
        self._size, self._params = (inputs.host.get(name) for name in ("size", "params"))
        self._given_params: Array | None = None
        """The array that `_params` is a copy of: one and the same for most frames, and never written to."""
        results = self._results.host
        self._output = SearchOutput(*(results.get(name, np.zeros(0)) for name in SearchOutput._fields))
        for _ in range(loaded.warm_up):  # what is only done the first time can't be captured
            self._bring()
            loaded.run()
            self._fetch()
        cuda.synchronize()
        self._steps = self._captured(graph.file)
        self._timed: list[Callable[[], None]] = []
        self._timer = DeviceTimer(cuda)

    def template(self, size: Array, params: Array) -> DeviceKernels:
        """Return the kernels, in new device memory."""
        with self._lock:
            self._run(self._steps, size, params)
            kernels = DeviceKernels(self._cuda, self._layout)
            self._cuda.copy(kernels.address, self._kernels, self._layout.size)
            self._finish()
        return kernels

    def search(self, kernels: Sequence[DeviceKernels], size: Array, params: Array) -> SearchOutput:
        """Search, in one launch where the runtime lets itself be captured, and wait for the three results."""
        with self._lock:
            if tuple(kernels) != self._held:
                self._hold(kernels)
            self._run(self._steps, size, params)
            self._finish()
        return self._output

    def timed_search(self, kernels: Sequence[DeviceKernels], size: Array, params: Array) -> DeviceTimes:
        """Search in three parts, and return what each took."""
        with self._lock:
            self._hold(kernels)
            if not self._timed:
                compute = self._loaded.run
                with no_collection():
                    if self._loaded.capturable:
                        compute = self._launch_of(self._loaded.capture(compute))
                    bring, fetch = (self._launch_of(self._cuda.capture(step)) for step in (self._bring, self._fetch))
                self._timed = [bring, compute, fetch]
            record = self._timer.record
            self._run([record, *(step for part in self._timed for step in (part, record))], size, params)
            self._finish()
        return DeviceTimes(*self._timer.intervals())

    def _hold(self, kernels: Sequence[DeviceKernels]) -> None:
        """Put `kernels` where the graph reads them, those that are not there yet."""
        held, self._held = self._held, ()  # until all are there: a copy may fail
        for number, (there, wanted) in enumerate(zip_longest(held, kernels)):
            for source, target, size in self._pieces if there is not wanted else ():
                self._cuda.copy(self._kernels + target + number * size, wanted.address + source, size)
        self._held = tuple(kernels)

    def _run(self, steps: Sequence[Callable[[], None]], size: Array, params: Array) -> None:
        """Put one run into the stream."""
        if self._size is not None:
            self._size[...] = size
        if self._params is not None and params is not self._given_params:
            self._params[...] = params
            self._given_params = params
        staging = self._staging
        self.crops.finish()
        SEGMENT.pack_into(self._segments, 0, staging.host_address, staging.address, staging.used // QUAD)
        for step in steps:
            step()

    def _finish(self) -> None:
        self._cuda.synchronize()
        self.crops.release()

    def _captured(self, file: str) -> list[Callable[[], None]]:
        """Return the launches that are a run."""
        steps = [self._bring, self._loaded.run, self._fetch]

        def all_of_it() -> None:
            for step in steps:
                step()

        try:
            with no_collection():
                if self._loaded.capturable:
                    return [self._launch_of(self._loaded.capture(all_of_it))]
                bring, fetch = (self._launch_of(self._cuda.capture(step)) for step in (self._bring, self._fetch))
                return [bring, self._loaded.run, fetch]
        except BackendError as error:
            log.warning("%s can't be captured as a CUDA graph and runs kernel by kernel: %s", file, error)
            all_of_it()
            self._cuda.synchronize()
            return steps

    def _launch_of(self, graph: CudaGraph) -> Callable[[], None]:
        return partial(self._cuda.launch, graph)

    def _bring(self) -> None:
        cuda, functions = self._cuda, self._functions
        cuda.run_kernel(functions["upload"], (UPLOAD_BLOCKS, 1), THREADS, self._segments_address, 2)
        cuda.run_kernel(functions["cut"], self._grid, THREADS, self._inputs.room_address, self._crop, self.crops.size)

    def _fetch(self) -> None:
        if self._results.host:
            self._cuda.copy_to_host(self._results.pinned, self._results.address)


@contextmanager
def no_collection() -> Iterator[None]:
    """Keep Python's collector off: memory that it frees while work is captured would break the capture."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _pieces(template: Layout, search: Layout) -> list[tuple[int, int, int]]:
    """Return the copies that bring the kernels of one target, from a template's layout to a search graph's.

    Each is the offset in the one, that in the other, and the bytes of a target. A search for one target has the
    template's layout: what is one piece there stays one.
    """
    if search.tensors == template.tensors:
        return [(0, 0, template.size)]
    offsets, there = template.offsets, search.offsets
    return [(offsets[t.name], there[t.name], bytes_of(t)) for t in template.tensors if t.name in there]


def bytes_of(tensor: Tensor) -> int:
    """Return the bytes that `tensor` takes."""
    return int(np.prod(tensor.shape)) * np.dtype(tensor.dtype).itemsize


def _is_host(tensor: Tensor) -> bool:
    """Whether the host writes or reads `tensor`."""
    return tensor.name != "crop" and not tensor.name.startswith("kernel_")
