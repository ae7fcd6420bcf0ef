"""The dozen calls of CUDA that the engine needs, through cuda-python (cuda.bindings.runtime).

Every call there returns a tuple whose first item is an error code; here it is a value, or a BackendError in words.
Not executed on a GPU yet.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import BackendError
from .memory import advised

Array = NDArray[Any]
NO_DEVICE = ("cudaErrorNoDevice", "cudaErrorInsufficientDriver", "cudaErrorInitializationError")
NO_TIMING = 2
"""Flag of cudaEventCreateWithFlags."""


class Captured:
    """A captured graph, ready to launch; given back when nobody has it any more."""

    __slots__ = ("__weakref__", "handle")

    def __init__(self, handle: Any):
        self.handle = handle


class Cuda:
    """One GPU, and one stream of its own on it.

    `runtime`: the module `cuda.bindings.runtime`, or what stands for it. Raises BackendError where there is no GPU, no
    driver, or a driver older than the runtime.
    """

    def __init__(self, runtime: Any = None, index: int = 0):
        self._runtime = runtime or _import()
        self.index = index
        (count,) = self._call("cudaGetDeviceCount", what="find a GPU")
        if not index < count:
            raise BackendError(f"GPU {index} was asked for and there are {count}: choose another, or --device cpu")
        self._call("cudaSetDevice", index, what="take the GPU")
        (properties,) = self._call("cudaGetDeviceProperties", index, what="ask the GPU for its name")
        name = properties.name
        self.name: str = name.decode() if isinstance(name, bytes) else str(name)
        self.capability = f"{properties.major}.{properties.minor}"
        # Not the default stream, on which TensorRT synchronises more than it has to.
        (self.stream,) = self._call("cudaStreamCreateWithFlags", 1, what="make a stream")  # 1: non-blocking
        weakref.finalize(self, _destroy_stream, self._runtime, self.stream)
        self._foreign: Any = None

    def sibling(self) -> Cuda:
        """The same GPU with another stream: for another thread, whose work and captures then are its own."""
        return Cuda(self._runtime, self.index)

    def __str__(self) -> str:
        return f"{self.name}, compute capability {self.capability}"

    def malloc(self, size: int) -> int:
        """Return the address of `size` bytes on the device."""
        (address,) = self._call("cudaMalloc", max(size, 1), what=f"allocate {size / 1e6:.1f} MB")
        return int(address)

    def free_with(self, owner: object, *addresses: int) -> None:
        """Give device memory back when `owner` goes."""
        for address in addresses:
            weakref.finalize(owner, self._freed, "cudaFree", address)

    def pinned(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """Return a zeroed array in pinned host memory, which copies can run from while the host goes on.

        The memory goes with the last array that shows it.
        """
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        (address,) = self._call("cudaHostAlloc", size, 0, what=f"pin {size / 1e6:.1f} MB of host memory")
        memory = (ctypes.c_uint8 * size).from_address(int(address))
        weakref.finalize(memory, self._freed, "cudaFreeHost", int(address))
        array: Array = np.frombuffer(memory, np.uint8).view(dtype).reshape(shape)
        array[:] = 0
        return array

    def upload(self, address: int, array: Array) -> None:
        """Copy a contiguous host array to the device, in the stream."""
        self._copy(address, array.ctypes.data, array.nbytes, "cudaMemcpyHostToDevice")

    def download(self, array: Array, address: int) -> None:
        """Copy from the device into a contiguous host array, in the stream."""
        self._copy(array.ctypes.data, address, array.nbytes, "cudaMemcpyDeviceToHost")

    def copy(self, target: int, source: int, size: int) -> None:
        """Copy on the device, in the stream."""
        self._copy(target, source, size, "cudaMemcpyDeviceToDevice")

    def wait(self) -> None:
        """Wait until the stream is done."""
        self._call("cudaStreamSynchronize", self.stream, what="wait for the GPU")

    def event(self) -> Any:
        """Return an event that tells no time: the cheapest to wait for."""
        (event,) = self._call("cudaEventCreateWithFlags", NO_TIMING, what="make an event")
        return event

    def destroy_with(self, owner: object, event: Any) -> None:
        """Give an event back when `owner` goes."""
        weakref.finalize(owner, self._freed, "cudaEventDestroy", event)

    def record(self, event: Any) -> None:
        """Let `event` stand for all that is in the stream so far."""
        self._call("cudaEventRecord", event, self.stream, what="record an event")

    def wait_for(self, event: Any) -> None:
        """Let what comes in the stream wait for `event`, and the host go on."""
        self._call("cudaStreamWaitEvent", self.stream, event, 0, what="wait for an event")

    def wait_until(self, event: Any) -> None:
        """Wait until `event` is past; at once where it was never recorded."""
        self._call("cudaEventSynchronize", event, what="wait for an event")

    def wait_for_stream(self, stream: int) -> None:
        """Let what comes in the stream wait for all that is in another one so far, and the host go on."""
        if self._foreign is None:
            self._foreign = self.event()
        self._call("cudaEventRecord", self._foreign, stream, what="record an event in the stream of a frame's maker")
        self.wait_for(self._foreign)

    def capture(self, work: Callable[[], None]) -> Captured:
        """Return a graph of what `work` puts into the stream, ready to launch; nothing of it runs meanwhile.

        `work` has to have run once before: what is only done the first time can't be captured.
        """
        mode = self._runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call("cudaStreamBeginCapture", self.stream, mode, what="begin to capture a graph")
        try:
            work()
        except BaseException:
            with suppress(BackendError):  # what went wrong says more than what that did to the capture
                self._call("cudaStreamEndCapture", self.stream, what="end a capture")
            raise
        (graph,) = self._call("cudaStreamEndCapture", self.stream, what="capture a graph")
        (ready,) = self._call("cudaGraphInstantiate", graph, 0, what="instantiate the captured graph")
        self._call("cudaGraphDestroy", graph, what="give back a graph")
        captured = Captured(ready)
        weakref.finalize(captured, self._freed, "cudaGraphExecDestroy", ready)
        return captured

    def launch(self, graph: Captured) -> None:
        """Launch a captured graph in the stream."""
        self._call("cudaGraphLaunch", graph.handle, self.stream, what="launch the captured graph")

    def _copy(self, target: int, source: int, size: int, kind: str) -> None:
        direction = getattr(self._runtime.cudaMemcpyKind, kind)
        self._call("cudaMemcpyAsync", target, source, size, direction, self.stream, what="copy memory")

    def _freed(self, name: str, address: Any) -> None:
        # Nobody is left to be told: a device that went away has freed it, too.
        with suppress(BackendError):
            self._call(name, address, what="free memory")

    def _call(self, name: str, *arguments: Any, what: str) -> tuple[Any, ...]:
        try:
            code, *values = getattr(self._runtime, name)(*arguments)
        except (RuntimeError, OSError) as error:  # cuda-python's own way to say that a library is missing
            raise BackendError(f"CUDA can't {what}: {_line(error)}: install NVIDIA's driver") from error
        if code != self._runtime.cudaError_t.cudaSuccess:
            raise BackendError(self._reason(code, what))
        return tuple(values)

    def _reason(self, code: Any, what: str) -> str:
        name = str(getattr(code, "name", code))
        if name in NO_DEVICE:
            return f"no usable NVIDIA GPU ({name}): install a driver for this CUDA version, or choose --device cpu"
        return advised(f"CUDA can't {what}: {name}")


def _destroy_stream(runtime: Any, stream: Any) -> None:
    runtime.cudaStreamDestroy(stream)  # its error code would reach nobody


def _line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")


def _import() -> Any:
    try:
        from cuda.bindings import runtime
    except ImportError:
        raise BackendError(
            "the GPU backend needs cuda-python 12.6 or newer: pip install cuda-python -U, or 'trk-engine[gpu]', "
            "[tensorrt] or [rtx]"
        ) from None
    return runtime
