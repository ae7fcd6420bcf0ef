"""Where a frame's microseconds go on a device, and how far that is from what launches, copies and arithmetic allow.

    python -m trk.bench.gpu_profile --bundle model.trk --device cuda --json profile.json

Limits are measured first: an empty launch, copies of the sizes a frame needs, the device's memory, matrix products.
Then PyTorch's profiler watches the backend torch for a few frames. Not executed on a GPU yet; on a CPU the same code
runs with the CPU's clock.
"""

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch

from ..engine.backends.events import HostMarks, Marks, TorchMarks
from ..engine.bundle import Bundle
from ..engine.tracker import Tracker
from ..errors import BackendError, TrkError
from .device import cuda_versions, gpus
from .gpu_numerics import sample_clip
from .machine import machine, versions
from .speed import Clip
from .store import write_bytes

REPEATS = 30
FRAME_BYTES = 1280 * 720 * 3
CROP_BYTES = 255 * 255 * 3
MOST_KERNELS = 25


def limits(device: str, side: int = 4096, megabytes: int = 256) -> dict[str, float]:
    """Return what the device can do at best: microseconds of launches and copies, GB/s, TFLOP/s."""
    on_gpu = device == "cuda"
    marks: Marks = TorchMarks(torch) if on_gpu else HostMarks()
    few = torch.zeros(8, device=device)
    large = torch.zeros(megabytes * 2**20 // 4, device=device)
    other = torch.empty_like(large)
    found = {"launch_us": 1e6 * _fastest(marks, lambda: few.add_(1))}
    seconds = _fastest(marks, lambda: other.copy_(large))
    found["device_copy_gb_s"] = 2 * large.nbytes / seconds / 1e9
    for name, size in (("crop", CROP_BYTES), ("frame_720p", FRAME_BYTES)):
        host = torch.zeros(size, dtype=torch.uint8)
        host = host.pin_memory() if on_gpu else host
        there = torch.zeros(size, dtype=torch.uint8, device=device)
        found[f"upload_{name}_us"] = 1e6 * _fastest(marks, partial(there.copy_, host, non_blocking=True))
    found["round_trip_us"] = 1e6 * _round_trip(few)
    before = torch.backends.cuda.matmul.allow_tf32
    for name, dtype, tf32 in (
        ("fp32", torch.float32, False),
        ("tf32", torch.float32, True),
        ("fp16", torch.half, False),
    ):
        if not on_gpu and name != "fp32":
            continue
        torch.backends.cuda.matmul.allow_tf32 = tf32
        a = torch.randn(side, side, device=device).to(dtype)
        found[f"gemm_{name}_tflops"] = 2 * side**3 / _fastest(marks, partial(torch.matmul, a, a)) / 1e12
    torch.backends.cuda.matmul.allow_tf32 = before
    if on_gpu:
        found["graph_us"] = 1e6 * _graph(few)
    return {name: round(value, 3) for name, value in found.items()}


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
    """Return the microseconds that a frame's arithmetic and weights take at the measured limits, whichever kernel."""
    precision = "fp16" if bundle.manifest.precision == "fp16" and "gemm_fp16_tflops" in best else "fp32"
    gflop = bundle.manifest.cost.get("search_gflop", 0.0)
    weights = sum(file.bytes for file in bundle.manifest.files if file.name != "template.onnx")
    return {
        "arithmetic_us": round(gflop / best[f"gemm_{precision}_tflops"] * 1e3, 2),
        "weights_us": round(weights / best["device_copy_gb_s"] / 1e3, 2),
        "gflop": round(gflop, 3),
        "weight_bytes": float(weights),
    }


def _fastest(marks: Marks, work: Callable[[], object]) -> float:
    """Return the seconds of the fastest of REPEATS, by the device's clock."""
    for _ in range(3):
        work()
    marks.mark()
    for _ in range(REPEATS):
        work()
        marks.mark()
    return max(min(marks.seconds()), 1e-9)


def _round_trip(few: torch.Tensor) -> float:
    """Return the seconds from a launch until its eight numbers are in host memory, by the host's clock."""
    seconds = []
    for _ in range(REPEATS):
        began = perf_counter()
        few.add_(1).cpu()
        seconds.append(perf_counter() - began)
    return min(seconds)


def _graph(few: torch.Tensor) -> float:
    """Return the seconds of a captured graph of one kernel, launched and waited for."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        few.add_(1)
    seconds = []
    for _ in range(REPEATS):
        torch.cuda.synchronize()
        began = perf_counter()
        graph.replay()
        torch.cuda.synchronize()
        seconds.append(perf_counter() - began)
    return min(seconds)


def measure(paths: Sequence[Path], device: str, small: bool) -> dict[str, Any]:
    """Return limits and profiles of the bundles at `paths`. Raises BackendError where there is no such device."""
    if device == "cuda" and not torch.cuda.is_available():
        raise BackendError("this PyTorch sees no GPU: install a driver and a CUDA build of PyTorch, or --device cpu")
    best = limits(device, *((256, 4) if small else ()))
    told: dict[str, Any] = {"machine": machine(), "gpus": gpus(), "versions": {**versions(), **cuda_versions()}}
    clip, rows = sample_clip(8 if small else 24), []
    for path in paths:
        bundle = Bundle(path)
        tracker = Tracker(bundle, "torch", device, 1 if device == "cpu" else None)
        rows.append({"bundle": path.name, **profile(tracker, clip), "floor": floor(bundle, best)})
        bundle.close()
    return {**told, "limits": best, "profiles": rows}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the heads of it, write the JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m trk.bench.gpu_profile", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--bundle", type=Path, action="append", required=True)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--small", action="store_true", help="Small matrices and few frames: to try the command.")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    try:
        found = measure(options.bundle, options.device, options.small)
    except TrkError as error:
        print(f"gpu_profile: {error}", file=sys.stderr)
        return 2
    print(", ".join(f"{name} {value:g}" for name, value in found["limits"].items()))
    for row in found["profiles"]:
        least = row["floor"]
        print(
            f"{row['bundle']}: {row['wall_us']:g} us a frame, the device busy for {row['busy_us']:g} in "
            f"{row['launches']:g} kernels; arithmetic alone {least['arithmetic_us']:g}, weights {least['weights_us']:g}"
        )
        for one in row["kernels"][:8]:
            print(f"  {one['us']:8.1f} us  {one['count']:5.1f} x  {one['name'][:90]}")
    if options.json:
        write_bytes(options.json, (json.dumps(found, indent=1) + "\n").encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
