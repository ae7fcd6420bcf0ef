"""PyTorch: a bundle's graphs operator by operator; on CUDA, each captured as one CUDA graph.

On a CPU it is slower than ONNX Runtime, but FP16 is FP16: every result is rounded, where ONNX Runtime keeps FP32
between layers. That makes it the judge of FP16 bundles where there is no GPU. Its CUDA part was not executed on a GPU
yet.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import BackendError
from ..bundle import Bundle
from ..manifest import Graph
from .base import SearchOutput
from .events import DeviceTimes, HostMarks, Marks, TorchMarks
from .plans import graphs_of


class TorchBackend:
    """Runs a bundle in PyTorch on `device`, "cpu" or "cuda". `threads` is PyTorch's number, for the whole process.

    Raises BackendError where PyTorch, onnx or the GPU is missing: the CPU never stands in.
    """

    name = "torch"

    def __init__(self, bundle: Bundle, device: str = "cpu", threads: int | None = None):
        self._torch = _import()
        self.device = device
        if device == "cuda" and not self._torch.cuda.is_available():
            raise BackendError(
                "device 'cuda' was asked for and this PyTorch sees no GPU: install a driver and a CUDA build of "
                "PyTorch, or choose --device cpu"
            )
        if threads is not None:
            self._torch.set_num_threads(threads)
        from .torch_graph import TorchGraph

        manifest = bundle.manifest
        self._manifest = manifest
        self._graphs = {
            graph.file: TorchGraph(
                bundle.read(graph.file), device, {name: bundle.read(name) for name in graph.external}
            )
            for graph in graphs_of(manifest)
        }
        self._allocate()

    def lane(self) -> TorchBackend:
        """The same weights with buffers of its own."""
        lane = copy.copy(self)
        lane._allocate()
        return lane

    def _allocate(self) -> None:
        run = _Captured if self.device == "cuda" else _Eager
        manifest = self._manifest
        self._template = run(self._torch, self._graphs[manifest.template.file], manifest.template)
        self._searches = [run(self._torch, self._graphs[graph.file], graph) for graph in manifest.searches]
        self._batches = {
            (number, batch.targets): run(self._torch, self._graphs[batch.file], batch)
            for number, search in enumerate(manifest.searches)
            for batch in search.batches
        }
        self._together: dict[int, tuple[list[Any], dict[str, Any]]] = {}
        self.template_crop = self._template.host["crop"]
        self.search_crops = [runner.host["crop"] for runner in self._searches]

    def template(self, size: NDArray[np.float32], params: NDArray[np.float32]) -> dict[str, Any]:
        """Return the kernels, tensors by name on the device."""
        out = self._template({"size": size, "params": params}, {})
        return {name: value.clone() for name, value in out.items()}

    def search(self, graph: int, kernels: Any, size: NDArray[np.float32], params: NDArray[np.float32]) -> SearchOutput:
        """Run one search graph."""
        return _output(self._searches[graph]({"size": size, "params": params}, kernels))

    def stages(self, graph: int, kernels: Any, size: NDArray[np.float32], params: NDArray[np.float32]) -> DeviceTimes:
        """Run one search graph in three parts and time each: see `events.Staged`."""
        marks = HostMarks() if self.device == "cpu" else TorchMarks(self._torch)
        _output(self._searches[graph]({"size": size, "params": params}, kernels, marks))
        marks.mark()
        return DeviceTimes(*marks.seconds())

    def batches(self, graph: int) -> list[int]:
        """Return for how many targets at once there is a graph, most first."""
        return sorted((targets for number, targets in self._batches if number == graph), reverse=True)

    def batch_crops(self, graph: int, targets: int) -> NDArray[np.uint8]:
        """Return the crop buffer of the graph for `targets`."""
        return self._batches[graph, targets].host["crop"]

    def search_batch(
        self, graph: int, kernels: Sequence[Any], size: NDArray[np.float32], params: NDArray[np.float32]
    ) -> SearchOutput:
        """Run the graph for `len(kernels)` targets; kernels are put together again only when one of them is another."""
        targets = len(kernels)
        held, together = self._together.get(targets, ([], {}))
        if len(held) != targets or any(a is not b for a, b in zip(held, kernels, strict=True)):
            together = {name: self._torch.cat([one[name] for one in kernels]) for name in kernels[0]}
            self._together[targets] = list(kernels), together
        return _output(self._batches[graph, targets]({"size": size, "params": params}, together))

    def mix(self, one: Any, other: Any, share: float) -> dict[str, Any]:
        """Return (1 - share) one + share other."""
        return {name: (a + share * (other[name].float() - a)).to(a.dtype) for name, a in one.items()}


class _Eager:
    """Runs a graph on the host's buffers as they are."""

    def __init__(self, torch: Any, run: Callable[[dict[str, Any]], dict[str, Any]], graph: Graph):
        self._torch, self._run = torch, run
        self.host = {tensor.name: np.zeros(tensor.shape, tensor.dtype) for tensor in _host_inputs(graph)}
        self._inputs = {name: torch.from_numpy(array) for name, array in self.host.items()}

    def __call__(
        self, values: dict[str, NDArray[Any]], kernels: dict[str, Any], marks: Marks | None = None
    ) -> dict[str, Any]:
        """Return the outputs for `values`, the crop in its buffer, and `kernels`; `marks` get one a part."""
        mark = marks.mark if marks else _nothing
        mark()
        for name, value in values.items():
            if name in self.host:
                self.host[name][:] = value
        mark()
        with self._torch.inference_mode():
            out = self._run({**self._inputs, **kernels})
        mark()
        return out


class _Captured:
    """Runs a graph as one CUDA graph over fixed tensors; the host's buffers are pinned."""

    def __init__(self, torch: Any, run: Callable[[dict[str, Any]], dict[str, Any]], graph: Graph):
        self._torch = torch
        pinned = {
            tensor.name: torch.zeros(tensor.shape, dtype=getattr(torch, tensor.dtype)).pin_memory()
            for tensor in _host_inputs(graph)
        }
        self._pinned, self.host = pinned, {name: tensor.numpy() for name, tensor in pinned.items()}
        self._device = {
            tensor.name: torch.zeros(tensor.shape, dtype=getattr(torch, tensor.dtype), device="cuda")
            for tensor in graph.inputs
        }
        self._held: Any = None
        with torch.inference_mode():
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(3):  # what is only done the first time can't be captured
                    run(self._device)
            torch.cuda.current_stream().wait_stream(stream)
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph):
                self._out = run(self._device)

    def __call__(
        self, values: dict[str, NDArray[Any]], kernels: dict[str, Any], marks: Marks | None = None
    ) -> dict[str, Any]:
        """Return the outputs for `values`, the crop in its buffer, and `kernels`; they are overwritten by the next.

        `marks` get one before the upload, one after it, and one after the network.
        """
        mark = marks.mark if marks else _nothing
        for name, value in values.items():
            if name in self.host:
                self.host[name][:] = value
        with self._torch.inference_mode():
            mark()
            for name, tensor in self._pinned.items():
                self._device[name].copy_(tensor, non_blocking=True)
            if self._held is not kernels:
                for name, tensor in kernels.items():
                    self._device[name].copy_(tensor)
                self._held = kernels
            mark()
            self._graph.replay()
            mark()
        return self._out


def _nothing() -> None:
    """In the place of a mark where nobody times."""


def _output(out: dict[str, Any]) -> SearchOutput:
    box, score, best = (out[name].cpu().numpy() for name in SearchOutput._fields)
    return SearchOutput(box, score, best)


def _host_inputs(graph: Graph) -> list[Any]:
    return [tensor for tensor in graph.inputs if not tensor.name.startswith("kernel_")]


def _import() -> Any:
    try:
        import onnx  # noqa: F401
        import torch
    except ImportError as error:
        raise BackendError(
            f"the backend torch needs PyTorch and onnx ({error.name} is missing): pip install 'trk-engine[export]'"
        ) from None
    return torch
