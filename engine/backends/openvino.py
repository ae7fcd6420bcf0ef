"""OpenVINO on the processor: its own convolutions and INT8 kernels; inputs and outputs stay where they are."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import BackendError, BundleError
from ..bundle import Bundle
from ..manifest import Graph
from ..runtime_errors import last_line, translated
from .base import Signature, check_signature
from .host import Array, HostBackend

_PROPERTIES = {
    "PERFORMANCE_HINT": "LATENCY",
    "NUM_STREAMS": "1",
    # A processor with bfloat16 would be given that unasked: a bundle is run in the precision it was verified in.
    "INFERENCE_PRECISION_HINT": "f32",
    "ENABLE_CPU_PINNING": "NO",
}


class OpenVinoBackend(HostBackend):
    """Runs a bundle in OpenVINO on the processor.

    `threads` is the number of threads of one run; None leaves it to the runtime. Raises BackendError where OpenVINO is
    not installed, BundleError for a graph that it can't load.
    """

    name = "openvino"

    def __init__(self, bundle: Bundle, threads: int | None = None):
        self._openvino = _import()
        super().__init__(bundle.manifest)
        core = self._openvino.Core()
        properties = {**_PROPERTIES, **({} if threads is None else {"INFERENCE_NUM_THREADS": str(threads)})}
        self._models = {graph.file: _compiled(core, bundle, graph, properties) for graph in bundle.manifest.graphs}
        self._allocate()

    def _bound(self, graph: Graph) -> "_BoundRequest":
        return _BoundRequest(self._openvino, self._models[graph.file], graph)


class _BoundRequest:
    def __init__(self, openvino: Any, model: Any, graph: Graph):
        self._openvino, self._file = openvino, graph.file
        self._request = model.create_infer_request()

    def bind(self, arrays: Mapping[str, Array]) -> None:
        for name, array in arrays.items():
            self._request.set_tensor(name, self._openvino.Tensor(array, shared_memory=True))

    def run(self) -> None:
        with translated("OpenVINO", f"running {self._file}", line=last_line):
            self._request.infer()


def _import() -> Any:
    try:
        import openvino
    except ImportError:
        raise BackendError("OpenVINO is not installed: pip install 'trk-engine[openvino]'") from None
    return openvino


def _compiled(core: Any, bundle: Bundle, graph: Graph, properties: dict[str, str]) -> Any:
    """Return `graph` compiled. Its external weights come from the bundle, hashes checked."""
    model = bundle.read(graph.file)
    try:
        if not graph.external:
            read = core.read_model(model, b"")
            compiled = core.compile_model(read, "CPU", properties)
        else:
            # OpenVINO reads external weights only from a file next to the graph, while it loads.
            with tempfile.TemporaryDirectory(prefix="trk-openvino-") as folder:
                for name, data in {graph.file: model, **{name: bundle.read(name) for name in graph.external}}.items():
                    (Path(folder) / name).write_bytes(data)
                compiled = core.compile_model(core.read_model(Path(folder) / graph.file), "CPU", properties)
    except BundleError:
        raise
    except Exception as error:  # OpenVINO raises RuntimeError and its own types
        raise BundleError(f"{bundle.path}: OpenVINO can't load {graph.file}: {last_line(error)}") from None
    check_signature(bundle, graph, _signature(compiled.inputs), _signature(compiled.outputs))
    return compiled


def _signature(ports: Any) -> Signature:
    for port in ports:
        yield port.any_name, tuple(port.get_shape()), np.dtype(port.get_element_type().to_dtype()).name
