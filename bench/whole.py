"""Trackers whose crops are cut by the host, or inside the graphs out of whole frames."""

from typing import Any

from ..engine.bundle import Bundle
from ..engine.tracker import Tracker

HOST, DEVICE, AHEAD = "host", "device", "ahead"
CROPS = (HOST, DEVICE)
"""Where a search crop is cut: by the host, or on the device out of the whole frame,"""
TIMED = (*CROPS, AHEAD)
"""or there as well, with the next frame on its way while the network looks at the one before."""


def open_tracker(
    bundle: Bundle | str, backend: str, device: str | None, threads: int | None, crop: str | None = None
) -> Tracker:
    """Return the tracker of `bundle` whose crops are cut in `crop`, one of TIMED; None leaves it to the engine.

    Raises what loading a bundle raises.
    """
    asked: dict[str, Any] = {} if crop is None else {"whole_frame": crop != HOST}
    return Tracker(bundle, backend, device, threads, **asked)


def cuts_on_device(tracker: Tracker) -> bool:
    """Whether the graphs of `tracker` cut their crops themselves."""
    return getattr(tracker, "whole", None) is not None


def way(tracker: Tracker, crop: str | None = None) -> str:
    """Return how tables call the way in which `tracker` runs: its runtime, and that it takes whole frames."""
    ahead = ", ahead" if crop == AHEAD else ""
    return f"{tracker.backend.name}, whole frame{ahead}" if cuts_on_device(tracker) else tracker.backend.name
