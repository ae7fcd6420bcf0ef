"""ONNX Runtime on a GPU: everything bound on the device, in a stream of ours, replayed from its own CUDA graphs.

ONNX Runtime captures a graph itself, one for each set of addresses, and does not let others capture it: a frame is one
copy up, one replay, one copy down, and one wait.

Built and tested on a CPU, where CPU sessions and a stand-in for CUDA take the GPU's place. Not executed on a GPU yet.
"""

from __future__ import annotations

import copy
import logging
from itertools import count
from threading import RLock
from typing import Any

import numpy as np

from ...errors import BundleError
from ..bundle import Bundle
from ..manifest import Graph, Tensor
from .cuda import Cuda
from .on_device import OnDevice
from .ort_session import CUDA, import_runtime, open_session, require_cuda, told
from .plans import graphs_of

log = logging.getLogger(__name__)
NUMBERS = count(1)
"""Of captured graphs: each set of addresses has one of its own, in whichever session."""


class OnnxRuntimeCuda(OnDevice):
    """Runs a bundle in ONNX Runtime's CUDA provider.

    `frames`: with the graphs that take whole frames. Raises BackendError where the runtime, cuda-python, a GPU or its
    driver is missing: the CPU never stands in.
    """

    name = "onnxruntime"

    def __init__(self, bundle: Bundle, threads: int | None = None, *, frames: bool = False, cuda: Cuda | None = None):
        self._ort = import_runtime()
        require_cuda(self._ort)
        self._cuda = cuda or Cuda()
        self._lock = RLock()
        self.frames = frames
        self._manifest = bundle.manifest
        self._sessions = {
            graph.file: self._session(bundle, graph, threads) for graph in graphs_of(bundle.manifest, frames)
        }
        self._allocate()

    def lane(self) -> OnnxRuntimeCuda:
        """The same sessions, which have one stream, with buffers of its own: lanes take turns."""
        lane = copy.copy(self)
        lane._allocate()
        return lane

    def _session(self, bundle: Bundle, graph: Graph, threads: int | None) -> tuple[Any, bool]:
        """Return a session and whether it captures graphs. The template's runs too seldom for that.

        ONNX Runtime captures nothing of which a part runs on the CPU; of the template that is asked apart. A graph that
        runs otherwise says so.
        """
        settings = {"device_id": str(self._cuda.index), "user_compute_stream": str(int(self._cuda.stream))}
        if self._manifest.precision == "fp32":
            settings["use_tf32"] = "0"  # ten bits, and FP32 was asked for
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

    def _work(self, graph: Graph) -> _Bound:
        session, captures = self._sessions[graph.file]
        return _Bound(self._ort, session, graph, self._cuda.index, captures)


class _Bound:
    """One graph, bound to addresses on the device, a set of them for each key."""

    warm_up = 3
    """One run allocates, one is captured, one is replayed."""
    capturable = False

    def __init__(self, ort: Any, session: Any, graph: Graph, index: int, captures: bool):
        self._ort, self._session, self._graph = ort, session, graph
        self._index, self._captures = index, captures
        self._inputs = {tensor.name for tensor in graph.inputs}
        self._runs: dict[int, tuple[Any, Any, int]] = {}

    def bind(self, tensor: Tensor, shape: tuple[int, ...], address: int, key: int) -> None:
        """Take `address` for `tensor` in the runs of `key`."""
        binding, _, _ = self._run_of(key)
        put = binding.bind_input if tensor.name in self._inputs else binding.bind_output
        put(tensor.name, "cuda", self._index, np.dtype(tensor.dtype).type, shape, address)

    def run(self, key: int) -> None:
        """Put one run into the stream, without waiting for it."""
        binding, options, _ = self._runs[key]
        with told(self._graph.file):
            self._session.run_with_iobinding(binding, options)

    def forget(self) -> None:
        """Give back captured graphs."""
        release = getattr(self._session, "release_captured_graph", None)
        for _, _, number in self._runs.values():
            if release is not None and self._captures:
                with told(self._graph.file):
                    release(number)
        self._runs.clear()

    def _run_of(self, key: int) -> tuple[Any, Any, int]:
        if key not in self._runs:
            options, number = self._ort.RunOptions(), next(NUMBERS)
            options.add_run_config_entry("disable_synchronize_execution_providers", "1")
            if self._captures:
                options.add_run_config_entry("gpu_graph_id", str(number))
            self._runs[key] = self._session.io_binding(), options, number
        return self._runs[key]
