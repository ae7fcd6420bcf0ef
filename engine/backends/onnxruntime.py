"""ONNX Runtime on the CPU: inputs and outputs bound once to memory that both share, kernels kept as its own values."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..bundle import Bundle
from ..device_frame import Frame
from ..manifest import Batch, Graph
from ..regions import Regions
from .base import SearchOutput
from .ort_session import CPU, import_runtime, open_session, told
from .plans import frame_graphs


class OnnxRuntimeBackend:
    """Runs a bundle in ONNX Runtime on the CPU; ort_cuda.py does on a GPU.

    `threads` is the number of threads of one run; None leaves it to the runtime. Raises BackendError where the runtime
    is not usable.
    """

    name = "onnxruntime"
    device = "cpu"

    def __init__(self, bundle: Bundle, threads: int | None = None, *, frames: bool = False):
        self._ort = import_runtime()

        def session(graph: Graph) -> Any:
            return open_session(self._ort, bundle, graph, CPU, threads=threads)

        self.frames = frames
        manifest = bundle.manifest
        self._manifest = manifest
        self._template = session(manifest.template)
        self._searches = [session(graph) for graph in manifest.searches]
        self._batched = {
            (number, batch.targets): session(batch)
            for number, graph in enumerate(manifest.searches)
            for batch in graph.batches
        }
        self._framed = {key: (session(graph), graph) for key, graph in frame_graphs(manifest, frames).items()}
        self._template_inputs = {tensor.name for tensor in manifest.template.inputs}
        self._kernel_names = [tensor.name for tensor in manifest.template.outputs]
        self._allocate()

    def lane(self) -> "OnnxRuntimeBackend":
        """The same sessions, which any number of threads may run at once, with buffers of its own."""
        lane = copy.copy(self)
        lane._allocate()
        return lane

    def _allocate(self) -> None:
        manifest = self._manifest
        self.template_crop = _buffer(manifest.template, "crop")
        self.search_crops = [_buffer(graph, "crop") for graph in manifest.searches]
        self._params = np.zeros(len(manifest.params), np.float32)
        self._size, self._output = self._results(manifest.batch)
        self._bindings = [
            self._bind(session, graph, {"crop": crop, "size": self._size}, self._output)
            for session, graph, crop in zip(self._searches, manifest.searches, self.search_crops, strict=True)
        ]
        self._bound: list[Any] = [None] * len(self._searches)
        self._batches = {
            (number, batch.targets): self._batch(self._batched[number, batch.targets], batch)
            for number, graph in enumerate(manifest.searches)
            for batch in graph.batches
        }
        self._wholes = {key: self._whole(*one, targets=key[1]) for key, one in self._framed.items()}
        self._frame: Any = None

    def _results(self, targets: int) -> tuple[NDArray[np.float32], SearchOutput]:
        """Return buffers for the sizes and the results of so many targets."""
        box, score = np.zeros((targets, 4), np.float32), np.zeros(targets, np.float32)
        return np.zeros((targets, 2), np.float32), SearchOutput(box, score, np.zeros(targets, np.int32))

    def _batch(self, session: Any, graph: Batch) -> "_Together":
        crop = _buffer(graph, "crop")
        size, output = self._results(graph.targets)
        return _Together(session, self._bind(session, graph, {"crop": crop, "size": size}, output), crop, size, output)

    def _whole(self, session: Any, graph: Graph, targets: int) -> "_Together":
        region = np.zeros(next(tensor.shape for tensor in graph.inputs if tensor.name == "region"), np.float32)
        size, output = self._results(self._manifest.batch * targets)
        binding = self._bind(session, graph, {"region": region, "size": size}, output)
        return _Together(session, binding, region, size, output)

    def template(self, size: NDArray[np.float32], params: NDArray[np.float32]) -> list[Any]:
        """Return the kernels, one value of the runtime each, in the memory of the device."""
        feeds = {"crop": self.template_crop, "size": size, "params": params}
        binding = self._template.io_binding()
        for name in self._template_inputs:
            binding.bind_cpu_input(name, feeds[name])
        for name in self._kernel_names:
            binding.bind_output(name, self.device)
        with told("the template graph"):
            self._template.run_with_iobinding(binding)
        return list(binding.get_outputs())

    def search(self, graph: int, kernels: Any, size: NDArray[np.float32], params: NDArray[np.float32]) -> SearchOutput:
        """Run one search graph; the kernels are bound again only when they are others than last time."""
        binding = self._bindings[graph]
        if self._bound[graph] is not kernels:
            for name, value in zip(self._kernel_names, kernels, strict=True):
                binding.bind_ortvalue_input(name, value)
            self._bound[graph] = kernels
        self._size[:] = size
        self._params[:] = params
        with told("the search graph"):
            self._searches[graph].run_with_iobinding(binding)
        return self._output

    def mix(self, one: Any, other: Any, share: float) -> list[Any]:
        """Return (1 - share) one + share other, through host memory."""
        pairs = [(a.numpy(), b.numpy()) for a, b in zip(one, other, strict=True)]
        mixed = [(a + share * (b.astype(np.float32) - a)).astype(a.dtype) for a, b in pairs]
        return [self._ort.OrtValue.ortvalue_from_numpy(values) for values in mixed]

    def batches(self, graph: int) -> list[int]:
        """Return for how many targets at once there is a graph, most first."""
        return sorted((targets for number, targets in self._batches if number == graph), reverse=True)

    def batch_crops(self, graph: int, targets: int) -> NDArray[np.uint8]:
        """Return the crop buffer of the graph for `targets`."""
        return self._batches[graph, targets].crop

    def search_batch(
        self, graph: int, kernels: Sequence[Any], size: NDArray[np.float32], params: NDArray[np.float32]
    ) -> SearchOutput:
        """Run the graph for `len(kernels)` targets; kernels are put together again only when one of them is another."""
        return self._run(self._batches[graph, len(kernels)], kernels, size, params)

    @property
    def stream(self) -> None:
        """None: there is no device."""
        return None

    def take(self, frame: Frame) -> None:
        """Make `frame` the one that is searched; it is read where it lies, unless it is in pieces."""
        assert isinstance(frame, np.ndarray)
        self._frame = np.ascontiguousarray(frame).reshape(-1, 3)

    def announce(self, frame: Frame) -> None:
        """Nothing to do: a frame is where it is read."""

    def pixels(self, frame: Frame) -> NDArray[np.uint8]:
        """Return `frame`."""
        assert isinstance(frame, np.ndarray)
        return frame

    def search_frame(
        self,
        graph: int,
        kernels: Sequence[Any],
        region: Regions,
        size: NDArray[np.float32],
        params: NDArray[np.float32],
    ) -> SearchOutput:
        """Search the frame that was taken for `len(kernels)` targets."""
        whole = self._wholes[graph, len(kernels)]
        whole.crop[:] = region
        whole.binding.bind_cpu_input("frame", self._frame)
        return self._run(whole, kernels, size, params)

    def _run(
        self, run: "_Together", kernels: Sequence[Any], size: NDArray[np.float32], params: NDArray[np.float32]
    ) -> SearchOutput:
        if len(run.kernels) != len(kernels) or any(a is not b for a, b in zip(run.kernels, kernels, strict=True)):
            if len(kernels) == 1:
                run.together = list(kernels[0])
            else:
                parts = ([value.numpy() for value in values] for values in zip(*kernels, strict=True))
                run.together = [self._ort.OrtValue.ortvalue_from_numpy(np.concatenate(values)) for values in parts]
            # The runtime reads them where they lie, for as long as they are bound.
            for name, value in zip(self._kernel_names, run.together, strict=True):
                run.binding.bind_ortvalue_input(name, value)
            run.kernels = list(kernels)
        run.size[:] = size
        self._params[:] = params
        with told("the search graph"):
            run.session.run_with_iobinding(run.binding)
        return run.output

    def _bind(self, session: Any, graph: Graph, arrays: Mapping[str, NDArray[Any]], output: SearchOutput) -> Any:
        binding = session.io_binding()
        shared = {**arrays, "params": self._params}
        for tensor in graph.inputs:
            if tensor.name in shared:
                binding.bind_cpu_input(tensor.name, shared[tensor.name])
        for name, array in zip(output._fields, output, strict=True):
            binding.bind_output(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        return binding


@dataclass
class _Together:
    """What one run needs, for several targets or out of a whole frame."""

    session: Any
    binding: Any
    crop: NDArray[Any]
    """The crops, or the rows that say where they are to be cut."""
    size: NDArray[np.float32]
    output: SearchOutput
    kernels: list[Any] = field(default_factory=list)
    """Whose kernels are bound, target by target,"""
    together: list[Any] = field(default_factory=list)
    """and what is bound: all targets' in one value."""


def _buffer(graph: Graph, name: str) -> NDArray[np.uint8]:
    shape = next(tensor.shape for tensor in graph.inputs if tensor.name == name)
    return np.zeros(shape, np.uint8)
