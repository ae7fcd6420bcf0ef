"""A speed measurement as plain data: what was run on what, how long it took, and what is inside each figure."""

from collections.abc import Sequence
from datetime import datetime, timezone
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..engine.bundle import Bundle
from .machine import load_average, machine, versions
from .speed import SETTLE, Clip, Measured, Plan, Ratio, agreement, pairs, ratio
from .stages import TRACKING

SCHEMA_VERSION = 1
INSIDE = {
    "total": "crop + search + host of one frame; decoding, drawing and writing are in no figure",
    "crop": "cutting the search crop out of the frame and resizing it (upstream-style: and its conversion to float32)",
    "search": "the network (in a bundle: with conversion, decoding, penalties and choice; upstream-style: alone)",
    "cpu": "processor time of one frame, all threads together: more than the total where threads wait by spinning",
    "host": "everything else (upstream-style: with decoding, penalties and choice, in NumPy)",
}


def about_bundle(bundle: Bundle) -> dict[str, Any]:
    """Return what tells one bundle from another. The hash is over the hashes of its files."""
    manifest = bundle.manifest
    hashes = "".join(f"{file.name} {file.sha256}\n" for file in sorted(manifest.files, key=lambda file: file.name))
    return {
        "name": bundle.path.name,
        "sha256": sha256(hashes.encode()).hexdigest(),
        "model": manifest.model,
        "variant": manifest.variant,
        "precision": manifest.precision,
        "weights": manifest.weights.origin,
        "search_sizes": [search.size for search in manifest.searches],
        **manifest.cost,
    }


def describe(seconds: NDArray[np.float64]) -> dict[str, float]:
    """Return median, quartiles, tail and mean of `seconds`, in milliseconds."""
    q1, median, q3, p95, p99 = np.percentile(seconds, (25, 50, 75, 95, 99)) * 1e3
    values = {"median_ms": median, "q1_ms": q1, "q3_ms": q3, "p95_ms": p95, "p99_ms": p99}
    return {name: round(float(value), 4) for name, value in {**values, "mean_ms": seconds.mean() * 1e3}.items()}


def report(
    measured: Sequence[Measured],
    clip: Clip,
    plan: Plan,
    against: Sequence[str],
    command: str,
    load_before: list[float] | None,
) -> dict[str, Any]:
    """Return the whole measurement, ready for JSON."""
    height, width = clip.frames[0].shape[:2]
    return {
        "schema_version": SCHEMA_VERSION,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": command,
        "machine": machine(),
        "load_average": {"before": load_before, "after": load_average()},
        "versions": versions(),
        "clip": {"name": clip.name, "frames": len(clip.frames) - 1, "size": [width, height], "init": list(clip.box)},
        "plan": {
            "warmup_frames": plan.warmup,
            "rounds": plan.rounds,
            "block_frames": plan.block,
            "uncounted_frames_a_block": SETTLE,
            "order": "every block goes to all entries in turn, in a seeded random order",
        },
        "inside": INSIDE,
        "entries": [_entry(item) for item in measured],
        "ratios": [_ratio(slow, fast) for slow, fast in pairs(measured, against)],
    }


def _entry(item: Measured) -> dict[str, Any]:
    total = item.total()
    return {
        "bundle": item.entry.label,
        "how": item.entry.how,
        "threads": item.entry.threads,
        "about": item.entry.about,
        "frames": int(total.size),
        "fps": round(1 / float(np.median(total)), 3),
        "mean_fps": round(1 / float(total.mean()), 3),
        "total": describe(total),
        **{stage: describe(np.concatenate(item.seconds(stage))) for stage in TRACKING},
        "cpu": describe(np.concatenate(item.cpu_seconds())),
        "round_median_ms": [round(float(np.median(times)) * 1e3, 4) for times in item.seconds(*TRACKING)],
    }


def _ratio(slow: Measured, fast: Measured) -> dict[str, Any]:
    boxes = agreement(slow, fast)
    return {
        "bundle": fast.entry.label,
        "threads": fast.entry.threads,
        "slow": slow.entry.how,
        "fast": fast.entry.how,
        "total": _spread(ratio(slow.seconds(*TRACKING), fast.seconds(*TRACKING))),
        "search": _spread(ratio(slow.seconds("search"), fast.seconds("search"))),
        "crop_and_host": _spread(ratio(slow.seconds("crop", "host"), fast.seconds("crop", "host"))),
        "cpu": _spread(ratio(slow.cpu_seconds(), fast.cpu_seconds())),
        "boxes": {
            "frames_compared": boxes.frames,
            "largest_difference_px": round(boxes.largest, 6),
            "parted_by_rounding_at_frame": boxes.parted,
        },
    }


def _spread(found: Ratio) -> dict[str, Any]:
    values = [round(value, 4) for value in found.rounds]
    return {"median": round(found.median, 4), "min": min(values), "max": max(values), "rounds": values}
