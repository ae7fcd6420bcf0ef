"""What each piece of work on the search graph brings in ONNX Runtime on this CPU, one thread.

    python -m trk.bench.graph_work --model siamrpnpp --variant alexnet --targets 2 --targets 4

The network as upstream wires it, fused, and with its channels filled up; settings of the runtime one by one; several
targets in one run; and how long a graph takes to load as it is and as the runtime saved it. Random weights, since speed
does not depend on training. Ways take turns; processor time is counted. Its tables are in bench/NOTES.md.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory
from time import process_time
from typing import Any, NamedTuple

import onnx
import onnxruntime
import torch
from torch import Tensor

from ..engine.geometry import Geometry
from ..export.bundle import searches_of
from ..export.graphs import SearchGraph, image
from ..export.onnx_graph import MAP_PREFIX, to_onnx, without_outputs
from ..export.random_weights import randomise
from ..export.reference import Crops, reference_crops
from ..export.widen import widened
from ..export.winograd import by_winograd
from ..models.network import SiameseNet
from ..models.registry import find
from ..models.row import Row
from .correlation import times

OUTPUTS = ("box", "score", "best")
SETTINGS: Mapping[str, Callable[[Any], None]] = {
    "memory pattern off": lambda options: setattr(options, "enable_mem_pattern", False),
    "arena off": lambda options: setattr(options, "enable_cpu_mem_arena", False),
    "denormals as zero": lambda options: options.add_session_config_entry("session.set_denormal_as_zero", "1"),
    "no blocked layout": lambda options: setattr(
        options, "graph_optimization_level", onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    ),
}
"""What ONNX Runtime can be told otherwise than the engine does."""


class Way(NamedTuple):
    """One way to run a search, ready to run."""

    what: str
    session: Any
    feeds: dict[str, Any]
    targets: int = 1


def ways(row: Row, seed: int, targets: Sequence[int]) -> tuple[list[Way], onnx.ModelProto]:
    """Return all ways to run the search of `row`, that of the engine first, and the engine's graph."""
    geometry, searches = Geometry.model_validate(row.geometry_for(row.preset)), searches_of(row, row.preset)
    crops = reference_crops(geometry, searches, row.params.get("scale_step", 1.0))
    net = row.build().eval()
    randomise(net, seed, crops, row.channels)
    fused = net.fused().eval()
    plain, feeds_plain = _graph(net, row, crops)
    merged, feeds = _graph(fused, row, crops)
    ours = widened(merged)
    engines = ours.SerializeToString()
    graphs = {"channels not filled up": (merged, feeds), "nor fused: as upstream wires it": (plain, feeds_plain)}
    found = [Way("the engine's", _session(engines), feeds)]
    found += [
        Way(what, _session(graph.SerializeToString()), fed)
        for what, (graph, fed) in graphs.items()
        if graph is not ours
    ]
    winograd = by_winograd(ours)
    if winograd is not ours:
        found.append(Way("Winograd", _session(winograd.SerializeToString()), feeds))
    found += [Way(what, _session(engines, change), feeds) for what, change in SETTINGS.items()]
    for number in targets:
        graph, fed = _graph(fused, row, crops, number)
        found.append(
            Way(f"{number} targets in one run, for each", _session(widened(graph).SerializeToString()), fed, number)
        )
    return found, ours


@torch.no_grad()
def _graph(net: SiameseNet, row: Row, crops: Crops, targets: int = 1) -> tuple[onnx.ModelProto, dict[str, Any]]:
    crop, size = crops.searches[0]
    kernels = net.kernels(image(crops.template, row.channels), crops.size)
    side = net.search(image(crop, row.channels), *kernels)[0].shape[-1]
    inputs: dict[str, Tensor] = {"crop": crop, "size": size, **dict(zip(net.kernel_names, kernels, strict=True))}
    inputs = {name: torch.cat([values] * targets).contiguous() for name, values in inputs.items()}
    inputs = {"crop": inputs.pop("crop"), "size": inputs.pop("size"), "params": _params(row), **inputs}
    module = SearchGraph(net, row.step(side, crop.shape[1]).eval(), row.channels).eval()
    maps = [MAP_PREFIX + name for name in net.map_names]
    model = to_onnx(module, tuple(inputs.values()), list(inputs), [*OUTPUTS, *maps])
    return without_outputs(model, maps), {name: values.numpy() for name, values in inputs.items()}


def _params(row: Row) -> Tensor:
    return torch.tensor(list(row.params.values()), dtype=torch.float32)


def _as_the_engine(options: Any) -> None:
    """Leave `options` as they are."""


def _session(model: bytes, change: Callable[[Any], None] = _as_the_engine) -> Any:
    """Return `model` loaded for one thread, with the engine's settings (engine/backends/ort_session.py) changed."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    change(options)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def load_times(model: onnx.ModelProto, rounds: int) -> tuple[list[float], list[float]]:
    """Return milliseconds that loading takes in each round: of `model`, and of what the runtime made of it."""
    with TemporaryDirectory() as folder:
        saved = f"{folder}/saved.onnx"

        def save(options: Any) -> None:
            options.optimized_model_filepath = saved

        def as_it_is(options: Any) -> None:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL

        _session(model.SerializeToString(), save)
        files = (model.SerializeToString(), Path(saved).read_bytes())
    found: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for taken, data, change in zip(found, files, (_as_the_engine, as_it_is), strict=True):
            began = process_time()
            _session(data, change)
            taken.append(1e3 * (process_time() - began))
    return found


def _cells(milliseconds: list[float]) -> tuple[float, str]:
    low, middle, high = quantiles(milliseconds, n=4)
    return middle, f"{middle:.2f} ({low:.2f}-{high:.2f})"


def main(arguments: list[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m trk.bench.graph_work", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", default="siamrpnpp")
    parser.add_argument("--variant")
    parser.add_argument("--targets", type=int, action="append", default=[], help="a run for so many targets, too")
    parser.add_argument("--rounds", type=int, default=15, help="3 or more")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    row = find(options.model, options.variant)
    found, graph = ways(row, options.seed, options.targets)
    print(f"| {row.title} | ms (quartiles) | times as fast |\n|---|---|---|")
    measured = times([(way.session, way.feeds) for way in found], options.rounds)
    base = _cells(measured[0])[0]
    for way, taken in zip(found, measured, strict=True):
        middle, text = _cells([each / way.targets for each in taken])
        print(f"| {way.what} | {text} | {base / middle:.2f} |")
    loaded = [_cells(taken) for taken in load_times(graph, options.rounds)]
    print(
        f"| loading | {loaded[0][1]} | |\n| loading what the runtime saved | {loaded[1][1]} | "
        f"{loaded[0][0] / loaded[1][0]:.2f} |"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
