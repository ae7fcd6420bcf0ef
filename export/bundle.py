"""`export_bundle`: a row of the registry and weights become a bundle."""

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import torch

from .. import __version__
from ..engine.geometry import Geometry
from ..engine.manifest import SCHEMA_VERSION, Batch, Graph, Manifest, Parity, Search, Weights
from ..engine.manifest import Tensor as TensorInfo
from ..engine.params import check_params
from ..errors import ModelError
from ..models.correlation import GROUPED
from ..models.network import SiameseNet
from ..models.row import Row
from .forms import in_form
from .graphs import image
from .onnx_graph import OPSET
from .precision import plan
from .random_weights import randomise
from .reference import PICTURE, Crops, reference_crops, sample_crops
from .share import WEIGHTS, shared_weights
from .trace import Report, Written, trace
from .write import check_target, file_entries, write_bundle

TEMPLATE = "template.onnx"
Precision = Literal["fp32", "fp16"]


def export_bundle(
    row: Row,
    out: Path,
    net: SiameseNet | None = None,
    weights: Weights | None = None,
    *,
    preset: str | None = None,
    params: Mapping[str, float] | None = None,
    maps: bool = False,
    seed: int = 0,
    correlation: str = GROUPED,
    precision: Precision = "fp32",
    targets: Sequence[int] = (),
    winograd: bool = False,
    report: Report = lambda _: None,
) -> Manifest:
    """Write the bundle of `row` to `out`, a folder or a `.trk` file, and return its manifest.

    `net` holds the weights that `weights` describes; without them it gets random ones from `seed`. `preset` and
    `params` choose the defaults of the hyper-parameters. `maps` leaves the raw maps among the search graph's outputs;
    `correlation` is the form that correlations are written in, one of models/correlation_forms.py;
    `precision` the type of the graphs' layers, which for FP16 are chosen by `precision.plan`. `targets`: numbers of
    targets that get search graphs of their own, which search for so many at once. `winograd`: large 3x3 convolutions of
    a search are written by export/winograd.py, for ONNX Runtime on a CPU; FP32 only.
    `report` is called with a line per step. Raises ExportError where the graphs disagree with PyTorch; nothing is left
    behind then.
    """
    check_target(out)
    chosen, values = _hyper_parameters(row, preset, params or {})
    geometry = Geometry.model_validate(row.geometry_for(chosen))
    searches = searches_of(row, chosen)
    scale_step = values.get("scale_step", 1.0)
    crops = reference_crops(geometry, searches, scale_step)
    net = (net or row.build()).eval()
    if weights is None:
        randomise(net, seed, crops, row.channels)
        weights = Weights(origin="random", seed=seed, licence="none: random numbers", notice="tracks nothing")
    net = net.tracked()
    numbers = torch.tensor(list(values.values()), dtype=torch.float32)
    single = in_form(net.fused().eval(), correlation, crops, row.channels)
    written, types = Written(single, single, single), None
    if precision == "fp16":
        report(f"choosing types for {row.name} on crops of the sample clips")
        samples = sample_crops(geometry, searches, scale_step)
        steps = [row.step(_side(net, row, crops, number), s.size).eval() for number, s in enumerate(searches)]
        types = plan(single, steps, samples, numbers, row.channels, trained=weights.origin != "random", report=report)
        written = Written(types.typed(), types.net, types.emulated())
    targets = sorted(set(targets))
    traced = trace(net, written, row, crops, numbers, maps, report, targets, winograd)
    models = {TEMPLATE: traced.template, **{s.file: g for s, g in zip(searches, traced.searches, strict=True)}}
    for search, graphs in zip(searches, traced.batches, strict=True):
        models |= {_batch_file(search.file, number): graph for number, graph in graphs.items()}
    one_each = len(models) == 2
    files = {n: m.SerializeToString() for n, m in models.items()} if one_each else shared_weights(models)
    external = (WEIGHTS,) if WEIGHTS in files else ()
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        model=row.model,
        variant=row.variant,
        title=row.title,
        paper=row.paper,
        source=row.source,
        family=row.family,
        precision=precision,
        half=types.record() if types else None,
        correlation=correlation,
        opset=OPSET,
        geometry=geometry,
        template=Graph.model_validate(_signature(TEMPLATE, traced.template, external)),
        searches=tuple(
            search.model_copy(
                update={
                    **dict(Graph.model_validate(_signature(search.file, graph, external))),
                    "batches": tuple(
                        Batch(targets=number, **_signature(_batch_file(search.file, number), together, external))
                        for number, together in batches.items()
                    ),
                }
            )
            for search, graph, batches in zip(searches, traced.searches, traced.batches, strict=True)
        ),
        template_rate=row.template_rate,
        on_lost=row.on_lost,
        params=values,
        presets={name: {**row.params, **row.presets[name].params} for name in _same_crops(row, chosen)},
        preset=chosen,
        weights=weights,
        parity=Parity(
            crop=f"{PICTURE.name}: PyTorch, nothing folded, against ONNX Runtime on the CPU",
            outputs=traced.agreement.differences,
            limits=traced.agreement.limits,
        ),
        cost={
            "parameters": float(sum(p.numel() for p in net.parameters())),
            "template_gflop": traced.template_flop / 1e9,
            "search_gflop": traced.search_flop / 1e9,
        },
        versions=_versions(),
        files=file_entries(files),
    )
    report(f"writing {out}")
    write_bundle(out, manifest, files)
    return manifest


@torch.no_grad()
def _side(net: SiameseNet, row: Row, crops: Crops, number: int) -> int:
    """Return the side of the maps of search crop `number`."""
    kernels = net.kernels(image(crops.template, row.channels), crops.size)
    return int(net.search(image(crops.searches[number][0], row.channels), *kernels)[0].shape[-1])


def _hyper_parameters(row: Row, preset: str | None, params: Mapping[str, float]) -> tuple[str, dict[str, float]]:
    chosen = row.preset if preset is None else preset
    if chosen not in row.presets:
        raise ModelError(f"{row.name} has no preset {chosen!r}: it has {', '.join(row.presets)}")
    for name in params:
        if name not in row.params:
            raise ModelError(f"{row.name} has no parameter {name!r}: it has {', '.join(row.params)}")
    values = {**row.params, **row.presets[chosen].params, **params}
    check_params(values)
    return chosen, values


def _same_crops(row: Row, chosen: str) -> list[str]:
    """Presets that run on the same graphs as `chosen`: those of the same search sizes and the same geometry."""

    def crops(name: str) -> tuple[Any, Any]:
        return row.searches_for(name), row.geometry_for(name)

    return [name for name in row.presets if crops(name) == crops(chosen)]


def searches_of(row: Row, preset: str) -> tuple[Search, ...]:
    """Return the search graphs of a row, still without their inputs and outputs."""
    return tuple(
        Search.model_validate(
            {
                "file": "search.onnx" if search.when == "always" else f"search_{search.when}.onnx",
                "inputs": (),
                "outputs": (),
                "size": search.size,
                "when": search.when,
                "params": dict(search.params),
            }
        )
        for search in row.searches_for(preset)
    )


def _batch_file(file: str, targets: int) -> str:
    return f"{file.removesuffix('.onnx')}_x{targets}.onnx"


def _versions() -> dict[str, str]:
    """Return the versions of all that made the bundle, as the modules tell them.

    Metadata may be missing, of a bare checkout for one, or be another package's, such as onnxruntime-gpu's.
    """
    modules = {name: import_module(name) for name in ("torch", "onnx", "onnxruntime", "numpy")}
    return {
        "trk": __version__,
        "python": sys.version.split()[0],
        **{name: str(module.__version__) for name, module in modules.items()},
    }


def _signature(file: str, model: onnx.ModelProto, external: tuple[str, ...]) -> dict[str, Any]:
    return {
        "file": file,
        "external": external,
        "inputs": tuple(_info(value) for value in model.graph.input),
        "outputs": tuple(_info(value) for value in model.graph.output),
    }


def _info(value: Any) -> TensorInfo:
    kind = value.type.tensor_type
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)).name
    shape = tuple(dim.dim_value for dim in kind.shape.dim)
    return TensorInfo.model_validate({"name": value.name, "dtype": dtype, "shape": shape})
