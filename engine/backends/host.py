"""What backends in host memory have in common: crops cut by OpenCV, kernels in NumPy arrays, buffers bound once."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from operator import is_
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..crop import Cropper, Image
from ..device_frame import Frame
from ..geometry import CropRule
from ..manifest import Graph, Tensor
from .base import Backend, Floats, SearchOutput

Array = NDArray[Any]
HostKernels = dict[str, Array]


class BoundGraph(Protocol):
    """A loaded graph that reads and writes given arrays."""

    def bind(self, arrays: Mapping[str, Array]) -> None:
        """Read inputs and write outputs of these names there from now on."""
        ...

    def run(self) -> None:
        """Run once. Raises BackendError."""
        ...


class HostBackend(Backend):
    """Runs a bundle on the CPU; a subclass for each runtime says how it loads a graph."""

    device = "cpu"

    @abstractmethod
    def _bound(self, graph: Graph) -> BoundGraph:
        """Return the loaded `graph`, to be bound to separate arrays."""

    def _runner(self, graph: Graph) -> HostRunner:
        return HostRunner(self._bound(graph), graph)

    def cropper(self, rule: CropRule) -> Cropper:
        """Return what cuts crops for this backend."""
        return Cropper(rule)

    def pixels(self, frame: Frame) -> Image:
        """Return `frame`."""
        assert isinstance(frame, np.ndarray)
        return frame

    def mix(self, one: HostKernels, other: HostKernels, share: float) -> HostKernels:
        """Return (1 - share) one + share other."""
        return {name: _blended(a, other[name], share) for name, a in one.items()}


class HostRunner:
    """A bound graph and its arrays."""

    def __init__(self, graph: BoundGraph, described: Graph):
        self._graph = graph
        tensors = (*described.inputs, *described.outputs)
        arrays = {tensor.name: _zeros(tensor) for tensor in tensors if not tensor.name.startswith("kernel_")}
        graph.bind(arrays)
        self.crops = arrays["crop"]
        self._size, self._params = (arrays.get(name) for name in ("size", "params"))
        self._kernels = [tensor.name for tensor in described.inputs if tensor.name.startswith("kernel_")]
        self._outputs = described.outputs
        self._held: Sequence[HostKernels] = ()
        self._output = SearchOutput(*(arrays.get(name, np.zeros(0)) for name in SearchOutput._fields))

    def template(self, size: Floats, params: Floats) -> HostKernels:
        """Return the kernels by name, in new arrays."""
        kernels = {tensor.name: _zeros(tensor) for tensor in self._outputs}
        self._graph.bind(kernels)
        self._run(size, params)
        return kernels

    def search(self, kernels: Sequence[HostKernels], size: Floats, params: Floats) -> SearchOutput:
        """Run the graph; kernels are bound again only when one of them is another."""
        if not _same(self._held, kernels):
            several = len(kernels) > 1
            joined = {name: np.concatenate([one[name] for one in kernels]) for name in self._kernels if several}
            self._graph.bind(joined or {name: kernels[0][name] for name in self._kernels})
            self._held = tuple(kernels)
        self._run(size, params)
        return self._output

    def _run(self, size: Floats, params: Floats) -> None:
        if self._size is not None:
            self._size[:] = size
        if self._params is not None:
            self._params[:] = params
        self._graph.run()


def _zeros(tensor: Tensor) -> Array:
    return np.zeros(tensor.shape, tensor.dtype)


def _blended(one: NDArray[Any], other: NDArray[Any], share: float) -> NDArray[Any]:
    """Return (1 - share) one + share other, of the type of `one`, summed in FP32."""
    mixed: NDArray[Any] = (one + share * (other.astype(np.float32) - one)).astype(one.dtype)
    return mixed


def _same(some: Sequence[Any], others: Sequence[Any]) -> bool:
    """Whether these are the very same things."""
    return len(some) == len(others) and all(map(is_, some, others))
