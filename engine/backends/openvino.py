"""OpenVINO on the processor: its own convolutions and INT8 kernels; inputs and outputs stay where they are."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import BackendError, BundleError
from ..bundle import Bundle
from ..manifest import Graph, Tensor
from .base import SearchOutput

_PROPERTIES = {
    "PERFORMANCE_HINT": "LATENCY",
    "NUM_STREAMS": "1",
    # A processor with bfloat16 would be given that unasked: a bundle is run in the precision it was verified in.
    "INFERENCE_PRECISION_HINT": "f32",
    "ENABLE_CPU_PINNING": "NO",
}


class OpenVinoBackend:
    """Runs a bundle in OpenVINO on the processor.

    `threads` is the number of threads of one run; None leaves it to the runtime. Raises BackendError where OpenVINO is
    not installed, BundleError for a graph that it can't load.
    """

    name = "openvino"
    device = "cpu"

    def __init__(self, bundle: Bundle, threads: int | None = None):
        self._openvino = _import()
        manifest = bundle.manifest
        self._manifest = manifest
        core = self._openvino.Core()
        properties = {**_PROPERTIES, **({} if threads is None else {"INFERENCE_NUM_THREADS": str(threads)})}
        graphs = (manifest.template, *manifest.searches)
        self._models = [_compiled(core, bundle, graph, properties) for graph in graphs]
        self._allocate()

    def lane(self) -> "OpenVinoBackend":
        """The same compiled models, which any number of threads may run at once, with requests of its own."""
        lane = object.__new__(OpenVinoBackend)
        lane._openvino, lane._manifest, lane._models = self._openvino, self._manifest, self._models
        lane._allocate()
        return lane

    def _allocate(self) -> None:
        manifest, batch = self._manifest, self._manifest.batch
        self.template_crop = _buffer(manifest.template)
        self.search_crops = [_buffer(graph) for graph in manifest.searches]
        self._template_size = np.zeros((batch, 2), np.float32)
        self._size = np.zeros((batch, 2), np.float32)
        self._params = np.zeros(len(manifest.params), np.float32)
        self._box = np.zeros((batch, 4), np.float32)
        self._score = np.zeros(batch, np.float32)
        self._best = np.zeros(batch, np.int32)
        self._output = SearchOutput(self._box, self._score, self._best)
        self._template = self._models[0].create_infer_request()
        self._bind(self._template, manifest.template, {"crop": self.template_crop, "size": self._template_size})
        self._requests = []
        for model, graph, crop in zip(self._models[1:], manifest.searches, self.search_crops, strict=True):
            request = model.create_infer_request()
            self._bind(request, graph, {"crop": crop, "size": self._size, "params": self._params})
            for name, array in (("box", self._box), ("score", self._score), ("best", self._best)):
                request.set_tensor(name, self._openvino.Tensor(array, shared_memory=True))
            self._requests.append(request)
        self._bound: list[Any] = [None] * len(self._requests)

    def template(self, size: NDArray[np.float32], params: NDArray[np.float32]) -> dict[str, Any]:
        """Return the kernels by name, each a tensor of the runtime."""
        del params  # no template graph takes them
        self._template_size[:] = size
        with _told("the template graph"):
            self._template.infer()
        # The request's own outputs are written again by the next template.
        return {
            tensor.name: self._openvino.Tensor(np.array(self._template.get_tensor(tensor.name).data))
            for tensor in self._manifest.template.outputs
        }

    def search(self, graph: int, kernels: Any, size: NDArray[np.float32], params: NDArray[np.float32]) -> SearchOutput:
        """Run one search graph; the kernels are bound again only when they are others than last time."""
        request = self._requests[graph]
        self._size[:] = size
        self._params[:] = params
        with _told("the search graph"):
            if self._bound[graph] is not kernels:
                for name, tensor in kernels.items():
                    request.set_tensor(name, tensor)
                self._bound[graph] = kernels
            request.infer()
        return self._output

    def mix(self, one: Any, other: Any, share: float) -> dict[str, Any]:
        """Return (1 - share) one + share other."""
        mixed = {}
        for name, tensor in one.items():
            a, b = tensor.data, other[name].data
            mixed[name] = self._openvino.Tensor((a + share * (b.astype(np.float32) - a)).astype(a.dtype))
        return mixed

    def _bind(self, request: Any, graph: Graph, arrays: dict[str, NDArray[Any]]) -> None:
        for tensor in graph.inputs:
            if tensor.name in arrays:
                request.set_tensor(tensor.name, self._openvino.Tensor(arrays[tensor.name], shared_memory=True))


def _import() -> Any:
    try:
        import openvino
    except ImportError:
        raise BackendError("OpenVINO is not installed: pip install 'trk-engine[openvino]'") from None
    return openvino


def _compiled(core: Any, bundle: Bundle, graph: Graph, properties: dict[str, str]) -> Any:
    """Return `graph` compiled. What it reads beside it comes from the manifest, hashes checked."""
    model = bundle.read(graph.file)
    try:
        if not graph.external:
            read = core.read_model(model, b"")
            compiled = core.compile_model(read, "CPU", properties)
        else:
            # External weights are read from a file beside the graph, and nowhere else, until the model stands.
            with tempfile.TemporaryDirectory(prefix="trk-openvino-") as folder:
                for name, data in {graph.file: model, **{name: bundle.read(name) for name in graph.external}}.items():
                    (Path(folder) / name).write_bytes(data)
                compiled = core.compile_model(core.read_model(Path(folder) / graph.file), "CPU", properties)
    except BundleError:
        raise
    except Exception as error:  # OpenVINO raises RuntimeError and types of its own
        raise BundleError(f"{bundle.path}: OpenVINO can't load {graph.file}: {_reason(error)}") from None
    _check_signature(bundle, graph, compiled)
    return compiled


def _check_signature(bundle: Bundle, graph: Graph, compiled: Any) -> None:
    """Refuse a graph whose inputs and outputs are not the manifest's: buffers are bound to them as they are."""
    for kind, stated, found in (("input", graph.inputs, compiled.inputs), ("output", graph.outputs, compiled.outputs)):
        ours = {_kind(tensor) for tensor in stated}
        theirs = {
            (port.any_name, tuple(port.get_shape()), np.dtype(port.get_element_type().to_dtype()).name)
            for port in found
        }
        if ours != theirs:
            odd = sorted(str(item) for item in ours ^ theirs)[0]
            raise BundleError(f"{bundle.path}: the {kind}s of {graph.file} are not those of the manifest ({odd})")


def _kind(tensor: Tensor) -> tuple[str, tuple[int, ...], str]:
    return tensor.name, tuple(tensor.shape), tensor.dtype


def _buffer(graph: Graph) -> NDArray[np.uint8]:
    shape = next(tensor.shape for tensor in graph.inputs if tensor.name == "crop")
    return np.zeros(shape, np.uint8)


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Turn an error of the runtime (memory, for one) into one of ours."""
    try:
        yield
    except Exception as error:
        raise BackendError(f"OpenVINO failed while running {what}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    # The last line holds the cause; those above it name OpenVINO's own source files.
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
