"""PyTorch on the CPU: slower than ONNX Runtime, but FP16 is FP16.

Every result is rounded, where ONNX Runtime keeps FP32 between layers: that makes it the judge of FP16 bundles where
there is no GPU. device/torch.py runs on one.
"""

from collections.abc import Mapping
from typing import Any

from ...errors import BackendError
from ..bundle import Bundle
from ..manifest import Graph
from ..runtime_errors import translated
from .host import Array, HostBackend


class TorchBackend(HostBackend):
    """Runs a bundle in PyTorch. `threads` is PyTorch's number, for the whole process.

    Raises BackendError where PyTorch or onnx is missing.
    """

    name = "torch"

    def __init__(self, bundle: Bundle, threads: int | None = None):
        self._torch = import_torch()
        if threads is not None:
            self._torch.set_num_threads(threads)
        from ..onnx_to_torch.graph import torch_graph

        super().__init__(bundle.manifest)
        self._modules = {}
        for graph in bundle.manifest.graphs:
            external = {name: bundle.read(name) for name in graph.external}
            with translated("PyTorch", f"loading {graph.file}", RuntimeError):
                self._modules[graph.file] = torch_graph(bundle.read(graph.file), "cpu", external)
        self._allocate()

    def _bound(self, graph: Graph) -> "_BoundModule":
        return _BoundModule(self._torch, self._modules[graph.file], graph)


class _BoundModule:
    def __init__(self, torch: Any, module: Any, graph: Graph):
        self._torch, self._module, self._graph = torch, module, graph
        self._tensors: dict[str, Any] = {}

    def bind(self, arrays: Mapping[str, Array]) -> None:
        self._tensors.update((name, self._torch.from_numpy(array)) for name, array in arrays.items())

    def run(self) -> None:
        with translated("PyTorch", f"running {self._graph.file}", RuntimeError), self._torch.inference_mode():
            results = self._module(*(self._tensors[tensor.name] for tensor in self._graph.inputs))
            for tensor, result in zip(self._graph.outputs, results, strict=True):
                self._tensors[tensor.name].copy_(result)


def import_torch() -> Any:
    """Return PyTorch's module. Raises BackendError with what to install."""
    try:
        import onnx  # noqa: F401
        import torch
    except ImportError as error:
        raise BackendError(
            f"the backend torch needs PyTorch and onnx ({error.name} is missing): pip install 'trk-engine[export]'"
        ) from None
    return torch
