"""All that a tracker remembers of one target: hand it to another tracker of the same bundle, and that one goes on."""

from dataclasses import dataclass, replace

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

    def copy(self) -> "State":
        """A state that stays as it is while this one moves on; small: the kernels are shared."""
        return State(replace(self.target), self.kernels, self.fill)
