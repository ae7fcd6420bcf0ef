"""All that a tracker remembers of one target: hand it to another tracker of the same bundle, and that one goes on."""

from dataclasses import dataclass, field, replace

from .backends.base import Kernels
from .crop import Image
from .target import Target


@dataclass(slots=True)
class State:
    """One target between two frames. Everything else of a tracker belongs to the bundle."""

    target: Target
    """Where it is."""
    kernels: Kernels
    """What the template branch made of it: never changed in place, so copies share it."""
    fill: Image
    """Colour [3] uint8 of what lies outside the frame."""
    recent: float | None = None
    """Running mean of the scores; None before the first."""
    lost: bool = False
    """Whether the calibrated probability has fallen too low since it was last high."""
    seen: Target = field(init=False)
    """Where the target was when it was last surely there."""
    scanned: int = 0
    """Windows of the frame that were searched since the target was lost."""
    first: Kernels = field(init=False)
    """The kernels of the first frame,"""
    mean: Kernels = field(init=False)
    """and the running mean of those since, where the template is updated."""

    def __post_init__(self) -> None:
        self.seen = self.target.copy()
        self.first = self.mean = self.kernels

    def copy(self) -> "State":
        """A state that stays as it is while this one moves on; small: the kernels are shared."""
        twin = replace(self, target=self.target.copy())
        twin.seen, twin.first, twin.mean = self.seen.copy(), self.first, self.mean
        return twin

    def return_to_seen(self) -> None:
        """Put the target back to where it was last surely there; time goes on."""
        self.target = replace(self.seen, frame_index=self.target.frame_index)
