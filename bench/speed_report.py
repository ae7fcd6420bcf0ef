"""A speed measurement as plain data: what was run on what, how long it took, and what is inside each figure."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from hashlib import sha256
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..engine.bundle import Bundle
from ..models.published import speeds
from .device import cuda_versions, gpus, moment
from .gemm import Gemm
from .machine import load_average, machine, versions
from .speed import SETTLE, Clip, Entry, Measured, Outcome, Ratio, agreement, overlaps, pairs, ratio
from .stages import TRACKING

SCHEMA_VERSION = 3
INSIDE = {
    "total": "crop + search + host of one frame; decoding, drawing and writing are in no figure",
    "crop": "cutting the search crop out of the frame and resizing it (upstream-style: and its conversion to float32)",
    "search": "the network (in a bundle: with conversion, decoding, penalties and choice; upstream-style: alone)",
    "cpu": "processor time of one frame, all threads together: more than the total where threads wait by spinning",
    "host": "everything else (upstream-style: with decoding, penalties and choice, in NumPy)",
    "fps": "1 / median of total: what one video runs at. target_fps is that times the targets followed at once",
    "cold": "in a process of its own, after loading: taking the target, the first frame, and the second",
    "device": "milliseconds by the device's own clock in a run apart from the others, cut into upload of crop and "
    "numbers, network, and download of the answer; a frame of `total` launches them as one",
    "published": "frames per second in a paper or repository, on its hardware, and ours divided by it",
    "gflop": "two operations for each multiply-add of the search branch, counted at export; a peer's is not known",
    "gflops": "gflop / median of search: what lies in search besides multiplications counts against it",
    "share_of_gemm_peak": "gflops over the fastest product of two 1024x1024 float32 matrices in ONNX Runtime on as "
    "many threads, measured in turn with the rest; INT8 can exceed 1",
    "footprint": "in a process of its own: start_s from the command to the first box (Python's own start, import_s, "
    "load_s, first_s), memory_mib resident after tracking, peak_mib at most, bare_mib before anything was opened; "
    "device_mib: what the GPUs' memory in use grew by; copied_bytes: what the host writes for a frame (crop, visible "
    "part of a crop over the border, numbers in and out)",
    "mean_overlap": "with the ground truth of the clip, where there is one, in the first round",
    "peer": "a tracker that doesn't tell its parts: crop, network and everything else in one figure",
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


def published_speeds(bundle: Bundle) -> list[dict[str, Any]]:
    """Return the speeds that were published of the model of `bundle`: frames per second, hardware, source."""
    found = speeds(bundle.manifest.model, bundle.manifest.variant)
    return [{"fps": one.value, "hardware": one.hardware, "source": one.source} for one in found]


def describe(seconds: NDArray[np.float64]) -> dict[str, float]:
    """Return median, quartiles, tail and mean of `seconds`, in milliseconds."""
    q1, median, q3, p95, p99 = np.percentile(seconds, (25, 50, 75, 95, 99)) * 1e3
    values = {"median_ms": median, "q1_ms": q1, "q3_ms": q3, "p95_ms": p95, "p99_ms": p99}
    return {name: round(float(value), 4) for name, value in {**values, "mean_ms": seconds.mean() * 1e3}.items()}


class Beside(NamedTuple):
    """What was measured besides time per frame."""

    gemm: Gemm
    footprints: Mapping[int, dict[str, float | None]]
    """By position of the entry: medians of its starts."""
    gpus: list[dict[str, Any]] = []
    """As they were before."""
    device: Mapping[int, Mapping[str, Any]] = {}
    """By position of the entry: what the device's clock said of its parts."""
    published: Mapping[str, Sequence[Mapping[str, Any]]] = {}
    """By name of the bundle: speeds that were published of its model."""


def medians(found: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    """Return the median of each figure of several starts; None where it is not known."""
    out: dict[str, float | None] = {"starts": len(found)}
    for name in found[0]:
        values = [value for one in found if (value := one[name]) is not None]
        out[name] = round(float(np.median(values)), 4) if values else None
    return out


def report(
    outcome: Outcome,
    against: Sequence[str],
    command: str,
    load_before: list[float] | None,
    beside: Beside,
    baseline: Entry | None = None,
) -> dict[str, Any]:
    """Return the whole measurement, ready for JSON."""
    measured, clip, plan = outcome
    height, width = clip.frames[0].shape[:2]
    base = next((item for item in measured if baseline and item.entry is baseline), None)
    return {
        "schema_version": SCHEMA_VERSION,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": command,
        "machine": machine(),
        "gpus": beside.gpus,
        "gpus_after": moment(gpus()) if beside.gpus else [],
        "gemm_gflops": {
            str(count): {"peak": round(max(rates), 1), "median": round(float(np.median(rates)), 1)}
            for count, rates in beside.gemm.rates.items()
            if rates
        },
        "load_average": {"before": load_before, "after": load_average()},
        "versions": {**versions(), **cuda_versions()},
        "clip": {"name": clip.name, "frames": len(clip.frames) - 1, "size": [width, height], "init": list(clip.box)},
        "plan": {
            "warmup_frames": plan.warmup,
            "rounds": plan.rounds,
            "block_frames": plan.block,
            "uncounted_frames_a_block": SETTLE,
            "order": "every block goes to all entries in turn, in a seeded random order",
        },
        "inside": INSIDE,
        "entries": [_entry(item, clip, beside, number) for number, item in enumerate(measured) if not item.failed],
        "failed": [{**_name(item.entry), "why": item.failed} for item in measured if item.failed],
        "ratios": [_ratio(slow, fast) for slow, fast in pairs(measured, against)],
        "baseline": None if base is None or base.failed else _baseline(base, measured),
    }


def _name(entry: Entry) -> dict[str, Any]:
    return {"bundle": entry.label, "how": entry.how, "threads": entry.threads, "targets": entry.targets}


def _entry(item: Measured, clip: Clip, beside: Beside, number: int) -> dict[str, Any]:
    total, entry = item.total(), item.entry
    parts = {stage: describe(np.concatenate(item.seconds(stage))) for stage in TRACKING}
    truth = None if clip.truth is None else overlaps(item.boxes, clip.truth[1:])
    return {
        **_name(entry),
        "about": entry.about,
        "frames": int(total.size),
        "fps": round(1 / float(np.median(total)), 3),
        "mean_fps": round(1 / float(total.mean()), 3),
        "target_fps": round(entry.targets / float(np.median(total)), 3),
        "total": describe(total),
        **(parts if entry.has_parts else dict.fromkeys(TRACKING)),
        "cpu": describe(np.concatenate(item.cpu_seconds())),
        "round_median_ms": [round(float(np.median(times)) * 1e3, 4) for times in item.seconds(*TRACKING)],
        **_rate(entry, parts["search"]["median_ms"], beside.gemm),
        "footprint": beside.footprints.get(number),
        "device": beside.device.get(number),
        "published": [
            {**one, "times": round(1 / float(np.median(total)) / one["fps"], 3)}
            for one in (beside.published.get(entry.label, ()) if entry.targets == 1 else ())
        ],
        "mean_overlap": None if truth is None else round(truth, 4),
    }


def _rate(entry: Entry, search_ms: float, gemm: Gemm) -> dict[str, Any]:
    """Return GFLOP per frame, GFLOP/s while searching, and their share of the machine's peak on as many threads."""
    gflop, peak = entry.about.get("search_gflop"), gemm.peak(entry.threads)
    if not gflop or not entry.has_parts:
        return {"gflop": None, "gflops": None, "share_of_gemm_peak": None}
    gflop *= entry.targets
    rate = gflop / search_ms * 1e3
    on_cpu = entry.about.get("device", "cpu") == "cpu"
    share = round(rate / peak, 4) if peak and on_cpu else None
    return {"gflop": round(gflop, 4), "gflops": round(rate, 2), "share_of_gemm_peak": share}


def _baseline(base: Measured, measured: Sequence[Measured]) -> dict[str, Any]:
    """Return how many times as fast as `base` every entry is, round by round, and how far their boxes overlap."""
    rows = []
    for item in measured:
        if item.failed or item is base:
            continue
        same = overlaps(item.boxes, base.boxes)
        rows.append(
            {
                **_name(item.entry),
                "total": _spread(ratio(base.seconds(*TRACKING), item.seconds(*TRACKING))),
                "cpu": _spread(ratio(base.cpu_seconds(), item.cpu_seconds())),
                "overlap_of_boxes": None if same is None else round(same, 4),
            }
        )
    return {**_name(base.entry), "times_as_fast": rows}


def _ratio(slow: Measured, fast: Measured) -> dict[str, Any]:
    boxes = agreement(slow, fast)
    same = overlaps(slow.boxes, fast.boxes)
    parts = slow.entry.has_parts and fast.entry.has_parts
    return {
        "bundle": fast.entry.label,
        "threads": fast.entry.threads,
        "targets": fast.entry.targets,
        "slow": slow.entry.how,
        "fast": fast.entry.how,
        "total": _spread(ratio(slow.seconds(*TRACKING), fast.seconds(*TRACKING))),
        "search": _spread(ratio(slow.seconds("search"), fast.seconds("search"))) if parts else None,
        "crop_and_host": _spread(ratio(slow.seconds("crop", "host"), fast.seconds("crop", "host"))) if parts else None,
        "cpu": _spread(ratio(slow.cpu_seconds(), fast.cpu_seconds())),
        "boxes": {
            "frames_compared": boxes.frames,
            "largest_difference_px": round(boxes.largest, 6),
            "parted_by_rounding_at_frame": boxes.parted,
            "meant_to_be_equal": all(_is_exact(item.entry) for item in (slow, fast)),
            "overlap": None if same is None else round(same, 4),
        },
    }


def _is_exact(entry: Entry) -> bool:
    """Whether its boxes should be those of the same network in float32."""
    return entry.same_boxes and entry.about.get("precision", "fp32") == "fp32"


def _spread(found: Ratio) -> dict[str, Any]:
    values = [round(value, 4) for value in found.rounds]
    q1, median, q3 = (round(float(value), 4) for value in np.percentile(found.rounds, (25, 50, 75)))
    return {"median": median, "q1": q1, "q3": q3, "min": min(values), "max": max(values), "rounds": values}
