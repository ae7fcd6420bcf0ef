"""What a tracker does while its target is lost: one row per policy."""

from dataclasses import dataclass

from ..errors import UsageError
from .manifest import Manifest


@dataclass(frozen=True)
class Policy:
    """A row: the first that applies decides."""

    stops: bool = False
    """Nothing is computed any more; the last box stays, marked lost, until `init`."""
    holds: bool = False
    """The box stays where the target was last surely seen, and the search around that place goes on."""
    scans: bool = False
    """The search goes on where the network leads it, and `windows` more a frame cover the whole frame in turn."""
    windows: int = 4
    sure: float = 0.8
    """Probability that a place far from the last one needs, twice: there is much more to mistake for the target."""


POLICIES = {
    "follow": Policy(),
    "hold": Policy(holds=True),
    "search": Policy(scans=True),
    "stop": Policy(stops=True),
}
"""By the name that commands and `Tracker` take; "follow" is what every upstream does: it goes on as if nothing were."""


def choose_policy(name: str | None, manifest: Manifest) -> Policy:
    """Return the policy `name`, or the bundle's where it is None.

    Raises UsageError: there is no such one, or the bundle can't tell when a target is lost.
    """
    if name is None:
        return POLICIES[manifest.on_lost if manifest.calibration else "follow"]
    if name not in POLICIES:
        raise UsageError(f"no policy {name!r} for a lost target: choose one of {', '.join(POLICIES)}")
    if name != "follow" and manifest.calibration is None:
        raise UsageError(
            f"this bundle of {manifest.model} is not calibrated, so it can't tell when its target is lost: "
            "run trk-calibrate on it, or leave the policy at follow"
        )
    return POLICIES[name]
