"""ONNX Runtime: inputs and outputs bound once to memory that both sides share, kernels kept as its own values."""

import copy
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import BackendError, BundleError
from ..bundle import Bundle
from ..device_frame import Frame
from ..manifest import Batch, Graph
from ..regions import Regions
from .base import SearchOutput
from .plans import frame_graphs

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_SETTINGS = {("cuda", "fp32"): {"use_tf32": "0"}}
"""Options of a provider by device and precision: TF32 has ten bits, and FP32 was asked for."""


class OnnxRuntimeBackend:
    """Runs a bundle in ONNX Runtime on the CPU, or on CUDA with host buffers.

    `threads` is the number of threads of one run; None leaves it to the runtime. Raises BackendError where the runtime
    or the device is not usable: the CPU never stands in for a device silently.
    """

    name = "onnxruntime"

    def __init__(self, bundle: Bundle, device: str = "cpu", threads: int | None = None, *, frames: bool = False):
        self._ort = _import()
        self.device = device
        self.frames = frames
        manifest = bundle.manifest
        self._manifest = manifest
        self._template = self._session(bundle, manifest.template, threads)
        self._searches = [self._session(bundle, graph, threads) for graph in manifest.searches]
        self._batched = {
            (number, batch.targets): self._session(bundle, batch, threads)
            for number, graph in enumerate(manifest.searches)
            for batch in graph.batches
        }
        self._framed = {
            key: (self._session(bundle, graph, threads), graph) for key, graph in frame_graphs(manifest, frames).items()
        }
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
        with _told("the template graph"):
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
        with _told("the search graph"):
            self._searches[graph].run_with_iobinding(binding)
        return self._output

    def mix(self, one: Any, other: Any, share: float) -> list[Any]:
        """Return (1 - share) one + share other, through host memory."""
        pairs = [(a.numpy(), b.numpy()) for a, b in zip(one, other, strict=True)]
        mixed = [(a + share * (b.astype(np.float32) - a)).astype(a.dtype) for a, b in pairs]
        return [self._ort.OrtValue.ortvalue_from_numpy(values) for values in mixed]

    def _session(self, bundle: Bundle, graph: Graph, threads: int | None) -> Any:
        options = self._ort.SessionOptions()
        options.log_severity_level = 3
        if threads is not None:
            options.intra_op_num_threads = threads
        # Workers sleep between frames: no slower here, and a tracker that waits for its camera leaves the cores alone.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        provider = _PROVIDERS[self.device]
        if provider not in self._ort.get_available_providers():
            raise BackendError(
                f"device {self.device!r} was asked for and this ONNX Runtime has no {provider}: "
                "pip install trk-engine[gpu], or choose --device cpu"
            )
        # What a graph reads beside it comes from the manifest, hashes checked: no folder is given to the runtime.
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
        # ONNX Runtime reads these bytes where they lie until the session stands: they have to live that long.
        external = {name: bundle.read(name) for name in graph.external}
        if external:
            self._add_external(options, external)
        model = bundle.read(graph.file)
        try:
            settings = _SETTINGS.get((self.device, bundle.manifest.precision), {})
            session = self._ort.InferenceSession(model, options, providers=[(provider, settings)])
        except Exception as error:  # ONNX Runtime raises many types of its own
            raise BundleError(f"{bundle.path}: ONNX Runtime can't load {graph.file}: {_reason(error)}") from None
        del external
        if session.get_providers()[0] != provider:
            raise BackendError(
                f"device {self.device!r} was asked for and could not be used (is the CUDA toolkit of this "
                "onnxruntime-gpu installed?): choose --device cpu, or install it"
            )
        _check_signature(bundle, graph, session)
        return session

    def _add_external(self, options: Any, files: dict[str, bytes]) -> None:
        if not hasattr(options, "add_external_initializers_from_files_in_memory"):
            raise BackendError(
                f"this bundle keeps weights of several graphs once, which needs ONNX Runtime 1.24 or newer, not "
                f"{self._ort.__version__}: upgrade it"
            )
        options.add_external_initializers_from_files_in_memory(
            list(files), list(files.values()), [len(data) for data in files.values()]
        )

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
        with _told("the search graph"):
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


def _import() -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise BackendError(
            "ONNX Runtime is not installed: pip install trk-engine[cpu], or trk-engine[gpu] on a CUDA machine"
        ) from None
    return onnxruntime


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Turn an error of the runtime (memory, a device that went away) into one of ours."""
    try:
        yield
    except Exception as error:
        raise BackendError(f"ONNX Runtime failed while running {what}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _buffer(graph: Graph, name: str) -> NDArray[np.uint8]:
    shape = next(tensor.shape for tensor in graph.inputs if tensor.name == name)
    return np.zeros(shape, np.uint8)


def _check_signature(bundle: Bundle, graph: Graph, session: Any) -> None:
    """Refuse a graph whose inputs and outputs are not the manifest's: its buffers are bound by raw address."""
    for kind, stated, found in (
        ("input", graph.inputs, session.get_inputs()),
        ("output", graph.outputs, session.get_outputs()),
    ):
        ours = {(tensor.name, tuple(tensor.shape), tensor.dtype) for tensor in stated}
        theirs = {(value.name, _shape(value), _DTYPES.get(value.type, value.type)) for value in found}
        if ours != theirs:
            odd = sorted(str(item) for item in ours ^ theirs)[0]
            raise BundleError(f"{bundle.path}: the {kind}s of {graph.file} are not those of the manifest ({odd})")


def _shape(value: Any) -> tuple[int, ...]:
    """The shape of an input or output, 0 where an axis is open."""
    return tuple(side if isinstance(side, int) else 0 for side in value.shape)


_DTYPES = {
    "tensor(uint8)": "uint8",
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
}
