"""Times of the stages of tracking, and what is said of them: median, p95, p99, frames per second."""

from array import array
from collections.abc import Mapping

import numpy as np

STAGES = ("decode", "crop", "search", "host", "draw", "write")
"""In the order of a frame: `host` is what the tracker does besides crop and search."""
TRACKING = ("crop", "search", "host")


class StageTimes:
    """Seconds of each stage, frame by frame."""

    def __init__(self) -> None:
        self.seconds: dict[str, array[float]] = {stage: array("d") for stage in STAGES}

    def add(self, times: Mapping[str, float]) -> None:
        """Add the seconds that stages of one frame took."""
        for stage, seconds in times.items():
            self.seconds[stage].append(seconds)

    def summary(self, skip: int = 0) -> dict[str, dict[str, float]]:
        """Return {stage: {median_ms, p95_ms, p99_ms, total_s, frames}} of the stages that ran.

        The first `skip` frames are left out.
        """
        out = {}
        for stage in STAGES:
            values = np.asarray(self.seconds[stage])[skip:]
            if values.size:
                median, p95, p99 = np.percentile(values, (50, 95, 99)) * 1e3
                out[stage] = {
                    "median_ms": float(median),
                    "p95_ms": float(p95),
                    "p99_ms": float(p99),
                    "total_s": float(values.sum()),
                    "frames": float(values.size),
                }
        return out

    def tracking_fps(self, skip: int = 0) -> float:
        """Return frames per second of the tracker alone: the mean over all frames, reading and drawing left out."""
        frames = len(self.seconds["search"]) - skip
        seconds = sum(float(np.asarray(self.seconds[stage])[skip:].sum()) for stage in TRACKING)
        return frames / seconds if seconds > 0 else 0.0
