"""Ways to run a search graph in PyTorch on a GPU: what its kernels take, alone, and what single operators do.

    python -m trk.bench.gpu_ways --bundle model.trk --json ways.json
    python -m trk.bench.gpu_ways --operators --json operators.json
    python -m trk.bench.gpu_ways --count --bundle model.trk

Each is captured as a CUDA graph and replayed; microseconds by the device's clock, medians. `--count` needs no GPU: it
counts the kernels that torch.compile makes of the graph on this machine. What came of it is in bench/NOTES.md.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch
import torch.nn.functional as F

from ..engine.backends.device.torch import writing
from ..engine.bundle import Bundle
from ..engine.onnx_to_torch.graph import torch_graph
from ..engine.onnx_to_torch.kernels import Activation, depthwise
from ..errors import BackendError, TrkError
from .device import cuda_versions, gpus
from .machine import machine, versions
from .store import write_bytes

REPLAYS, COPIES = 100, 20
WAYS: dict[str, dict[str, Any] | None] = {
    "operators": None,
    "torch.compile": {},
    "torch.compile, conv_1x1_as_mm": {"conv_1x1_as_mm": True},
    "torch.compile, force_layout_optimization": {"force_layout_optimization": True},
}
"""Options of torch.compile's Inductor; None: without it."""
DEPTHWISE = (
    *((32, 127, 3, 1, 1), (132, 127, 3, 2, 1), (200, 63, 3, 1, 1), (264, 31, 3, 1, 1)),
    *((536, 31, 3, 1, 2), (1344, 31, 3, 1, 4), (120, 32, 5, 1, 1), (512, 29, 5, 1, 1)),
)
"""Channels and side of a map; size of the kernel, step and gap: of MobileNetV2, NanoTrack and a correlation."""
POINTWISE = ((16, 96, 127), (144, 32, 64), (32, 192, 32), (192, 64, 32), (576, 96, 32), (256, 256, 29), (1024, 256, 31))
"""Channels in and out, and side."""
SPATIAL = (
    *((256, 256, 31, 3, 1), (128, 128, 32, 3, 1), (512, 512, 31, 3, 2), (96, 256, 60, 5, 0), (384, 384, 24, 3, 0)),
    *((16, 96, 143, 6, 0), (16, 64, 128, 4, 0)),
)
"""Channels in and out, side, size of the kernel, padding: the last are AlexNet's and ResNet's first, packed."""


def captured(work: Callable[[], Any]) -> tuple[Any, Any]:
    """Return `work` as a CUDA graph, and what it returned, which lives in the graph's memory."""
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    with torch.cuda.stream(stream):
        for _ in range(3):
            work()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = work()
    return graph, kept


def microseconds(graph: Any, parts: int = 1) -> float:
    """Return what a replay takes, divided by `parts`."""
    found = []
    for _ in range(REPLAYS):
        before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        before.record()
        graph.replay()
        after.record()
        after.synchronize()
        found.append(before.elapsed_time(after) * 1e3 / parts)
    return round(float(median(found)), 2)


def kernels(graph: Any) -> float:
    """Return how many kernels a replay launches."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        graph.replay()
        torch.cuda.synchronize()
    return float(sum(one.count for one in seen.key_averages() if one.self_device_time_total > 0))


@torch.inference_mode()
def counted(path: Path) -> dict[str, int]:
    """Return the kernels of the search graph of the bundle at `path` as torch.compile writes it for the CPU.

    A library's, the engine's own, and those that it fuses; a GPU launches upload and cut besides.
    """
    from torch._inductor.utils import run_and_get_code

    with closing(Bundle(path)) as bundle:
        search = bundle.manifest.searches[0]
        external = {name: bundle.read(name) for name in search.external}
        module = torch_graph(bundle.read(search.file), "cpu", external, fused=True)
        compiled = torch.compile(writing(module), fullgraph=True, dynamic=False)
        sides = search.inputs, search.outputs
        memory = [[torch.zeros(t.shape, dtype=getattr(torch, t.dtype)) for t in tensors] for tensors in sides]
        _, code = run_and_get_code(compiled, *memory)
    calls = "\n".join(code).partition("def call(")[2]
    kinds = {"library": r"extern_kernels\.|= torch\.ops\.(aten\.|trk\.conv)", "own": r"= torch\.ops\.trk\.depthwise"}
    return {kind: len(re.findall(f, calls, re.M)) for kind, f in {**kinds, "fused": r"^\s+cpp_fused\w*\("}.items()}


@torch.inference_mode()
def graphs(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each of WAYS to run the search graph of the bundle at `path`, and what it takes."""
    with closing(Bundle(path)) as bundle:
        search = bundle.manifest.searches[0]
        external = {name: bundle.read(name) for name in search.external}
        random = torch.Generator().manual_seed(0)
        inputs = [
            (torch.rand(tensor.shape, generator=random) * (255 if tensor.name == "crop" else 1))
            .to(getattr(torch, tensor.dtype))
            .cuda()
            for tensor in search.inputs
        ]
        outputs = [torch.zeros(t.shape, dtype=getattr(torch, t.dtype), device="cuda") for t in search.outputs]
        for name, options in WAYS.items():
            began = perf_counter()
            work = writing(torch_graph(bundle.read(search.file), "cuda", external, fused=options is not None))
            if options is not None:
                work = torch.compile(work, fullgraph=True, dynamic=False, options=options or None)
            graph, _ = captured(partial(work, inputs, outputs))
            ready = round(perf_counter() - began, 1)
            yield name, {"us": microseconds(graph), "kernels": kernels(graph), "ready_s": ready}


@torch.inference_mode()
def operators() -> Iterator[tuple[str, float]]:
    """Yield single convolutions in FP16, weights and maps channels-last, and their microseconds in a graph of many."""

    def map_of(*shape: int) -> Any:
        return torch.randn(*shape, device="cuda", dtype=torch.float16).to(memory_format=torch.channels_last)

    def timed(work: Callable[[], Any]) -> float:
        graph, _ = captured(lambda: [work() for _ in range(COPIES)])
        return microseconds(graph, COPIES)

    tiny = torch.randn(1, 3125, device="cuda")
    yield "product of 3125 numbers", timed(partial(torch.mul, tiny, 2))
    for channels, side, size, step, gap in DEPTHWISE:
        x, w, b = map_of(1, channels, side, side), map_of(channels, 1, size, size), map_of(channels, 1, 1, 1).flatten()
        name = f"depth-wise {size}x{size}, {channels} channels of {side}x{side}, step {step}, gap {gap}"
        yield f"{name}, conv2d", timed(partial(F.conv2d, x, w, None, step, gap * (size // 2), gap, channels))
        maps, weights = x.permute(0, 2, 3, 1), w[:, 0].permute(1, 2, 0).contiguous()
        settings = [step] * 2, [gap] * 2, [gap * (size // 2)] * 4, Activation(0.0, 6.0), Activation(0.0, 6.0)
        yield f"{name}, trk::depthwise", timed(partial(depthwise, maps, weights, b, *settings))
    for before, after, side in POINTWISE:
        yield from _ordinary(timed, map_of, before, after, side, 1, 0)
    for before, after, side, size, padding in SPATIAL:
        yield from _ordinary(timed, map_of, before, after, side, size, padding)


def _ordinary(
    timed: Callable[..., float], map_of: Callable[..., Any], before: int, after: int, side: int, size: int, padding: int
) -> Iterator[tuple[str, float]]:
    x, w, b = map_of(1, before, side, side), map_of(after, before, size, size), map_of(after, 1, 1, 1).flatten()
    name = f"{size}x{size}, {before} to {after} channels of {side}x{side}"
    yield f"{name}, conv2d", timed(partial(F.conv2d, x, w, None, 1, padding))
    yield f"{name}, conv2d with bias", timed(partial(F.conv2d, x, w, b, 1, padding))
    pads = [padding, padding]
    yield (
        f"{name}, cudnn_convolution_relu",
        timed(lambda: torch.cudnn_convolution_relu(x, w, b, [1, 1], pads, [1, 1], 1)),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what each takes as soon as it is known, and write the JSON. 2 where there is no GPU."""
    parser = argparse.ArgumentParser(
        prog="python -m trk.bench.gpu_ways", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--bundle", type=Path, action="append", default=[])
    parser.add_argument("--count", action="store_true", help="Only count kernels, on the CPU.")
    parser.add_argument("--operators", action="store_true", help="Time single convolutions, too.")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    told: dict[str, Any] = {"machine": machine(), "gpus": gpus(), "versions": {**versions(), **cuda_versions()}}
    try:
        for path in options.bundle if options.count else ():
            print(f"{path.name}: {counted(path)} kernels", flush=True)
        if options.count:
            return 0
        if not torch.cuda.is_available():
            raise BackendError("this PyTorch sees no GPU: install a driver and a CUDA build of PyTorch")
        for path in options.bundle:
            for name, found in graphs(path):
                print(f"{path.name}, {name}: {found}", flush=True)
                told.setdefault("networks", {}).setdefault(path.name, {})[name] = found
        for name, us in operators() if options.operators else ():
            print(f"{name}: {us} us", flush=True)
            told.setdefault("operators_us", {})[name] = us
        if options.json:
            write_bytes(options.json, (json.dumps(told, indent=1) + "\n").encode())
    except TrkError as error:
        print(f"gpu_ways: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
