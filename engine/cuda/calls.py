"""The calls of CUDA that the engine needs, through cuda-python (cuda.bindings: runtime, driver, nvrtc).

Every call there returns a tuple whose first item is an error code; here it is a value, or a BackendError in words.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import BackendError
from ..runtime_errors import advised

Array = NDArray[Any]
NO_DEVICE = ("cudaErrorNoDevice", "cudaErrorInsufficientDriver", "cudaErrorInitializationError")
TIMED, UNTIMED = 0, 2
"""Flags of cudaEventCreateWithFlags: an event with a timestamp, and one that is cheaper to wait for."""
MAPPED = 2
"""Flag of cudaHostAlloc: kernels may read the memory, too."""
INSTALL = "pip install -U 'cuda-python[all]', or 'trk-engine[gpu]', [tensorrt] or [rtx]"


class Bindings(NamedTuple):
    """The modules of cuda.bindings, or what stands for them."""

    runtime: Any
    driver: Any
    nvrtc: Any


class Kernel(NamedTuple):
    """A function that runs on the GPU."""

    function: Any
    types: tuple[Any, ...]
    """Of its arguments, from ctypes."""


class _Pool:
    """Device memory that is not in use, by its size: giving it back to CUDA would stop the whole device."""

    def __init__(self, runtime: Any):
        self._runtime, self._idle, self._closed = runtime, dict[int, list[int]](), False

    def take(self, size: int) -> int | None:
        idle = self._idle.get(size)
        return idle.pop() if idle else None

    def give(self, size: int, address: int) -> None:
        if self._closed:
            self._runtime.cudaFree(address)
        else:
            self._idle.setdefault(size, []).append(address)

    def close(self) -> None:
        self._closed = True
        for address in (address for idle in self._idle.values() for address in idle):
            self._runtime.cudaFree(address)
        self._idle.clear()


class CudaGraph:
    """A graph that is ready to launch; destroyed with its last reference."""

    __slots__ = ("__weakref__", "handle", "owner")

    def __init__(self, handle: Any, owner: Any = None):
        self.handle = handle
        self.owner = owner
        """What holds the memory that it works in."""


class Cuda:
    """One GPU, and one stream on it.

    Raises BackendError where there is no GPU, no driver, or a driver older than the runtime.
    """

    def __init__(self, bindings: Bindings | None = None, index: int = 0):
        self.bindings = bindings or _import()
        self.index = index
        (count,) = self.call("cudaGetDeviceCount", what="find a GPU")
        if not index < count:
            raise BackendError(f"GPU {index} was asked for and there are {count}: choose another, or --device cpu")
        self.call("cudaSetDevice", index, what="take the GPU")
        (properties,) = self.call("cudaGetDeviceProperties", index, what="ask the GPU for its name")
        name = properties.name
        self.name: str = name.decode() if isinstance(name, bytes) else str(name)
        self.capability = f"{properties.major}.{properties.minor}"
        # Not the default stream, on which TensorRT synchronises more than it has to.
        (self.stream,) = self.call("cudaStreamCreateWithFlags", 1, what="make a stream")  # 1: non-blocking
        self._give_back_with(self, "cudaStreamDestroy", self.stream)
        # The two calls of every frame, looked up once.
        runtime = self.bindings.runtime
        self._launch, self._synchronize = runtime.cudaGraphLaunch, runtime.cudaStreamSynchronize
        self._success = runtime.cudaError_t.cudaSuccess
        self._foreign: Any = None
        self._pool = _Pool(runtime)
        weakref.finalize(self, self._pool.close)

    def with_new_stream(self) -> Cuda:
        """The same GPU with another stream: for another thread, whose work and captures then are its own."""
        return Cuda(self.bindings, self.index)

    def __str__(self) -> str:
        return f"{self.name}, compute capability {self.capability}"

    def malloc(self, size: int, owner: object) -> int:
        """Return the address of `size` bytes on the device, which others may have when `owner` goes."""
        address = self._pool.take(size)
        if address is None:
            (address,) = self.call("cudaMalloc", max(size, 1), what=f"allocate {size / 1e6:.1f} MB")
        weakref.finalize(owner, self._pool.give, size, int(address))
        return int(address)

    def pinned(self, size: int) -> NDArray[np.uint8]:
        """Return `size` zeroed bytes of pinned host memory, which the device can read and copy from and to.

        The memory goes with the last array that shows it.
        """
        (address,) = self.call("cudaHostAlloc", size, MAPPED, what=f"pin {size / 1e6:.1f} MB of host memory")
        memory = (ctypes.c_uint8 * size).from_address(int(address))
        self._give_back_with(memory, "cudaFreeHost", int(address))
        array = np.frombuffer(memoryview(memory), np.uint8)
        array[:] = 0
        return array

    def copy_to_host(self, array: Array, address: int) -> None:
        """Copy from the device into a contiguous host array, in the stream."""
        self._copy(array.ctypes.data, address, array.nbytes, "cudaMemcpyDeviceToHost")

    def copy(self, target: int, source: int, size: int) -> None:
        """Copy on the device, in the stream."""
        self._copy(target, source, size, "cudaMemcpyDeviceToDevice")

    def synchronize(self) -> None:
        """Wait until the stream is done."""
        (code, *_) = self._synchronize(self.stream)
        if code != self._success:
            raise BackendError(self._reason(code, "wait for the GPU"))

    def wait_for_stream(self, stream: int) -> None:
        """Let what comes in the stream wait for all that is in another one so far, and the host go on."""
        # Most often nothing is, and to wait for an event of another stream costs more than the crop (bench/NOTES.md).
        if self.bindings.runtime.cudaStreamQuery(stream)[0] == self._success:
            return
        if self._foreign is None:
            self._foreign = self.event(UNTIMED)
        self.call("cudaEventRecord", self._foreign, stream, what="record an event in the stream of a frame's maker")
        self.call("cudaStreamWaitEvent", self.stream, self._foreign, 0, what="wait for an event")

    def event(self, flags: int = TIMED) -> Any:
        """Return an event, given back with this stream."""
        (event,) = self.call("cudaEventCreateWithFlags", flags, what="make an event")
        self._give_back_with(self, "cudaEventDestroy", event)
        return event

    def capture(self, work: Callable[[], None]) -> CudaGraph:
        """Return a graph of what `work` puts into the stream, ready to launch; nothing of it runs meanwhile.

        `work` has to have run once before: what is only done the first time can't be captured.
        """
        mode = self.bindings.runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self.call("cudaStreamBeginCapture", self.stream, mode, what="begin to capture a graph")
        try:
            work()
        except BaseException:
            with suppress(BackendError):  # what went wrong says more than what that did to the capture
                self.call("cudaStreamEndCapture", self.stream, what="end a capture")
            raise
        (graph,) = self.call("cudaStreamEndCapture", self.stream, what="capture a graph")
        try:
            return self.instantiate(graph)
        finally:
            self.call("cudaGraphDestroy", graph, what="give back a graph")

    def instantiate(self, graph: Any, owner: Any = None) -> CudaGraph:
        """Return a captured graph ready to launch; `owner` lives as long."""
        (ready,) = self.call("cudaGraphInstantiate", graph, 0, what="instantiate the captured graph")
        made = CudaGraph(ready, owner)
        self._give_back_with(made, "cudaGraphExecDestroy", ready)
        return made

    def launch(self, graph: CudaGraph) -> None:
        """Launch a graph in the stream."""
        (code,) = self._launch(graph.handle, self.stream)
        if code != self._success:
            raise BackendError(self._reason(code, "launch the captured graph"))

    def kernels(self, source: bytes, signatures: Mapping[str, tuple[Any, ...]]) -> dict[str, Kernel]:
        """Return the kernels of CUDA C `source`, compiled for this GPU; `signatures`: ctypes of their arguments."""
        (module,) = self.call("cuModuleLoadData", self._compiled(source), what="load its kernels", of="driver")
        found = {}
        for name, types in signatures.items():
            (function,) = self.call("cuModuleGetFunction", module, name.encode(), what=f"find {name}", of="driver")
            found[name] = Kernel(function, types)
        return found

    def run_kernel(
        self, kernel: Kernel, grid: tuple[int, int], block: int, *arguments: float, stream: int | None = None
    ) -> None:
        """Put a kernel into the stream, or into another one."""
        handle = self.bindings.driver.CUstream(int(self.stream if stream is None else stream))
        packed = (arguments, kernel.types)
        self.call(
            "cuLaunchKernel",
            kernel.function,
            *grid,
            1,
            block,
            1,
            1,
            0,
            handle,
            packed,
            0,
            what="launch a kernel",
            of="driver",
        )

    def call(self, name: str, *arguments: Any, what: str, of: str = "runtime") -> tuple[Any, ...]:
        """Call `name` of a module of the bindings; return its values. Raises BackendError: CUDA can't `what`."""
        try:
            code, *values = getattr(getattr(self.bindings, of), name)(*arguments)
        except (RuntimeError, OSError) as error:  # cuda-python's own way to say that a library is missing
            missing = f"install NVRTC: {INSTALL}" if of == "nvrtc" else "install NVIDIA's driver"
            raise BackendError(f"CUDA can't {what}: {_line(error)}: {missing}") from error
        if int(code) != 0:
            raise BackendError(self._reason(code, what))
        return tuple(values)

    def _compiled(self, source: bytes) -> bytes:
        """Return `source` as machine code of this GPU. Sums are rounded one by one, as the host's are."""
        (program,) = self.call("nvrtcCreateProgram", source, b"kernels.cu", 0, [], [], what="read kernels", of="nvrtc")
        options = [f"--gpu-architecture=sm_{self.capability.replace('.', '')}".encode(), b"--fmad=false"]
        self.call("nvrtcCompileProgram", program, len(options), options, what="compile kernels for it", of="nvrtc")
        (size,) = self.call("nvrtcGetCUBINSize", program, what="compile kernels for it", of="nvrtc")
        code: bytes = b" " * size
        self.call("nvrtcGetCUBIN", program, code, what="compile kernels for it", of="nvrtc")
        return code

    def _copy(self, target: int, source: int, size: int, kind: str) -> None:
        direction = getattr(self.bindings.runtime.cudaMemcpyKind, kind)
        self.call("cudaMemcpyAsync", target, source, size, direction, self.stream, what="copy memory")

    def _give_back_with(self, owner: object, name: str, handle: Any) -> None:
        """Call `name` of CUDA with `handle` when `owner` goes."""
        # An error is ignored: a device that was lost has freed it, too.
        weakref.finalize(owner, getattr(self.bindings.runtime, name), handle)

    def _reason(self, code: Any, what: str) -> str:
        name = str(getattr(code, "name", code))
        if name in NO_DEVICE:
            return f"no usable NVIDIA GPU ({name}): install a driver for this CUDA version, or choose --device cpu"
        return advised(f"CUDA can't {what}: {name}")


def _line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")


def _import() -> Bindings:
    try:
        from cuda.bindings import driver, nvrtc, runtime
    except ImportError:
        raise BackendError(f"the GPU backend needs cuda-python 12.6 or newer: {INSTALL}") from None
    return Bindings(runtime, driver, nvrtc)
