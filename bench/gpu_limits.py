"""What a device can do at best, whichever network: launches, captured graphs, copies, waits, matrix products.

    python -m trk.bench.gpu_limits --device cuda --json limits.json

On a CPU the same code runs with the CPU's clock, as far as there is something to measure.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from ..errors import TrkError
from .device import cuda_versions, gpus, torch_with_gpu
from .machine import machine, versions
from .store import write_bytes

REPEATS = 30
LAUNCHES = 500
NODES = 200
UPLOADS = {"64k": 64 << 10, "256k": 256 << 10, "2700k": 1280 * 720 * 3}
"""A crop, a window, a frame of 720 rows."""
ANSWER_BYTES = 64


def limits(device: str, side: int = 4096, megabytes: int = 256) -> Iterator[tuple[str, float]]:
    """Yield name and value, one after the other: microseconds of the fastest of REPEATS, GB/s, TFLOP/s."""
    on_gpu = device == "cuda"
    fastest = _by_events if on_gpu else _by_host
    few = torch.zeros(16, device=device)
    yield "launch_us", _each(partial(few.add_, 1), on_gpu)
    if on_gpu:
        graph = _captured(few)
        yield "graph_200_us", 1e6 * fastest(graph.replay)
        yield "graph_200_waited_for_us", 1e6 * _waited(graph.replay, on_gpu)
    yield "launch_waited_for_us", 1e6 * _waited(partial(few.add_, 1), on_gpu)
    yield "sync_us", 1e6 * _waited(lambda: None, on_gpu)
    for name, size in UPLOADS.items():
        host, there = _pinned(size, on_gpu), torch.empty(size, dtype=torch.uint8, device=device)
        copy = partial(there.copy_, host, non_blocking=True)
        yield f"upload_{name}_us", 1e6 * fastest(copy)
        yield f"upload_{name}_waited_for_us", 1e6 * _waited(copy, on_gpu)
    host, there = _pinned(ANSWER_BYTES, on_gpu), torch.empty(ANSWER_BYTES, dtype=torch.uint8, device=device)
    copy = partial(host.copy_, there, non_blocking=True)
    yield "download_64b_us", 1e6 * fastest(copy)
    yield "download_64b_waited_for_us", 1e6 * _waited(copy, on_gpu)
    large = torch.zeros(megabytes * 2**20 // 4, device=device)
    other = torch.empty_like(large)
    yield "device_copy_gb_s", 2 * large.nbytes / fastest(partial(other.copy_, large)) / 1e9
    yield from _products(device, side, fastest)


def _products(device: str, side: int, fastest: Callable[[Callable[[], object]], float]) -> Iterator[tuple[str, float]]:
    before = torch.backends.cuda.matmul.allow_tf32
    kinds = {"fp16": (torch.half, False), "tf32": (torch.float32, True), "fp32": (torch.float32, False)}
    try:
        for name, (dtype, tf32) in kinds.items():
            if device == "cpu" and name != "fp32":
                continue
            torch.backends.cuda.matmul.allow_tf32 = tf32
            a = torch.randn(side, side, device=device).to(dtype)
            yield f"gemm_{name}_tflops", 2 * side**3 / fastest(partial(torch.matmul, a, a)) / 1e12
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def _pinned(size: int, on_gpu: bool) -> torch.Tensor:
    host = torch.zeros(size, dtype=torch.uint8)
    return host.pin_memory() if on_gpu else host


def _captured(few: torch.Tensor) -> Any:
    """Return a graph of NODES kernels that do next to nothing."""
    few.add_(1)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(NODES):
            few.add_(1)
    return graph


def _by_events(work: Callable[[], object]) -> float:
    """Return the seconds of the fastest of REPEATS by the device's clock."""
    for _ in range(3):
        work()
    new: Any = torch.cuda.Event
    events = [new(enable_timing=True) for _ in range(REPEATS + 1)]
    events[0].record()
    for event in events[1:]:
        work()
        event.record()
    events[-1].synchronize()
    fastest = min(float(before.elapsed_time(after)) for before, after in pairwise(events))
    return max(1e-3 * fastest, 1e-9)


def _by_host(work: Callable[[], object]) -> float:
    """Return the seconds of the fastest of REPEATS by the host's clock."""
    return _waited(work, on_gpu=False)


def _waited(work: Callable[[], object], on_gpu: bool) -> float:
    """Return the seconds of the fastest of REPEATS from the call until the stream has done it, by the host's clock."""
    wait = torch.cuda.current_stream().synchronize if on_gpu else lambda: None
    seconds = []
    for _ in range(REPEATS + 3):
        wait()
        began = perf_counter()
        work()
        wait()
        seconds.append(perf_counter() - began)
    return max(min(seconds), 1e-9)


def _each(work: Callable[[], object], on_gpu: bool) -> float:
    """Return the microseconds of one of LAUNCHES that nobody waits for in between."""

    def many() -> None:
        for _ in range(LAUNCHES):
            work()

    return 1e6 * _waited(many, on_gpu) / LAUNCHES


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; print and write each value as soon as it is known."""
    parser = argparse.ArgumentParser(
        prog="python -m trk.bench.gpu_limits", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--small", action="store_true", help="Small matrices: to try the command.")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    try:
        if options.device == "cuda":
            torch_with_gpu("--device cpu")
        best: dict[str, float] = {}
        told = {"machine": machine(), "gpus": gpus(), "versions": {**versions(), **cuda_versions()}, "limits": best}
        for name, value in limits(options.device, *((256, 4) if options.small else ())):
            best[name] = round(value, 3)
            print(f"{name} {best[name]:g}", flush=True)
            if options.json:
                write_bytes(options.json, (json.dumps(told, indent=1) + "\n").encode())
    except TrkError as error:
        print(f"gpu_limits: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
