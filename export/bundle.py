"""`export_bundle`: a row of the registry and weights become a bundle."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ..engine.geometry import Geometry
from ..engine.manifest import SCHEMA_VERSION, Graph, Manifest, Parity, Search, Weights
from ..engine.manifest import Tensor as TensorInfo
from ..errors import ModelError
from ..models.network import SiameseNet
from ..models.row import Row
from . import reference
from .graphs import SearchGraph, TemplateGraph, _image
from .onnx_graph import OPSET, to_onnx, without_outputs
from .random_weights import randomise
from .share import shared_weights
from .verify import Agreement, arrays, compare_step, run
from .write import check_target, file_entries, write_bundle

Report = Callable[[str], None]
_MAP_PREFIX = "map_"


@dataclass
class _Case:
    """A graph with the tensors it is traced and checked on."""

    file: str
    module: torch.nn.Module
    inputs: dict[str, Tensor]
    outputs: list[str]
    model: onnx.ModelProto | None = None


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
    report: Report = lambda _: None,
) -> Manifest:
    """Write the bundle of `row` to `out` and return its manifest.

    `net` holds the weights that `weights` describes; None makes random ones from `seed`. `preset` and `params` choose
    the defaults of the hyper-parameters. `maps` leaves the raw maps among the search graph's outputs. `report` is
    called with a line per step. Raises ExportError where the graphs disagree with PyTorch, and leaves nothing behind.
    """
    check_target(out)
    chosen = _preset(row, preset)
    values = {**row.params, **row.presets[chosen].params, **_known(row, params or {})} if row.presets else dict(row.params)
    geometry = Geometry.model_validate(row.geometry)
    searches = _searches(row, chosen)
    template_crop, template_size, found = reference.crops(geometry, searches, values.get("scale_step", 1.0))
    net = (net or row.build()).eval()
    if weights is None:
        image = _image(found[0][0], row.channels)
        randomise(net, seed, _image(template_crop, row.channels), template_size, image)
        weights = Weights(origin="random", seed=seed, licence="none: random numbers", notice="tracks nothing")

    report(f"tracing {row.name}")
    fused = net.fused().eval()
    agreement = Agreement()
    parameter_values = torch.tensor(list(values.values()), dtype=torch.float32)
    with torch.no_grad():
        case = _template_case(fused, row, template_crop, template_size)
        template_flops = _flops(case)
        template = to_onnx(case.module, tuple(case.inputs.values()), list(case.inputs), case.outputs)
        reference_kernels = TemplateGraph(net, row.channels)(*case.inputs.values())
        kernels = run(template, arrays(case.inputs))
        for name, expected in arrays(dict(zip(case.outputs, case.module(*case.inputs.values()), strict=True))).items():
            agreement.compare_scaled(name, kernels[name], expected)

        graphs, search_flops = [], []
        for search, (crop, size) in zip(searches, found, strict=True):
            report(f"tracing the search branch at {search.size} px")
            expected_maps = net.search(_image(crop, row.channels), *reference_kernels)
            step = row.step(expected_maps[0].shape[-1], search.size).eval()
            inputs = {"crop": crop, "size": size, "params": parameter_values}
            inputs |= {name: torch.from_numpy(np.array(kernels[name])) for name in fused.kernel_names}
            map_names = [_MAP_PREFIX + name for name in fused.map_names]
            case = _Case(
                search.file,
                SearchGraph(fused, step, row.channels).eval(),
                inputs,
                ["box", "score", "best", *map_names],
            )
            search_flops.append(_flops(case))
            model = to_onnx(case.module, tuple(inputs.values()), list(inputs), case.outputs)
            outputs = run(model, arrays(inputs))
            suffix = "" if len(searches) == 1 else f"@{search.size}"
            for name, expected in zip(map_names, expected_maps, strict=True):
                agreement.compare_scaled(name + suffix, outputs[name], expected.numpy())
            compare_step(agreement, step, [outputs[name] for name in map_names], outputs, size, parameter_values)
            graphs.append(model if maps else without_outputs(model, map_names))
    agreement.require()

    models = {"template.onnx": template, **{s.file: graph for s, graph in zip(searches, graphs, strict=True)}}
    files = shared_weights(models) if len(graphs) > 1 else {name: m.SerializeToString() for name, m in models.items()}
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        model=row.model,
        variant=row.variant,
        title=row.title,
        paper=row.paper,
        source=row.source,
        family=row.family,
        precision="fp32",
        opset=OPSET,
        geometry=geometry,
        template=_graph("template.onnx", template),
        searches=tuple(
            search.model_copy(update=dict(_graph(search.file, graph)))
            for search, graph in zip(searches, graphs, strict=True)
        ),
        params=values,
        presets={name: dict(p.params) for name, p in row.presets.items() if p.search_size in (None, searches[0].size)},
        preset=chosen,
        weights=weights,
        parity=Parity(
            crop=f"{reference.PICTURE.name}, PyTorch unfused against ONNX Runtime on the CPU",
            outputs=agreement.differences,
            limits=agreement.limits,
        ),
        cost={
            "parameters": float(sum(p.numel() for p in net.parameters())),
            "template_gflop": template_flops / 1e9,
            "search_gflop": search_flops[0] / 1e9,
        },
        versions={
            "trk": version("trk-engine"),
            "python": sys.version.split()[0],
            **{name: version(name) for name in ("torch", "onnx", "onnxruntime", "numpy")},
        },
        files=file_entries(files),
    )
    report(f"writing {out}")
    write_bundle(out, manifest, files)
    return manifest


def _preset(row: Row, name: str | None) -> str:
    if name is None:
        return row.preset
    if name not in row.presets:
        raise ModelError(f"{row.name} has no preset {name!r}: it has {', '.join(row.presets)}")
    return name


def _known(row: Row, params: Mapping[str, float]) -> Mapping[str, float]:
    for name in params:
        if name not in row.params:
            raise ModelError(f"{row.name} has no parameter {name!r}: it has {', '.join(row.params)}")
    return params


def _searches(row: Row, preset: str) -> tuple[Search, ...]:
    """The search graphs of a row, still without their inputs and outputs."""
    other = row.presets[preset].search_size if row.presets else None
    out = []
    for number, search in enumerate(row.searches):
        size = other if other is not None and number == 0 else search.size
        name = "search.onnx" if number == 0 else f"search_{search.when}.onnx"
        out.append(
            Search(file=name, inputs=(), outputs=(), size=size, when=search.when, params=dict(search.params))  # type: ignore[arg-type]
        )
    return tuple(out)


def _template_case(net: SiameseNet, row: Row, crop: Tensor, size: Tensor) -> _Case:
    inputs = {"crop": crop, **({"size": size} if net.template_takes_size else {})}
    return _Case("template.onnx", TemplateGraph(net, row.channels).eval(), inputs, list(net.kernel_names))


def _flops(case: _Case) -> float:
    with FlopCounterMode(display=False) as counter:
        case.module(*case.inputs.values())
    return float(counter.get_total_flops())


def _graph(file: str, model: onnx.ModelProto) -> Graph:
    return Graph(
        file=file,
        inputs=tuple(_info(value) for value in model.graph.input),
        outputs=tuple(_info(value) for value in model.graph.output),
    )


def _info(value: Any) -> TensorInfo:
    kind = value.type.tensor_type
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)).name
    shape = tuple(dim.dim_value for dim in kind.shape.dim)
    return TensorInfo.model_validate({"name": value.name, "dtype": dtype, "shape": shape})
