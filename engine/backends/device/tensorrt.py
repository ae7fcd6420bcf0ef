"""TensorRT: plans on one stream, kernels in device memory, each search one captured CUDA graph."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from ....errors import BackendError
from ...bundle import Bundle
from ...cuda.calls import Cuda, CudaGraph
from ...manifest import Graph, Tensor
from ...plans.bundle_plans import gpu_of, plans, targets_for
from ...plans.cache import Say
from ...plans.library import Library, load
from .backend import DeviceBackend

log = logging.getLogger(__name__)


class TensorRTBackend(DeviceBackend):
    """Runs a bundle in TensorRT or TensorRT-RTX.

    Plans come from the bundle's cache, or are built first, which takes full TensorRT minutes; `say` gets the reason.
    Raises BackendError where a library, a GPU or its driver is missing: the CPU never stands in.
    """

    name = "tensorrt"

    def __init__(
        self,
        bundle: Bundle,
        library: Library | None = None,
        cuda: Cuda | None = None,
        say: Say = lambda _: None,
    ):
        self._library = library or load()
        super().__init__(bundle.manifest, cuda or Cuda())
        portable = self._library.flavour == "rtx"
        capability = self._cuda.capability if portable else ""
        targets = targets_for(capability) if portable else ()
        gpu = gpu_of(()) if portable and not targets else str(self._cuda)
        built = plans(bundle, self._library, gpu, targets, device=capability, say=say)
        self._library.forget()
        runtime = self._library.make("Runtime", "start its runtime (is there a GPU, and its driver?)")
        self._engines = {}
        for graph in self._manifest.graphs:
            # TensorRT-RTX builds plans for cards that it then refuses to run on, such as an H100.
            advice = ": take --backend onnxruntime, or full TensorRT ('trk-engine[tensorrt]')" if targets else ""
            plan, what = built[graph.file], f"load the plan of {graph.file}"
            engine = self._library.need(runtime.deserialize_cuda_engine(plan), what, advice)
            _check_signature(bundle, graph, engine)
            self._engines[graph.file] = engine
        self._allocate()

    def _loaded(self, graph: Graph) -> _Plan:
        return _Plan(self._library, self._engines[graph.file], graph, self._cuda)


class _Plan:
    """One plan and its execution context."""

    warm_up = 1

    def __init__(self, library: Library, engine: Any, graph: Graph, cuda: Cuda):
        self._library, self._file, self._cuda, self._stream = library, graph.file, cuda, int(cuda.stream)
        self._context = library.need(engine.create_execution_context(), f"make a context of {graph.file}")
        # RTX knows which of its plans can't be captured; TensorRT's can, all of them.
        ask = getattr(self._context, "is_stream_capturable", None)
        self._ask: Callable[[int], bool] = ask or (lambda stream: True)

    @property
    def capturable(self) -> bool:
        """Whether the plan, as it is bound, may be captured. A line says where not."""
        able = bool(self._ask(self._stream))
        if not able:
            log.warning("%s can't be captured as a CUDA graph and runs kernel by kernel: its plan says so", self._file)
        return able

    def bind(self, tensor: Tensor, address: int) -> None:
        """Read or write `tensor` at `address`."""
        self._library.need(self._context.set_tensor_address(tensor.name, address), f"bind {tensor.name}")

    def run(self) -> None:
        """Put one run into the stream."""
        self._library.need(self._context.execute_async_v3(self._stream), f"run {self._file}")

    def capture(self, steps: Callable[[], None]) -> CudaGraph:
        """Return what `steps` put into the stream."""
        return self._cuda.capture(steps)


def _check_signature(bundle: Bundle, graph: Graph, engine: Any) -> None:
    """Refuse a plan whose inputs and outputs are not the manifest's: its buffers are bound by raw address."""
    stated = {tensor.name: tuple(tensor.shape) for tensor in (*graph.inputs, *graph.outputs)}
    names = [engine.get_tensor_name(number) for number in range(engine.num_io_tensors)]
    found = {name: tuple(engine.get_tensor_shape(name)) for name in names}
    if stated != found:
        odd = sorted(str(item) for item in set(stated.items()) ^ set(found.items()))[0]
        raise BackendError(
            f"{bundle.path}: the plan of {graph.file} has other inputs and outputs than the manifest ({odd}): "
            "delete the bundle's folder plans"
        )
