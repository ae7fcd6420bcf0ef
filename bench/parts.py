"""Parts of a search by the device's own clock, for backends that can cut a search into them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..engine.backends.device.backend import DeviceBackend
from ..engine.backends.device.timing import DeviceTimes
from ..engine.tracker import Tracker
from .speed import Clip, Entry
from .speed_report import describe

RUNS = 50


def device_parts(entry: Entry, clip: Clip, runs: int = RUNS) -> dict[str, Any] | None:
    """Return median, quartiles and tail in milliseconds of `upload`, `compute` and `download` of a search of `entry`.

    On the crop of the clip's second frame, `runs` times; None where the entry can't tell. Raises what tracking raises.
    """
    tracker = entry.runner
    if not isinstance(tracker, Tracker) or not isinstance(tracker.backend, DeviceBackend):
        return None
    tracker.init(clip.frames[0], clip.box)
    tracker.update(clip.frames[1])
    assert tracker.state is not None
    kernels = tracker.state.kernels
    size = np.full((tracker.manifest.batch, 2), tracker.manifest.geometry.exemplar_size / 2, np.float32)
    params = np.array(list(tracker.params.values()), np.float32)
    tracker.backend.timed_search(0, kernels, size, params)  # what is only done the first time
    return _described([tracker.backend.timed_search(0, kernels, size, params) for _ in range(runs)])


def _described(found: Sequence[DeviceTimes]) -> dict[str, Any]:
    parts = {
        name: describe(np.array([getattr(one, name) for one in found], np.float64)) for name in DeviceTimes._fields
    }
    return {**parts, "runs": len(found)}
