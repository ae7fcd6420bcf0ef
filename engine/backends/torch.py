"""PyTorch: a bundle's graphs operator by operator; on CUDA, each captured as one CUDA graph.

On a CPU it is slower than ONNX Runtime, but FP16 is FP16: every result is rounded, where ONNX Runtime keeps FP32
between layers. That makes it the judge of FP16 bundles where there is no GPU. Its CUDA part was not executed on a GPU
yet.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import BackendError
from ..bundle import Bundle
from ..device_frame import DeviceFrame, Frame
from ..manifest import Graph
from ..regions import Regions
from .base import SearchOutput
from .events import DeviceTimes, HostMarks, Marks, TorchMarks
from .memory import advised
from .plans import frame_graphs, graphs_of
from .slots import SLOTS, Shape, Slots
from .torch_frames import TorchCarrier, downloaded


@contextmanager
def told(what: str) -> Iterator[None]:
    """Turn an error of PyTorch's (memory, a device that went away or that it has no kernels for) into one of ours."""
    try:
        yield
    except RuntimeError as error:  # those of CUDA are kinds of it
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise BackendError(advised(f"PyTorch failed while {what}: {reason}")) from error


class TorchBackend:
    """Runs a bundle in PyTorch on `device`, "cpu" or "cuda". `threads` is PyTorch's number, for the whole process.

    Raises BackendError where PyTorch, onnx or the GPU is missing: the CPU never stands in.
    """

    name = "torch"

    def __init__(self, bundle: Bundle, device: str = "cpu", threads: int | None = None, *, frames: bool = False):
        self._torch = _import()
        self.device = device
        self.frames = frames
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
        with told("loading the bundle"):
            self._graphs = {
                graph.file: TorchGraph(
                    bundle.read(graph.file), device, {name: bundle.read(name) for name in graph.external}
                )
                for graph in graphs_of(manifest, frames)
            }
        self._framed = frame_graphs(manifest, frames)
        self._allocate()

    def lane(self) -> TorchBackend:
        """The same weights with buffers of its own."""
        lane = copy.copy(self)
        lane._allocate()
        return lane

    @told("making the graphs ready")
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
        self._frame: Any = None
        self._carrier = TorchCarrier(self._torch) if self.device == "cuda" and self.frames else None
        self._slots = None if self._carrier is None else Slots(self._carrier)
        self._wholes: dict[tuple[int, int, int, Shape], _Eager | _Captured] = {}
        self.template_crop = self._template.host["crop"]
        self.search_crops = [runner.host["crop"] for runner in self._searches]

    @told("running the template graph")
    def template(self, size: NDArray[np.float32], params: NDArray[np.float32]) -> dict[str, Any]:
        """Return the kernels, tensors by name on the device."""
        out = self._template({"size": size, "params": params}, {})
        return {name: value.clone() for name, value in out.items()}

    @told("running the search graph")
    def search(self, graph: int, kernels: Any, size: NDArray[np.float32], params: NDArray[np.float32]) -> SearchOutput:
        """Run one search graph."""
        runner = self._searches[graph]
        return runner.output(runner({"size": size, "params": params}, kernels))

    def stages(self, graph: int, kernels: Any, size: NDArray[np.float32], params: NDArray[np.float32]) -> DeviceTimes:
        """Run one search graph in three parts and time each: see `events.Staged`."""
        marks = HostMarks() if self.device == "cpu" else TorchMarks(self._torch)
        runner = self._searches[graph]
        runner.output(runner({"size": size, "params": params}, kernels, marks))
        marks.mark()
        return DeviceTimes(*marks.seconds())

    def batches(self, graph: int) -> list[int]:
        """Return for how many targets at once there is a graph, most first."""
        return sorted((targets for number, targets in self._batches if number == graph), reverse=True)

    def batch_crops(self, graph: int, targets: int) -> NDArray[np.uint8]:
        """Return the crop buffer of the graph for `targets`."""
        return self._batches[graph, targets].host["crop"]

    @told("running the search graph")
    def search_batch(
        self, graph: int, kernels: Sequence[Any], size: NDArray[np.float32], params: NDArray[np.float32]
    ) -> SearchOutput:
        """Run the graph for `len(kernels)` targets."""
        runner = self._batches[graph, len(kernels)]
        return runner.output(runner({"size": size, "params": params}, self._put_together(kernels)))

    @property
    def stream(self) -> int | None:
        """The stream that frames are copied in; None on a CPU."""
        return None if self._carrier is None else self._carrier.stream

    @told("bringing a frame to the GPU")
    def take(self, frame: Frame) -> None:
        """Make `frame` the one that is searched; on CUDA graphs are captured for every new size."""
        if self._slots is None:
            assert isinstance(frame, np.ndarray)
            self._frame = self._torch.from_numpy(np.ascontiguousarray(frame).reshape(-1, 3))
            return
        self._slots.take(frame)
        for slot in range(SLOTS):
            self._whole(0, 1, slot)

    def announce(self, frame: Frame) -> None:
        """Name the next frame: it is copied while the search of this one runs."""
        if self._slots is not None:
            self._slots.announce(frame)

    def pixels(self, frame: Frame) -> NDArray[np.uint8]:
        """Return `frame` in host memory."""
        pixels: NDArray[np.uint8] = downloaded(self._torch, frame) if isinstance(frame, DeviceFrame) else frame
        return pixels

    @told("running the search graph")
    def search_frame(
        self,
        graph: int,
        kernels: Sequence[Any],
        region: Regions,
        size: NDArray[np.float32],
        params: NDArray[np.float32],
    ) -> SearchOutput:
        """Search the frame that was taken for `len(kernels)` targets."""
        values = {"region": region, "size": size, "params": params}
        together = kernels[0] if len(kernels) == 1 else self._put_together(kernels)
        if self._slots is None:
            runner = self._whole(graph, len(kernels), 0)
            return runner.output(runner(values, {**together, "frame": self._frame}))
        runner = self._whole(graph, len(kernels), self._slots.current)
        out = runner(values, together)
        # The device is at work: now is the time to bring the next frame on its way.
        self._slots.stage()
        return runner.output(out)

    def _whole(self, graph: int, targets: int, slot: int) -> _Eager | _Captured:
        """Return what runs a graph on the frame in `slot`, made on its first use."""
        key = graph, targets, slot, () if self._slots is None else self._slots.shape
        if key not in self._wholes:
            described = self._framed[graph, targets]
            run = self._graphs[described.file]
            if self._slots is None:
                self._wholes[key] = _Eager(self._torch, run, described)
            else:
                for gone in [other for other in self._wholes if other[-1] not in self._slots.shapes]:
                    del self._wholes[gone]
                frame = self._slots.places[slot].device.reshape(-1, 3)
                self._wholes[key] = _Captured(self._torch, run, described, {"frame": frame})
        return self._wholes[key]

    def _put_together(self, kernels: Sequence[Any]) -> dict[str, Any]:
        """Return all targets' kernels in one, made again only when one of them is another."""
        targets = len(kernels)
        held, together = self._together.get(targets, ([], {}))
        if len(held) != targets or any(a is not b for a, b in zip(held, kernels, strict=True)):
            together = {name: self._torch.cat([one[name] for one in kernels]) for name in kernels[0]}
            self._together[targets] = list(kernels), together
        return together

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

    def output(self, out: dict[str, Any]) -> SearchOutput:
        """Return what a search graph gave."""
        box, score, best = (out[name].numpy() for name in SearchOutput._fields)
        return SearchOutput(box, score, best)


class _Captured:
    """Runs a graph as one CUDA graph over fixed tensors; the host's buffers are pinned.

    `there`: inputs that lie on the device already.
    """

    def __init__(
        self,
        torch: Any,
        run: Callable[[dict[str, Any]], dict[str, Any]],
        graph: Graph,
        there: dict[str, Any] | None = None,
    ):
        self._torch = torch
        pinned = {
            tensor.name: torch.zeros(tensor.shape, dtype=getattr(torch, tensor.dtype)).pin_memory()
            for tensor in _host_inputs(graph)
        }
        self._pinned, self.host = pinned, {name: tensor.numpy() for name, tensor in pinned.items()}
        self._device = {
            tensor.name: torch.zeros(tensor.shape, dtype=getattr(torch, tensor.dtype), device="cuda")
            for tensor in graph.inputs
            if tensor.name not in (there or {})
        } | (there or {})
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
                packed = pack(torch, self._out) if set(SearchOutput._fields) <= set(self._out) else None
            self._packed: Any = packed
            self._down: Any = None if packed is None else torch.zeros(packed.shape).pin_memory()

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

    def output(self, out: dict[str, Any]) -> SearchOutput:
        """Wait for what a search graph gave, once, and return it; the next search overwrites it."""
        del out  # it is in `_packed` as well
        self._down.copy_(self._packed, non_blocking=True)
        self._torch.cuda.current_stream().synchronize()
        return unpack(self._down.numpy())


def _nothing() -> None:
    """In the place of a mark where nobody times."""


def pack(torch: Any, out: dict[str, Any]) -> Any:
    """Return box, score and best of N targets in one float32 tensor [6 N], the whole numbers bit by bit."""
    box, score, best = (out[name].reshape(-1) for name in SearchOutput._fields)
    return torch.cat([box, score, best.to(torch.int32).view(torch.float32)])


def unpack(packed: NDArray[np.float32]) -> SearchOutput:
    """Return what `pack` packed."""
    targets = len(packed) // 6
    box, score, best = packed[: 4 * targets], packed[4 * targets : 5 * targets], packed[5 * targets :]
    return SearchOutput(box.reshape(targets, 4), score, best.view(np.int32))


def _host_inputs(graph: Graph) -> list[Any]:
    return [tensor for tensor in graph.inputs if tensor.name != "frame" and not tensor.name.startswith("kernel_")]


def _import() -> Any:
    try:
        import onnx  # noqa: F401
        import torch
    except ImportError as error:
        raise BackendError(
            f"the backend torch needs PyTorch and onnx ({error.name} is missing): pip install 'trk-engine[export]'"
        ) from None
    return torch
