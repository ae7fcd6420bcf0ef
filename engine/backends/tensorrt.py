"""TensorRT: plans on one stream, kernels in device memory, each search one captured CUDA graph.

A frame is: crop, size and parameters from pinned memory to the device, the plan, three small results back; all of it is
captured when the bundle is loaded, and one launch from then on. Addresses are frozen in a captured graph, so
the kernels of a template are copied into the place that the graph reads when another template is searched for.

Built and tested on a CPU against stand-ins for TensorRT and CUDA. Not executed on a GPU yet.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import BackendError
from ..bundle import Bundle
from ..manifest import Graph, Tensor
from .base import SearchOutput
from .cuda import Cuda
from .events import CudaMarks, DeviceTimes
from .plans import graphs_of
from .trt_library import Library, load
from .trt_plans import Say, gpu_of, plans

Array = NDArray[Any]


class TensorRTBackend:
    """Runs a bundle in TensorRT or TensorRT-RTX.

    Plans come from the bundle's cache or are built first, which takes minutes with full TensorRT; `say` is told. Raises
    BackendError where a library, a GPU or its driver is missing: the CPU never stands in.
    """

    name = "tensorrt"
    device = "cuda"

    def __init__(
        self,
        bundle: Bundle,
        library: Library | None = None,
        cuda: Cuda | None = None,
        say: Say = lambda _: None,
    ):
        self._library = library or load()
        self._cuda = cuda or Cuda()
        manifest = bundle.manifest
        self._manifest = manifest
        portable = self._library.flavour == "rtx"
        gpu = gpu_of(()) if portable else str(self._cuda)
        built = plans(bundle, self._library, gpu, device=self._cuda.capability if portable else "", say=say)
        runtime = self._library.need(self._library.module.Runtime(self._library.logger), "start its runtime")
        self._engines = {}
        for name, plan in built.items():
            engine = self._library.need(runtime.deserialize_cuda_engine(plan), f"load the plan of {name}")
            _check_signature(bundle, next(graph for graph in graphs_of(manifest) if graph.file == name), engine)
            self._engines[name] = engine
        self._allocate()

    def lane(self) -> TensorRTBackend:
        """The same plans with buffers, contexts and a stream of its own."""
        lane = copy.copy(self)
        lane._cuda = self._cuda.sibling()
        lane._allocate()
        return lane

    def _allocate(self) -> None:
        manifest, cuda = self._manifest, self._cuda

        def runner(graph: Graph) -> _Runner:
            return _Runner(self._library, cuda, self._engines[graph.file], graph)

        self._template = runner(manifest.template)
        self._searches = [runner(search) for search in manifest.searches]
        self._batches = {
            (number, batch.targets): runner(batch)
            for number, search in enumerate(manifest.searches)
            for batch in search.batches
        }
        self.template_crop = self._template.host["crop"]
        self.search_crops = [one.host["crop"] for one in self._searches]

    def template(self, size: NDArray[np.float32], params: NDArray[np.float32]) -> _Kernels:
        """Return the kernels, in device memory of their own."""
        self._template.write(size=size, params=params)
        self._template.run()
        kernels = _Kernels(self._cuda)
        for tensor in self._manifest.template.outputs:
            kernels.take(tensor.name, self._template.device[tensor.name], _bytes(tensor))
        self._cuda.wait()
        return kernels

    def search(self, graph: int, kernels: Any, size: NDArray[np.float32], params: NDArray[np.float32]) -> SearchOutput:
        """Run one search graph and wait for its three results."""
        return self._search(self._searches[graph], [kernels], size, params)

    def stages(self, graph: int, kernels: Any, size: NDArray[np.float32], params: NDArray[np.float32]) -> DeviceTimes:
        """Run one search graph in three parts and time each: see `events.Staged`."""
        runner = self._searches[graph]
        self._hold(runner, [kernels])
        runner.write(size=size, params=params)
        return runner.parts()

    def batches(self, graph: int) -> list[int]:
        """Return for how many targets at once there is a plan, most first."""
        return sorted((targets for number, targets in self._batches if number == graph), reverse=True)

    def batch_crops(self, graph: int, targets: int) -> NDArray[np.uint8]:
        """Return the crop buffer of the plan for `targets`, in pinned memory."""
        return self._batches[graph, targets].host["crop"]

    def search_batch(
        self, graph: int, kernels: Sequence[Any], size: NDArray[np.float32], params: NDArray[np.float32]
    ) -> SearchOutput:
        """Run the plan for `len(kernels)` targets."""
        return self._search(self._batches[graph, len(kernels)], kernels, size, params)

    def _search(
        self, runner: _Runner, kernels: Sequence[Any], size: NDArray[np.float32], params: NDArray[np.float32]
    ) -> SearchOutput:
        self._hold(runner, kernels)
        runner.write(size=size, params=params)
        runner.run()
        self._cuda.wait()
        return runner.output

    def _hold(self, runner: _Runner, kernels: Sequence[Any]) -> None:
        """Put `kernels` where the plan reads them, those that do not lie there yet."""
        for number, (held, wanted) in enumerate(zip_longest(runner.held, kernels)):
            if held is not wanted:
                for name, (address, bytes_) in wanted.places.items():
                    self._cuda.copy(runner.device[name] + number * bytes_, address, bytes_)
        runner.held = list(kernels)

    def mix(self, one: Any, other: Any, share: float) -> _Kernels:
        """Return (1 - share) one + share other, through host memory."""
        cuda, mixed, arrays = self._cuda, _Kernels(self._cuda), []
        for tensor in self._manifest.template.outputs:
            a, b = (cuda.pinned(tensor.shape, tensor.dtype) for _ in range(2))
            for array, kernels in ((a, one), (b, other)):
                cuda.download(array, kernels.places[tensor.name][0])
            arrays.append((tensor.name, a, b))
        cuda.wait()
        for name, a, b in arrays:
            a[:] = a + share * (b.astype(np.float32) - a)
            mixed.upload(name, a)
        cuda.wait()
        return mixed


class _Kernels:
    """Kernels of one template, in device memory that goes when nobody holds them any more."""

    def __init__(self, cuda: Cuda):
        self._cuda = cuda
        self.places: dict[str, tuple[int, int]] = {}
        """Name: address and bytes."""

    def take(self, name: str, source: int, size: int) -> None:
        """Keep a copy of device memory."""
        self._cuda.copy(self._place(name, size), source, size)

    def upload(self, name: str, array: Array) -> None:
        """Keep a copy of host memory."""
        self._cuda.upload(self._place(name, array.nbytes), array)

    def _place(self, name: str, size: int) -> int:
        address = self._cuda.malloc(size)
        self._cuda.free_with(self, address)
        self.places[name] = address, size
        return address


class _Runner:
    """One plan with its context and buffers: host arrays in pinned memory for all but the kernels."""

    def __init__(self, library: Library, cuda: Cuda, engine: Any, graph: Graph):
        self._library, self._cuda, self._graph = library, cuda, graph
        self._context = library.need(engine.create_execution_context(), f"make a context of {graph.file}")
        tensors = (*graph.inputs, *graph.outputs)
        self.device = {tensor.name: cuda.malloc(_bytes(tensor)) for tensor in tensors}
        cuda.free_with(self, *self.device.values())
        self.host = {
            tensor.name: cuda.pinned(tensor.shape, tensor.dtype)
            for tensor in tensors
            if not tensor.name.startswith("kernel_")
        }
        self._inputs = [tensor.name for tensor in graph.inputs if tensor.name in self.host]
        self._results = [tensor.name for tensor in graph.outputs if tensor.name in self.host]
        for tensor in tensors:
            library.need(self._context.set_tensor_address(tensor.name, self.device[tensor.name]), f"bind {tensor.name}")
        self.held: list[Any] = []
        """Whose kernels lie in the device's buffers, target by target."""
        # The first run does what can't be captured, and frame 1 shall cost no more than frame 2.
        self._steps()
        cuda.wait()
        self._captured = cuda.capture(self._steps)
        self._parts: list[Any] | None = None

    @property
    def output(self) -> SearchOutput:
        """What a search graph says, in pinned memory."""
        return SearchOutput(*(self.host[name] for name in SearchOutput._fields))

    def write(self, **values: Array) -> None:
        """Put inputs into the host's buffers; what the graph does not take is left out."""
        for name, value in values.items():
            if name in self.host:
                self.host[name][:] = value

    def run(self) -> None:
        """Put one run into the stream, in one launch."""
        self._cuda.launch(self._captured)

    def parts(self) -> DeviceTimes:
        """Run once in three launches, and time them."""
        if self._parts is None:
            self._parts = [self._cuda.capture(part) for part in (self._upload, self._execute, self._download)]
        marks = CudaMarks(self._cuda)
        marks.mark()
        for part in self._parts:
            self._cuda.launch(part)
            marks.mark()
        return DeviceTimes(*marks.seconds())

    def _steps(self) -> None:
        self._upload()
        self._execute()
        self._download()

    def _upload(self) -> None:
        for name in self._inputs:
            self._cuda.upload(self.device[name], self.host[name])

    def _execute(self) -> None:
        stream = int(self._cuda.stream)
        self._library.need(self._context.execute_async_v3(stream), f"run {self._graph.file}")

    def _download(self) -> None:
        for name in self._results:
            self._cuda.download(self.host[name], self.device[name])


def _bytes(tensor: Tensor) -> int:
    return int(np.prod(tensor.shape)) * np.dtype(tensor.dtype).itemsize


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
