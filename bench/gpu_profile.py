"""Where a frame's microseconds go on a device, and how far that is from what copies and arithmetic allow.

    python -m trk.bench.gpu_profile --bundle model.trk --device cuda --limits limits.json --json profile.json

PyTorch's profiler watches the backend torch for a few frames. `--limits` is what `gpu_limits` wrote. On a CPU the same
code runs with the CPU's clock.
"""

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from ..engine.bundle import Bundle
from ..engine.tracker import Tracker
from ..errors import TrkError
from .device import cuda_versions, gpus
from .machine import machine, versions
from .speed_clip import Clip, sample_clip
from .store import write_bytes

MOST_KERNELS = 25


def profile(tracker: Tracker, clip: Clip) -> dict[str, Any]:
    """Return what ran in a frame of `tracker` by PyTorch's profiler: kernels, how often, microseconds a frame."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as watch

    on_gpu = tracker.backend.device == "cuda"
    tracker.init(clip.frames[0], clip.box)
    for frame in clip.frames[1:4]:
        tracker.update(frame)
    walls = []
    with watch(activities=[ProfilerActivity.CUDA] if on_gpu else [ProfilerActivity.CPU]) as seen:
        for frame in clip.frames[4:]:
            began = perf_counter()
            tracker.update(frame)
            walls.append(perf_counter() - began)
    frames = len(walls)
    spent: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for event in seen.key_averages():
        # On a GPU the host's calls are told, too, with the time of what they launched: that would count twice.
        if on_gpu and event.device_type.name == "CPU":
            continue
        micros = event.self_device_time_total if on_gpu else event.self_cpu_time_total
        if micros > 0:
            spent[event.key][0] += event.count / frames
            spent[event.key][1] += micros / frames
    order = sorted(spent.items(), key=lambda item: -item[1][1])
    return {
        "frames": frames,
        "wall_us": round(float(np.median(walls)) * 1e6, 1),
        "busy_us": round(sum(micros for _, micros in spent.values()), 1),
        "launches": round(sum(count for count, _ in spent.values()), 1),
        "kernels": [
            {"name": name[:120], "count": round(count, 2), "us": round(micros, 2)}
            for name, (count, micros) in order[:MOST_KERNELS]
        ],
    }


def floor(bundle: Bundle, best: dict[str, float]) -> dict[str, float]:
    """Return the microseconds that a frame's arithmetic and weights take at the measured limits, whichever kernel.

    Without limits: the operations and the bytes alone.
    """
    gflop = bundle.manifest.cost.get("search_gflop", 0.0)
    weights = sum(file.bytes for file in bundle.manifest.files if file.name != "template.onnx")
    found = {"gflop": round(gflop, 3), "weight_bytes": float(weights)}
    half = bundle.manifest.precision == "fp16" and "gemm_fp16_tflops" in best
    rate, bandwidth = best.get(f"gemm_{'fp16' if half else 'fp32'}_tflops"), best.get("device_copy_gb_s")
    if rate and bandwidth:
        found["arithmetic_us"] = round(gflop / rate * 1e3, 2)
        found["weights_us"] = round(weights / bandwidth / 1e3, 2)
    return found


def line(row: dict[str, Any]) -> str:
    """Return a profile in a line."""
    if "why" in row:
        return f"{row['bundle']}: not run: {row['why']}"
    least = row["floor"]
    told = "; no limits were measured"
    if "arithmetic_us" in least:
        told = f"; arithmetic alone {least['arithmetic_us']:g}, weights {least['weights_us']:g}"
    return (
        f"{row['bundle']}: {row['wall_us']:g} us a frame, the device busy for {row['busy_us']:g} in "
        f"{row['launches']:g} kernels{told}"
    )


def profiled(path: Path, device: str, clip: Clip, best: dict[str, float]) -> dict[str, Any]:
    """Return the profile of the bundle at `path`, or why there is none."""
    try:
        bundle = Bundle(path)
        try:
            tracker = Tracker(bundle, "torch", device, 1 if device == "cpu" else None)
            return {"bundle": path.name, **profile(tracker, clip), "floor": floor(bundle, best)}
        finally:
            bundle.close()
    except TrkError as error:
        return {"bundle": path.name, "why": str(error)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print and write the profile of each bundle as soon as it is known. 1 where one has none."""
    parser = argparse.ArgumentParser(
        prog="python -m trk.bench.gpu_profile", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--bundle", type=Path, action="append", required=True)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--small", action="store_true", help="Few frames: to try the command.")
    parser.add_argument("--limits", type=Path, help="What gpu_limits wrote; without it no floor is told in time.")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    rows: list[dict[str, Any]] = []
    try:
        best = json.loads(options.limits.read_text())["limits"] if options.limits and options.limits.is_file() else {}
        clip = sample_clip(8 if options.small else 24)
        told = {"machine": machine(), "gpus": gpus(), "versions": {**versions(), **cuda_versions()}, "profiles": rows}
        for path in options.bundle:
            rows.append(profiled(path, options.device, clip, best))
            print(line(rows[-1]), flush=True)
            for one in rows[-1].get("kernels", ())[:8]:
                print(f"  {one['us']:8.1f} us  {one['count']:5.1f} x  {one['name'][:90]}", flush=True)
            if options.json:
                write_bytes(options.json, (json.dumps(told, indent=1) + "\n").encode())
    except TrkError as error:
        print(f"gpu_profile: {error}", file=sys.stderr)
        return 2
    return 1 if any("why" in row for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
