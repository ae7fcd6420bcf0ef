"""What stands for PyTorch on a GPU where there is none: a capture records the ATen operators, a replay runs them again.

What a capture on a GPU forbids fails here, too: reading a value back (`.item()`), asking for what has no fixed size,
bringing constants from the host.
"""

import contextlib
import ctypes
import types

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

FORBIDDEN = tuple(
    f"aten.{name}" for name in ("item", "_local_scalar_dense", "nonzero", "lift_fresh", "is_nonzero", "equal")
)
"""Operators that wait for the GPU, or copy from memory of the host's that may go."""


class ForbiddenError(RuntimeError):
    """A capture on a GPU would have been broken by this."""


class _Record(TorchDispatchMode):
    """Runs every operator and puts it into the graph that `runtime` is capturing."""

    def __init__(self, runtime):
        super().__init__()
        self.runtime, self.kernels = runtime, 0

    @classmethod
    def ignore_compile_internals(cls):
        """What was compiled runs as it was compiled: with the mode, PyTorch would run its operators in its place."""
        return True

    def __torch_dispatch__(self, function, kinds, arguments=(), named=None):
        named = named or {}
        if str(function).rpartition(".")[0] in FORBIDDEN:
            raise ForbiddenError(f"CUDA error: operation not permitted when stream is capturing ({function})")
        out = function(*arguments, **named)
        self.runtime.put(lambda: _again(function, arguments, named, out), self.runtime.recorded_stream)
        if not function.is_view:
            self.kernels += 1
        return out


def _again(function, arguments, named, out):
    with torch.inference_mode():
        fresh = function(*arguments, **named)
        pairs = zip(out, fresh, strict=True) if isinstance(out, tuple | list) else [(out, fresh)]
        for old, new in pairs:
            if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                old.copy_(new)


class FakeTorch(types.ModuleType):
    """`torch` with a GPU whose memory and streams are those of a `FakeRuntime`."""

    def __init__(self, runtime, compile_with=None):
        super().__init__("torch")
        self.runtime, self.compile_with = runtime, compile_with
        self.kernels = []
        """Of each capture: operators that would be a kernel each."""
        self.compiled = 0
        self.cuda = types.SimpleNamespace(
            is_available=lambda: True,
            current_device=lambda: 0,
            ExternalStream=lambda handle: handle,
            OutOfMemoryError=torch.OutOfMemoryError,
            CUDAGraph=lambda keep_graph: types.SimpleNamespace(raw_cuda_graph=lambda: len(runtime.graphs)),
            graph=self._graph,
            stream=self._stream,
        )

    def __getattr__(self, name):
        return getattr(torch, name)

    def as_tensor(self, memory, device):
        described = memory.__cuda_array_interface__
        dtype, (address, _) = np.dtype(described["typestr"]), described["data"]
        size = int(np.prod(described["shape"])) * dtype.itemsize
        array = np.frombuffer((ctypes.c_uint8 * size).from_address(address), dtype).reshape(described["shape"])
        return torch.from_numpy(array)

    def compile(self, module, fullgraph, dynamic):
        assert fullgraph
        assert not dynamic
        self.compiled += 1
        if isinstance(self.compile_with, Exception):

            def fails(*inputs):
                raise self.compile_with

            return fails
        if self.compile_with is None:
            return module
        return torch.compile(module, fullgraph=True, dynamic=False, backend=self.compile_with)

    @contextlib.contextmanager
    def _stream(self, handle):
        # What is in the stream before has to be done: here operators run at once.
        if self.runtime.recording is None:
            self.runtime.run(handle)
        yield

    @contextlib.contextmanager
    def _graph(self, graph, stream, capture_error_mode):
        assert capture_error_mode == "thread_local"
        runtime = self.runtime
        runtime.cudaStreamBeginCapture(stream, 1)
        record = _Record(runtime)
        try:
            with record:
                yield
        finally:
            _, captured = runtime.cudaStreamEndCapture(stream)
        if captured is None:
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture")
        runtime.graphs[len(runtime.graphs) + 1] = captured
        self.kernels.append(record.kernels)


def torch_cuda(bundle, runtime, monkeypatch, compile_with=None, **options):
    """The backend for GPUs on the stand-ins. `compile_with`: torch.compile's backend, None for none at all."""
    from trk.engine.backends.device import torch as backend
    from trk.engine.onnx_to_torch import graph as torch_graph

    fake = FakeTorch(runtime, compile_with)
    monkeypatch.setattr(backend, "import_torch", lambda: fake)
    plain = torch_graph.torch_graph
    monkeypatch.setattr(
        torch_graph, "torch_graph", lambda model, device, external, fused: plain(model, "cpu", external, fused=fused)
    )
    made = backend.TorchCuda(bundle, runtime.cuda, **options)
    made.fake = fake
    return made
