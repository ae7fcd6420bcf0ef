"""What a runtime has to offer: run the template graph once, then a search graph per frame."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ..device_frame import Frame
from ..regions import Regions

Kernels = Any
"""What a backend keeps of a template: opaque, and wherever the backend wants it (host or device memory)."""


class SearchOutput(NamedTuple):
    """What the search graph says of one frame, for N targets. The arrays are overwritten by the next search."""

    box: NDArray[np.float32]
    """[N, 4]: offset x, y of the target's centre from the crop's, then its smoothed w, h, in crop pixels."""
    score: NDArray[np.float32]
    """[N]"""
    best: NDArray[np.int32]
    """[N]: flat index of the chosen proposal."""


class Backend(Protocol):
    """One bundle loaded into one runtime."""

    name: str
    device: str

    template_crop: NDArray[np.uint8]
    """[N * scales, T, T, 3] uint8 BGR: written by the engine, read by `template`."""
    search_crops: list[NDArray[np.uint8]]
    """The same for each search graph, [N * scales, S, S, 3]."""

    def lane(self) -> "Backend":
        """The same loaded network with buffers of its own: what one thread more needs. Kernels serve all lanes."""
        ...

    def template(self, size: NDArray[np.float32], params: NDArray[np.float32]) -> Kernels:
        """Return the kernels of what lies in `template_crop`; `size` [N, 2] is w, h of each target in crop pixels."""
        ...

    def search(
        self, graph: int, kernels: Kernels, size: NDArray[np.float32], params: NDArray[np.float32]
    ) -> SearchOutput:
        """Run search graph number `graph` on what lies in its crop buffer."""
        ...

    def mix(self, one: Kernels, other: Kernels, share: float) -> Kernels:
        """Return new kernels: `share` of `other`, the rest of `one`."""
        ...


@runtime_checkable
class Batched(Protocol):
    """A backend that can search for several targets in one run, where the bundle has graphs for that."""

    def batches(self, graph: int) -> Sequence[int]:
        """Return for how many targets at once search graph `graph` has a form, most first; one is not among them."""
        ...

    def batch_crops(self, graph: int, targets: int) -> NDArray[np.uint8]:
        """Return the buffer [targets * scales, S, S, 3] that `search_batch` reads."""
        ...

    def search_batch(
        self, graph: int, kernels: Sequence[Kernels], size: NDArray[np.float32], params: NDArray[np.float32]
    ) -> SearchOutput:
        """Search for `len(kernels)` targets, one of `batches`; `size` is [targets, 2]."""
        ...


@runtime_checkable
class Whole(Protocol):
    """A backend that takes whole frames, where the bundle has graphs that cut their crops out of them.

    A frame is an array in host memory, or a `DeviceFrame` where the backend's device is none of the host's.
    """

    frames: bool
    """Whether it was loaded with those graphs."""

    @property
    def stream(self) -> int | None:
        """The stream that frames on a device are copied in, None on a CPU."""
        ...

    def take(self, frame: Frame) -> None:
        """Make `frame` the one that is searched, until the next; it stays as it is for as long."""
        ...

    def announce(self, frame: Frame) -> None:
        """Name the frame that will be taken next, which stays as it is until then: it is brought while others run."""
        ...

    def search_frame(
        self,
        graph: int,
        kernels: Sequence[Kernels],
        region: Regions,
        size: NDArray[np.float32],
        params: NDArray[np.float32],
    ) -> SearchOutput:
        """Search the frame for `len(kernels)` targets, one or one of `batches`.

        `region`: [targets * scales, 8], see `regions.REGION`; `size` [targets, 2].
        """
        ...

    def pixels(self, frame: Frame) -> NDArray[np.uint8]:
        """Return `frame` in host memory: itself where it lies there."""
        ...
