"""ONNX Runtime on a GPU: everything bound on the device, in the engine's stream, replayed from its own CUDA graphs.

ONNX Runtime captures a graph itself, one for each set of addresses: a search is a launch before it, its replay, and a
launch behind it.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from itertools import count
from typing import Any

import numpy as np

from ....errors import BundleError
from ...bundle import Bundle
from ...manifest import Graph, Tensor
from ...runtime_errors import translated
from ..ort_session import CUDA, import_runtime, open_session, require_cuda
from .backend import DeviceBackend
from .cuda import Cuda, CudaGraph

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
        return _BoundSession(self._ort, session, graph, self._cuda.index, captures)


class _BoundSession:
    """A session, bound to addresses on the device."""

    warm_up = 3
    """One run allocates, one is captured, one is replayed."""
    capturable = False

    def __init__(self, ort: Any, session: Any, graph: Graph, index: int, captures: bool):
        self._session, self._graph, self._index = session, graph, index
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
        with translated("ONNX Runtime", f"running {self._graph.file}"):
            self._session.run_with_iobinding(self._binding, self._options)

    def capture(self, steps: Callable[[], None]) -> CudaGraph:
        """Nothing that is called: see `capturable`."""
        raise NotImplementedError
