"""One graph on a GPU: its buffers, what is copied around each run, and the CUDA graph that all of it becomes.

What the host writes lies in one piece of pinned memory and goes up in one copy; the results come down in one.

Built and tested on a CPU against stand-ins for CUDA and for the runtimes. Not executed on a GPU yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..manifest import Graph, Tensor
from .base import SearchOutput
from .cuda import Captured, Cuda
from .events import CudaMarks, DeviceTimes

Array = NDArray[Any]
ALIGNED = 256
"""Bytes that a tensor begins at a multiple of, as what CUDA allocates does."""


class Work(Protocol):
    """A graph that a runtime has loaded, to be put into one stream."""

    warm_up: int
    """Runs after which one is as the next."""
    capturable: bool
    """Whether a run may be captured into a CUDA graph with the copies around it."""

    def bind(self, tensor: Tensor, shape: tuple[int, ...], address: int, key: int) -> None:
        """Read or write `tensor`, of `shape`, at `address` in the runs of `key`."""
        ...

    def run(self, key: int) -> None:
        """Put one run into the stream."""
        ...

    def forget(self) -> None:
        """Give back what was kept for runs: addresses and shapes are to be others."""
        ...


class Block:
    """Tensors side by side, in pinned host memory and on the device alike."""

    def __init__(self, cuda: Cuda, tensors: Sequence[Tensor]):
        self._cuda = cuda
        starts, end = [], 0
        for tensor in tensors:
            starts.append(end)
            end += -(-bytes_of(tensor) // ALIGNED) * ALIGNED
        self._pinned = cuda.pinned((end,), np.uint8) if end else None
        self.address = cuda.malloc(end) if end else 0
        if end:
            cuda.free_with(self, self.address)
        self.device = {tensor.name: self.address + start for tensor, start in zip(tensors, starts, strict=True)}
        self.host = {tensor.name: self._view(tensor, start) for tensor, start in zip(tensors, starts, strict=True)}

    def upload(self) -> None:
        """Copy all of it to the device, in the stream."""
        if self._pinned is not None:
            self._cuda.upload(self.address, self._pinned)

    def download(self) -> None:
        """Copy all of it to the host, in the stream."""
        if self._pinned is not None:
            self._cuda.download(self._pinned, self.address)

    def _view(self, tensor: Tensor, start: int) -> Array:
        assert self._pinned is not None
        piece = self._pinned[start : start + bytes_of(tensor)]
        array: Array = piece.view(tensor.dtype).reshape(tensor.shape)
        return array


class Runner:
    """One graph with its buffers; kernels lie on the device alone, a frame wherever `prepare` is told."""

    def __init__(self, cuda: Cuda, work: Work, graph: Graph):
        self._cuda, self._work, self._graph = cuda, work, graph
        self._inputs = Block(cuda, [tensor for tensor in graph.inputs if _of_host(tensor)])
        self._results = Block(cuda, [tensor for tensor in graph.outputs if _of_host(tensor)])
        kernels = [tensor for tensor in (*graph.inputs, *graph.outputs) if tensor.name.startswith("kernel_")]
        own = {tensor.name: cuda.malloc(bytes_of(tensor)) for tensor in kernels}
        cuda.free_with(self, *own.values())
        self.device = {**own, **self._inputs.device, **self._results.device}
        self.host = {**self._inputs.host, **self._results.host}
        self.held: list[Any] = []
        """Whose kernels lie in the device's buffers, target by target."""
        self._captured: dict[int, Captured] = {}
        self._parts: list[Captured] | None = None
        if "frame" not in {tensor.name for tensor in graph.inputs}:
            self.prepare()

    def prepare(self, key: int = 0, frame: tuple[int, int] | None = None) -> None:
        """Get ready for runs of `key`; `frame`: the address and the pixels of what they read.

        The first runs do what is only done once, and what can't be captured: frame 1 shall cost no more than frame 2.
        """
        for tensor in (*self._graph.inputs, *self._graph.outputs):
            if tensor.name == "frame":
                assert frame is not None
                address, pixels = frame
                self._work.bind(tensor, (pixels, 3), address, key)
            else:
                self._work.bind(tensor, tensor.shape, self.device[tensor.name], key)
        for _ in range(self._work.warm_up):
            self._steps(key)
        self._cuda.wait()
        if self._work.capturable:
            self._captured[key] = self._cuda.capture(lambda: self._steps(key))

    def forget(self) -> None:
        """Give back what was captured: the frames are to lie elsewhere."""
        self._captured.clear()
        self._work.forget()

    @property
    def output(self) -> SearchOutput:
        """What a search graph says, in pinned memory."""
        return SearchOutput(*(self.host[name] for name in SearchOutput._fields))

    def write(self, **values: Array) -> None:
        """Put inputs into the host's buffers; what the graph does not take is left out."""
        for name, value in values.items():
            if name in self.host:
                self.host[name][:] = value

    def run(self, key: int = 0) -> None:
        """Put one run into the stream: in one launch, where it could be captured."""
        if key in self._captured:
            self._cuda.launch(self._captured[key])
        else:
            self._steps(key)

    def parts(self) -> DeviceTimes:
        """Run once in three parts, and time them."""
        steps = (self._inputs.upload, lambda: self._work.run(0), self._results.download)
        if self._work.capturable and self._parts is None:
            self._parts = [self._cuda.capture(step) for step in steps]
        marks = CudaMarks(self._cuda)
        marks.mark()
        for number, step in enumerate(steps):
            if self._parts is None:
                step()
            else:
                self._cuda.launch(self._parts[number])
            marks.mark()
        return DeviceTimes(*marks.seconds())

    def _steps(self, key: int) -> None:
        self._inputs.upload()
        self._work.run(key)
        self._results.download()


def bytes_of(tensor: Tensor) -> int:
    """Return the bytes that `tensor` takes."""
    return int(np.prod(tensor.shape)) * np.dtype(tensor.dtype).itemsize


def _of_host(tensor: Tensor) -> bool:
    return tensor.name != "frame" and not tensor.name.startswith("kernel_")
