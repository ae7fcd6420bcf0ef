"""PyTorch on a GPU: a bundle's graphs, fused by torch.compile where that works, each captured as a CUDA graph.

Compiling takes seconds when a bundle is loaded for the first time; PyTorch keeps the result. Without a C compiler or
Triton the operators run one by one, and a line says so.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ....errors import BackendError
from ...bundle import Bundle
from ...cuda.calls import Cuda, CudaGraph
from ...manifest import Graph, Tensor
from ...runtime_errors import first_line, translated
from ..torch import import_torch
from .backend import DeviceBackend

log = logging.getLogger(__name__)
Module = Callable[..., tuple[Any, ...]]
Work = Callable[[list[Any], list[Any]], None]
"""Computes outputs, the second, of inputs."""


class TorchCuda(DeviceBackend):
    """Runs a bundle in PyTorch on the current GPU.

    `compiled`: whether search graphs go through torch.compile. Raises BackendError where PyTorch, onnx, cuda-python, a
    GPU or its driver is missing: the CPU never stands in.
    """

    name = "torch"

    def __init__(self, bundle: Bundle, cuda: Cuda | None = None, *, compiled: bool = True):
        self._torch = import_torch()
        if not self._torch.cuda.is_available():
            raise BackendError(
                "device 'cuda' was asked for and this PyTorch sees no GPU: install a driver and a CUDA build of "
                "PyTorch, or choose --device cpu"
            )
        super().__init__(bundle.manifest, cuda or Cuda(index=self._torch.cuda.current_device()))
        from ...onnx_to_torch.graph import torch_graph

        self._work: dict[str, Work] = {}
        compiled = compiled and os.environ.get("TORCH_COMPILE_DISABLE") != "1"  # PyTorch's own switch
        for graph in bundle.manifest.graphs:
            external = {name: bundle.read(name) for name in graph.external}
            fused = compiled and graph is not bundle.manifest.template  # which runs too seldom to wait for
            with translated("PyTorch", f"loading {graph.file}", RuntimeError):
                module = torch_graph(bundle.read(graph.file), "cuda", external, fused=fused)
                self._work[graph.file] = self._compiled(module) if fused else writing(module)
        self._allocate()

    def _loaded(self, graph: Graph) -> _TorchGraph:
        return _TorchGraph(self._torch, self._cuda, self._work[graph.file], graph)

    def _compiled(self, module: Module) -> Work:
        plain = writing(module)
        state: list[Work] = [self._torch.compile(plain, fullgraph=True, dynamic=False)]

        def run(inputs: list[Any], outputs: list[Any]) -> None:
            try:
                state[0](inputs, outputs)
            except Exception as error:
                if state[0] is plain or isinstance(error, self._torch.cuda.OutOfMemoryError):
                    raise
                log.warning("torch.compile failed, operators run one by one: %s", first_line(error))
                state[0] = plain
                plain(inputs, outputs)

        return run


def writing(module: Module) -> Work:
    """Return what writes the outputs of `module` where they are wanted: compiled, its last kernels do that."""

    def run(inputs: list[Any], outputs: list[Any]) -> None:
        for output, result in zip(outputs, module(*inputs), strict=True):
            output.copy_(result)

    return run


class _TorchGraph:
    """A graph over memory that is not PyTorch's."""

    warm_up = 3
    capturable = True

    def __init__(self, torch: Any, cuda: Cuda, work: Work, graph: Graph):
        self._torch, self._cuda, self._work, self._graph = torch, cuda, work, graph
        self._stream = torch.cuda.ExternalStream(int(cuda.stream))
        self._bound: dict[str, Any] = {}

    def bind(self, tensor: Tensor, address: int) -> None:
        """Read or write `tensor` at `address`."""
        memory = _Memory(tensor.shape, np.dtype(tensor.dtype).str, address)
        self._bound[tensor.name] = self._torch.as_tensor(memory, device="cuda")

    def run(self) -> None:
        """Put one run into the stream."""
        with self._at_work("running"), self._torch.cuda.stream(self._stream):
            self._go()

    def capture(self, steps: Callable[[], None]) -> CudaGraph:
        """Return what `steps` put into the stream, with PyTorch's memory for it."""
        torch = self._torch
        with self._at_work("capturing"):
            graph = torch.cuda.CUDAGraph(keep_graph=True)
            with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
                steps()
            return self._cuda.instantiate(self._cuda.bindings.runtime.cudaGraph_t(int(graph.raw_cuda_graph())), graph)

    def _go(self) -> None:
        self._work(
            *([self._bound[tensor.name] for tensor in side] for side in (self._graph.inputs, self._graph.outputs))
        )

    @contextmanager
    def _at_work(self, what: str) -> Iterator[None]:
        """PyTorch's settings for a run: no gradients, products of FP32 that are FP32, and FP16 that is summed in it."""
        torch = self._torch
        matmul: Any = torch.backends.cuda.matmul
        wanted: dict[str, Any] = {"allow_tf32": False, "allow_fp16_reduced_precision_reduction": False}
        try:
            before = {name: getattr(matmul, name) for name in wanted}
        except RuntimeError:  # the caller has set it by its newer name, and PyTorch mixes the two in no way
            wanted = {"fp32_precision": "ieee", "allow_fp16_reduced_precision_reduction": False}
            before = {name: getattr(matmul, name) for name in wanted}
        convolutions = torch.backends.cudnn.flags(enabled=True, benchmark=False, allow_tf32=False)
        with translated("PyTorch", f"{what} {self._graph.file}", RuntimeError), torch.inference_mode(), convolutions:
            for name, value in wanted.items():
                setattr(matmul, name, value)
            try:
                yield
            finally:
                for name, value in before.items():
                    setattr(matmul, name, value)


class _Memory:
    """Device memory as PyTorch reads it."""

    def __init__(self, shape: tuple[int, ...], kind: str, address: int):
        self.__cuda_array_interface__ = {"shape": shape, "typestr": kind, "data": (address, False), "version": 2}
