"""TensorRT: plans on one stream, kernels in device memory, each search one captured CUDA graph.

Built and tested on a CPU against stand-ins for TensorRT and CUDA. Not executed on a GPU yet.
"""

from __future__ import annotations

import copy
from threading import RLock
from typing import Any

from ...errors import BackendError
from ..bundle import Bundle
from ..manifest import Graph, Tensor
from .cuda import Cuda
from .on_device import OnDevice
from .plans import graphs_of
from .trt_build import FRAME_PIXELS
from .trt_library import Library, load
from .trt_plans import Say, gpu_of, plans


class TensorRTBackend(OnDevice):
    """Runs a bundle in TensorRT or TensorRT-RTX.

    Plans come from the bundle's cache or are built first, which takes minutes with full TensorRT; `say` is told.
    `frames`: with the plans that take whole frames. Raises BackendError where a library, a GPU or its driver is
    missing: the CPU never stands in.
    """

    name = "tensorrt"

    def __init__(
        self,
        bundle: Bundle,
        library: Library | None = None,
        cuda: Cuda | None = None,
        say: Say = lambda _: None,
        *,
        frames: bool = False,
    ):
        self._library = library or load()
        self._cuda = cuda or Cuda()
        self._lock = RLock()
        self.frames = frames
        self._manifest = bundle.manifest
        portable = self._library.flavour == "rtx"
        gpu = gpu_of(()) if portable else str(self._cuda)
        capability = self._cuda.capability if portable else ""
        built = plans(bundle, self._library, gpu, device=capability, say=say, frames=frames)
        self._library.forget()
        runtime = self._library.make("Runtime", "start its runtime (is there a GPU, and its driver?)")
        self._engines = {}
        for graph in graphs_of(self._manifest, frames):
            engine = self._library.need(
                runtime.deserialize_cuda_engine(built[graph.file]), f"load the plan of {graph.file}"
            )
            _check_signature(bundle, graph, engine)
            self._engines[graph.file] = engine
        self._allocate()

    def lane(self) -> TensorRTBackend:
        """The same plans with buffers, contexts and a stream of its own."""
        lane = copy.copy(self)
        lane._cuda, lane._lock = self._cuda.sibling(), RLock()
        lane._allocate()
        return lane

    def _work(self, graph: Graph) -> _Plan:
        return _Plan(self._library, self._engines[graph.file], graph, int(self._cuda.stream))


class _Plan:
    """One plan with a context of its own. It knows one set of addresses: what was captured keeps those it saw."""

    warm_up = 1
    capturable = True

    def __init__(self, library: Library, engine: Any, graph: Graph, stream: int):
        self._library, self._graph, self._stream = library, graph, stream
        open_shapes = any(0 in tensor.shape for tensor in graph.inputs)
        self._context = library.make_context(engine, graph.file, open_shapes=open_shapes)

    def bind(self, tensor: Tensor, shape: tuple[int, ...], address: int, key: int) -> None:
        """Take `address` for `tensor`, and `shape` where the plan leaves it open."""
        del key
        library, context = self._library, self._context
        if tensor.shape != shape:
            if shape[0] > FRAME_PIXELS[-1]:
                raise BackendError(
                    f"a frame of {shape[0]} pixels is larger than the plan takes, {FRAME_PIXELS[-1]} (8K): let the "
                    "host cut the crops (--host-crop)"
                )
            library.need(context.set_input_shape(tensor.name, shape), f"take a frame of {shape[0]} pixels")
        library.need(context.set_tensor_address(tensor.name, address), f"bind {tensor.name}")

    def run(self, key: int) -> None:
        """Put one run into the stream."""
        del key
        self._library.need(self._context.execute_async_v3(self._stream), f"run {self._graph.file}")

    def forget(self) -> None:
        """Nothing is kept."""


def _check_signature(bundle: Bundle, graph: Graph, engine: Any) -> None:
    """Refuse a plan whose inputs and outputs are not the manifest's: its buffers are bound by raw address."""
    stated = {tensor.name: tuple(tensor.shape) for tensor in (*graph.inputs, *graph.outputs)}
    names = [engine.get_tensor_name(number) for number in range(engine.num_io_tensors)]
    # TensorRT writes -1 where a side is open, the manifest 0.
    found = {name: tuple(max(0, side) for side in engine.get_tensor_shape(name)) for name in names}
    if stated != found:
        odd = sorted(str(item) for item in set(stated.items()) ^ set(found.items()))[0]
        raise BackendError(
            f"{bundle.path}: the plan of {graph.file} has other inputs and outputs than the manifest ({odd}): "
            "delete the bundle's folder plans"
        )
