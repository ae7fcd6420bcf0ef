"""What a runtime has to offer: run the template graph once, then a search graph per frame."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ...errors import BundleError
from ..bundle import Bundle
from ..crop import CutAs, Image
from ..device_frame import Frame
from ..geometry import CropRule, Extent
from ..manifest import Graph, Manifest

Floats = NDArray[np.float32]
Kernels = Any
"""What a backend keeps of a template: opaque, and wherever the backend wants it (host or device memory)."""
Crops = Any
"""Where the crops of a graph go: a uint8 array [N * scales, S, S, 3] BGR, or what the backend's cropper writes to.

A slice of it is the part of some of the targets.
"""


class SearchOutput(NamedTuple):
    """What the search graph says of one frame, for N targets. The arrays are overwritten by the next search."""

    box: Floats
    """[N, 4]: offset x, y of the target's centre from the crop's, then its smoothed w, h, in crop pixels."""
    score: Floats
    """[N]"""
    best: NDArray[np.int32]
    """[N]: flat index of the chosen proposal."""


class CropsFrames(Protocol):
    """Cuts crops of frames."""

    def cut_pyramid(
        self, frame: Any, centre: tuple[float, float], extents: list[Extent], fill: Image, out: Crops
    ) -> CutAs:
        """Write a crop for each of `extents` around `centre` into `out`; return what the middle one shows."""
        ...


class Runner(Protocol):
    """A loaded graph and the memory it reads and writes."""

    crops: Crops

    def template(self, size: Floats, params: Floats) -> Kernels:
        """Return the kernels that the graph makes of its crops."""
        ...

    def search(self, kernels: Sequence[Kernels], size: Floats, params: Floats) -> SearchOutput:
        """Return what the graph finds in its crops for the targets of `kernels`."""
        ...


class Backend(ABC):
    """One bundle loaded into one runtime."""

    name: str
    device: str

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest

    @abstractmethod
    def _runner(self, graph: Graph) -> Runner:
        """Return a runner of `graph`, which was loaded already, with separate memory."""

    def _allocate(self) -> None:
        manifest = self._manifest
        self._template = self._runner(manifest.template)
        self._searches = [self._runner(search) for search in manifest.searches]
        self._batches: dict[tuple[int, int], Runner] = {}
        self.template_crop: Crops = self._template.crops
        """Written by the engine, read by `template`."""
        self.search_crops: list[Crops] = [search.crops for search in self._searches]
        """The same for each search graph."""

    def lane(self) -> Backend:
        """The same loaded network with separate memory, for another thread. Kernels serve all lanes."""
        lane = copy.copy(self)
        lane._allocate()
        return lane

    @abstractmethod
    def cropper(self, rule: CropRule) -> CropsFrames:
        """Return what cuts crops into the backend's."""

    @abstractmethod
    def pixels(self, frame: Frame) -> Image:
        """Return `frame` in host memory: itself, if that is where it is."""

    def template(self, size: Floats, params: Floats) -> Kernels:
        """Return the kernels of what is in `template_crop`; `size` [1, 2] is w, h of the target in crop pixels."""
        return self._template.template(size, params)

    def search(self, graph: int, kernels: Kernels, size: Floats, params: Floats) -> SearchOutput:
        """Run search graph number `graph` on its crops. `params` is not written to afterwards: a runner may keep it."""
        return self._searches[graph].search((kernels,), size, params)

    def batches(self, graph: int) -> list[int]:
        """Return for how many targets at once search graph `graph` has a form, most first; one is not among them."""
        return sorted((batch.targets for batch in self._manifest.searches[graph].batches), reverse=True)

    def prepare(self, targets: int) -> None:
        """Prepare the graphs for up to `targets` at once, which trackers of a single target never need."""
        for graph in range(len(self._manifest.searches)):
            for count in self.batches(graph):
                if count <= targets:
                    self._batch(graph, count)

    def batch_crops(self, graph: int, targets: int) -> Crops:
        """Return the crops that `search_batch` reads."""
        return self._batch(graph, targets).crops

    def search_batch(self, graph: int, kernels: Sequence[Kernels], size: Floats, params: Floats) -> SearchOutput:
        """Search for `len(kernels)` targets, one of `batches`; `size` is [targets, 2]."""
        return self._batch(graph, len(kernels)).search(kernels, size, params)

    def _batch(self, graph: int, targets: int) -> Runner:
        runner = self._batches.get((graph, targets))
        if runner is None:
            described = next(one for one in self._manifest.searches[graph].batches if one.targets == targets)
            runner = self._batches[graph, targets] = self._runner(described)
        return runner

    @abstractmethod
    def mix(self, one: Kernels, other: Kernels, share: float) -> Kernels:
        """Return new kernels: `share` of `other`, the rest of `one`."""


Signature = Iterable[tuple[str, tuple[int, ...], str]]
"""Name, shape and dtype of each input or output, as a runtime has it."""


def check_signature(bundle: Bundle, graph: Graph, inputs: Signature, outputs: Signature) -> None:
    """Raise BundleError where a graph is not the manifest's: memory is bound to it by raw address."""
    for kind, stated, found in (("input", graph.inputs, inputs), ("output", graph.outputs, outputs)):
        odd = {(tensor.name, tuple(tensor.shape), tensor.dtype) for tensor in stated} ^ set(found)
        if odd:
            first = min(map(str, odd))
            raise BundleError(f"{bundle.path}: the {kind}s of {graph.file} are not those of the manifest ({first})")
