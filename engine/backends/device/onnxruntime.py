"""ONNX Runtime on a GPU: everything bound on the device, in the engine's stream, replayed from its own CUDA graphs.

ONNX Runtime captures a graph itself, one for each set of addresses: a search is a launch before it, its replay, and a
launch behind it. It keeps its graphs by thread: each thread that searches has to be warmed up, too.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from itertools import count
from threading import local
from typing import Any

import numpy as np

from ....errors import BundleError
from ...bundle import Bundle
from ...cuda.calls import Cuda, CudaGraph
from ...manifest import Graph, Tensor
from ...runtime_errors import translated
from ..base import Floats, Kernels
from ..ort_session import CUDA, import_runtime, open_session, require_cuda
from .backend import DeviceBackend
from .graph_runner import GraphRunner, no_collection

log = logging.getLogger(__name__)
NUMBERS = count(1)
"""Numbers of captured graphs: one for each set of addresses, whatever its session."""


class OnnxRuntimeCuda(DeviceBackend):
    """Runs a bundle in ONNX Runtime's CUDA provider.

    Raises BackendError where the runtime, cuda-python, a GPU or its driver is missing: the CPU never stands in.
    """

    name = "onnxruntime"

    def __init__(self, bundle: Bundle, threads: int | None = None, cuda: Cuda | None = None):
        self._ort = import_runtime()
        require_cuda(self._ort)
        super().__init__(bundle.manifest, cuda or Cuda())
        self._sessions = {graph.file: self._session(bundle, graph, threads) for graph in bundle.manifest.graphs}
        self._allocate()

    def lane(self) -> OnnxRuntimeCuda:
        """The same sessions with separate buffers. They share one stream: lanes wait for each other."""
        lane = copy.copy(self)
        lane._allocate()
        return lane

    def template(self, size: Floats, params: Floats) -> Kernels:
        """Return the kernels of what is in `template_crop`. In a new thread the search graphs are warmed up first.

        That takes as long as many frames: rather where a target is new than in the first search for it.
        """
        with self._lock:
            for session in self._bound:
                session.warm()
            return super().template(size, params)

    def _allocate(self) -> None:
        self._bound: list[_BoundSession] = []
        super()._allocate()

    def _runner(self, graph: Graph) -> GraphRunner:
        with self._lock:  # it captures the stream, which another lane may be searching in
            return super()._runner(graph)

    def _session(self, bundle: Bundle, graph: Graph, threads: int | None) -> tuple[Any, bool]:
        """Return a session and whether it captures graphs. The template's runs too seldom for that.

        ONNX Runtime captures no graph of which a part runs on the CPU; for the template, that is checked separately. A
        graph that runs otherwise is reported.
        """
        settings = {"device_id": str(self._cuda.index), "user_compute_stream": str(int(self._cuda.stream))}
        if self._manifest.precision == "fp32":
            settings["use_tf32"] = "0"  # it has ten bits, and the bundle is FP32
        captures = graph is not self._manifest.template
        wanted, else_ = (
            ({**settings, "enable_cuda_graph": "1"}, "without a CUDA graph, kernel by kernel")
            if captures
            else (settings, "with a part of it on the CPU")
        )
        try:
            return open_session(self._ort, bundle, graph, CUDA, wanted, threads, strict=not captures), captures
        except BundleError as error:
            session = open_session(self._ort, bundle, graph, CUDA, settings, threads)
            log.warning("%s; it runs %s", error, else_)
            return session, False

    def _loaded(self, graph: Graph) -> _BoundSession:
        session, captures = self._sessions[graph.file]
        bound = _BoundSession(self._ort, session, graph, self._cuda.index, captures)
        self._bound.append(bound)
        return bound


class _Thread(local):
    """What a session knows of the thread that asks. Not by its number, which another may get when it has ended."""

    def __init__(self, cold: bool):  # called again in each thread
        self.cold = cold
        """Whether its next run captures a graph."""


class _BoundSession:
    """A session, bound to addresses on the device.

    The first run in a thread is the whole warm-up: in one call, ONNX Runtime runs plainly until all is allocated,
    captures a graph for this thread alone, and replays it (its `InferenceSession::Run`, and `PerThreadContext`).
    """

    warm_up = 3
    """Where nothing is captured, the first two runs allocate."""
    capturable = False

    def __init__(self, ort: Any, session: Any, graph: Graph, index: int, captures: bool):
        self._session, self._graph, self._index = session, graph, index
        self._thread = _Thread(captures)
        self._inputs = {tensor.name for tensor in graph.inputs}
        self._binding, self._options = session.io_binding(), ort.RunOptions()
        self._options.add_run_config_entry("disable_synchronize_execution_providers", "1")
        if captures:
            self._options.add_run_config_entry("gpu_graph_id", str(next(NUMBERS)))

    def bind(self, tensor: Tensor, address: int) -> None:
        """Read or write `tensor` at `address`."""
        put = self._binding.bind_input if tensor.name in self._inputs else self._binding.bind_output
        put(tensor.name, "cuda", self._index, np.dtype(tensor.dtype).type, tensor.shape, address)

    def run(self) -> None:
        """Put one run into the stream, without waiting for it."""
        if self._thread.cold:
            self.warm()
        else:
            self._put()

    def warm(self) -> None:
        """Put a run into the stream if it is one that captures a graph, so that the next in this thread is a replay."""
        if self._thread.cold:
            with no_collection():  # ONNX Runtime's captures break by memory that is freed in any thread
                self._put()
            self._thread.cold = False

    def capture(self, steps: Callable[[], None]) -> CudaGraph:
        """Nothing that is called: see `capturable`."""
        raise NotImplementedError

    def _put(self) -> None:
        with translated("ONNX Runtime", f"running {self._graph.file}"):
            self._session.run_with_iobinding(self._binding, self._options)
