"""ONNX Runtime on the CPU: inputs and outputs bound once to memory that both share."""

from collections.abc import Mapping
from typing import Any

from ..bundle import Bundle
from ..manifest import Graph
from ..runtime_errors import translated
from .host import Array, HostBackend
from .ort_session import CPU, import_runtime, open_session


class OnnxRuntimeBackend(HostBackend):
    """Runs a bundle in ONNX Runtime on the CPU; device/onnxruntime.py does on a GPU.

    `threads` is the number of threads of one run; None leaves it to the runtime. Raises BackendError where the runtime
    is not usable.
    """

    name = "onnxruntime"

    def __init__(self, bundle: Bundle, threads: int | None = None):
        ort = import_runtime()
        super().__init__(bundle.manifest)
        self._sessions = {
            graph.file: open_session(ort, bundle, graph, CPU, threads=threads) for graph in bundle.manifest.graphs
        }
        self._allocate()

    def _bound(self, graph: Graph) -> "_BoundSession":
        return _BoundSession(self._sessions[graph.file], graph)


class _BoundSession:
    def __init__(self, session: Any, graph: Graph):
        self._session, self._file = session, graph.file
        self._binding = session.io_binding()
        self._inputs = {tensor.name for tensor in graph.inputs}
        self._arrays: dict[str, Array] = {}

    def bind(self, arrays: Mapping[str, Array]) -> None:
        for name, array in arrays.items():
            if name in self._inputs:
                self._binding.bind_cpu_input(name, array)
            else:
                self._binding.bind_output(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        self._arrays.update(arrays)

    def run(self) -> None:
        with translated("ONNX Runtime", f"running {self._file}"):
            self._session.run_with_iobinding(self._binding)
