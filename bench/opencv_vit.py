"""VitTrack's ONNX file, which OpenCV's TrackerVit reads, as a bundle: the same network, with trk around it.

    python -m trk.bench.opencv_vit vitTracker.onnx vit.trk
    trk-eval SEQUENCES --bundle vit.trk --tracker opencv:vit:vitTracker.onnx

The file's graph is taken over as it is, so what differs is the host: crops, window, decoding and clipping are those of
LightFC, which are VitTrack's too. The kernel that the template branch hands over is the normalised crop.

Source: opencv/opencv_zoo pull request 194 (models/object_tracking_vittrack).
"""

import argparse
import sys
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path

import onnx
import torch
from onnx import TensorProto, ValueInfoProto, helper, numpy_helper, version_converter
from torch import Tensor, nn

from .. import __version__
from ..engine.geometry import Geometry
from ..engine.manifest import SCHEMA_VERSION, Graph, Manifest, Parity, Weights
from ..errors import CheckpointError, TrkError
from ..export.bundle import TEMPLATE, searches_of
from ..export.graphs import image
from ..export.onnx_graph import OPSET, check, to_onnx, without_outputs
from ..export.reference import PICTURE, Crops, reference_crops
from ..export.verify import Agreement, arrays, compare_step, run
from ..export.write import check_target, file_entries, write_bundle
from ..models.imagenet import Normalise
from ..models.registry import find

LICENCES = {"ac1418b43519a5118dba03e1db181b5ca83f3a61b76582841ce8a725d8bfa249": "Apache-2.0 (opencv_zoo)"}
"""Of files by their SHA-256: the one in pull request 194."""
UNKNOWN = "not known to trk (opencv_zoo's VitTrack is Apache-2.0)"
INPUTS: Mapping[str, tuple[int, ...]] = {"template": (1, 3, 128, 128), "search": (1, 3, 256, 256)}
MAPS: Mapping[str, tuple[int, ...]] = {"output1": (1, 1, 16, 16), "output2": (1, 2, 16, 16), "output3": (1, 2, 16, 16)}
"""Score, size and offset, as LightFC gives them; float32, as the inputs are."""
KERNEL = "kernel_template"
RESULTS = ("box", "score", "best")


class Picture(nn.Module):
    """What goes before the network."""

    def __init__(self) -> None:
        super().__init__()
        self.normalise = Normalise()

    def forward(self, crop: Tensor) -> Tensor:
        """Return normalised RGB [1, 3, S, S] of `crop` uint8 [1, S, S, 3] BGR."""
        out: Tensor = self.normalise(image(crop, "RGB"))
        return out


def read_network(data: bytes, name: str) -> onnx.ModelProto:
    """Return the network in `data`, the bytes of the file `name`, in operator set 18.

    Raises CheckpointError where it is no ONNX file, or none with VitTrack's inputs and outputs.
    """
    try:
        network = onnx.load_model_from_string(data)
        check(network)
    except Exception as error:  # protobuf raises types of its own
        raise CheckpointError(f"{name} can't be read as an ONNX file: {_first_line(error)}") from None
    graph = network.graph
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]  # exporters may list weights there
    _require(f"inputs of {name}", inputs, INPUTS)
    _require(f"outputs of {name}", graph.output, MAPS)
    del graph.input[:]
    graph.input.extend(inputs)
    try:
        return version_converter.convert_version(network, OPSET)
    except (RuntimeError, ValueError) as error:
        raise CheckpointError(f"{name} can't be brought to operator set {OPSET}: {_first_line(error)}") from None


def _require(what: str, values: Iterable[ValueInfoProto], wanted: Mapping[str, tuple[int, ...]]) -> None:
    """Raise CheckpointError unless `values` are `wanted` float32 ones. Sides without a number may be any."""
    found = {value.name: value.type.tensor_type for value in values}
    if set(found) != set(wanted):
        raise CheckpointError(f"{what} are {', '.join(found) or 'none'}: VitTrack's are {', '.join(wanted)}")
    for name, shape in wanted.items():
        kind = found[name]
        sides = [side.dim_value for side in kind.shape.dim]  # 0: not known
        fits = len(sides) == len(shape) and all(side in (0, fixed) for side, fixed in zip(sides, shape, strict=True))
        if kind.elem_type != TensorProto.FLOAT or (kind.HasField("shape") and not fits):
            seen = f"{TensorProto.DataType.Name(kind.elem_type).lower()} [{', '.join(str(s or '?') for s in sides)}]"
            raise CheckpointError(f"{what}: {name} is {seen}, VitTrack's is float {list(shape)}")


def graphs_of(network: onnx.ModelProto, crops: Crops, step: nn.Module, params: Tensor) -> list[onnx.ModelProto]:
    """Return the template graph, and the search graph that has the network's maps among its outputs.

    `crops` and `params` give the shapes of what goes in; `step` is what follows the network.
    """
    ((crop, size),) = crops.searches
    template = to_onnx(Picture(), (crops.template,), ["crop"], [KERNEL])
    before = to_onnx(Picture(), (crop,), ["crop"], ["search"])
    maps = [torch.zeros(shape) for shape in MAPS.values()]
    after = to_onnx(step, (*maps, size, params), [*MAPS, "size", "params"], RESULTS)
    parts = [_part("crop/", before.graph), _part("vit/", network.graph), _part("step/", after.graph)]
    into = {value.name: value for value in (*before.graph.input, *template.graph.output, *after.graph.input)}
    graph = helper.make_graph(
        [node for part in parts for node in part.node],
        "search",
        [into[name] for name in ("crop", "size", "params", KERNEL)],
        [*after.graph.output, *(into[name] for name in MAPS)],
        [tensor for part in parts for tensor in part.initializer],
    )
    search = helper.make_model(graph, opset_imports=after.opset_import, ir_version=after.ir_version)
    search.producer_name = "trk"
    check(search)
    return [template, search]


def _part(prefix: str, graph: onnx.GraphProto) -> onnx.GraphProto:
    """Return `graph`, its inner values behind `prefix`: inputs and outputs have names by which parts meet."""
    ends = {value.name: value.name for value in (*graph.input, *graph.output)}
    if "template" in ends:
        ends["template"] = KERNEL

    def called(name: str) -> str:
        return ends.get(name, prefix + name) if name else ""  # "": an input that is left out

    part = onnx.GraphProto()
    part.CopyFrom(graph)
    for node in part.node:
        node.name = prefix + node.name
        node.input[:] = [called(name) for name in node.input]
        node.output[:] = [called(name) for name in node.output]
    for tensor in part.initializer:
        tensor.name = called(tensor.name)
    return part


def write_bundle_of(file: Path, out: Path) -> Manifest:
    """Write the bundle that runs the network in `file` to `out` and return its manifest.

    Raises CheckpointError; UsageError where `out` can't be written to; ExportError where the bundle's graphs disagree
    with the file's. Nothing is left behind then.
    """
    check_target(out)
    try:
        data = file.read_bytes()
    except OSError as error:
        raise CheckpointError(f"can't read {file}: {error.strerror or error}") from None
    network, digest = read_network(data, file.name), sha256(data).hexdigest()
    row = find("lightfc")
    geometry, searches = Geometry.model_validate(row.geometry_for(row.preset)), searches_of(row, row.preset)
    crops, params = reference_crops(geometry, searches, 1.0), torch.tensor(list(row.params.values()))
    step = row.step(MAPS["output1"][-1], searches[0].size).eval()
    template, search = graphs_of(network, crops, step, params)
    agreement = _agreement(onnx.load_model_from_string(data), template, search, crops, step, params)
    search = without_outputs(search, list(MAPS))
    files = {TEMPLATE: template.SerializeToString(), searches[0].file: search.SerializeToString()}
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        model="vittrack",
        variant="opencv",
        title="VitTrack (OpenCV)",
        paper="-",
        source="opencv/opencv_zoo:models/object_tracking_vittrack",
        family=row.family,
        precision="fp32",
        opset=OPSET,
        geometry=geometry,
        template=_signature(TEMPLATE, template),
        searches=(searches[0].model_copy(update=dict(_signature(searches[0].file, search))),),
        params=dict(row.params),
        presets={row.preset: dict(row.params)},
        preset=row.preset,
        weights=Weights(origin="checkpoint", file=file.name, sha256=digest, licence=LICENCES.get(digest, UNKNOWN)),
        parity=Parity(
            crop=f"{PICTURE.name}: the file itself and PyTorch's step, against ONNX Runtime on the CPU",
            outputs=agreement.differences,
            limits=agreement.limits,
        ),
        cost={"parameters": float(sum(numpy_helper.to_array(one).size for one in network.graph.initializer))},
        versions={"trk": __version__, "torch": str(torch.__version__), "onnx": onnx.__version__},
        files=file_entries(files),
    )
    write_bundle(out, manifest, files)
    return manifest


@torch.no_grad()
def _agreement(
    alone: onnx.ModelProto,
    template: onnx.ModelProto,
    search: onnx.ModelProto,
    crops: Crops,
    step: nn.Module,
    params: Tensor,
) -> Agreement:
    """Return how far the bundle's graphs are from the file `alone`. Raises ExportError where that is too far."""
    agreement = Agreement()
    ((crop, size),) = crops.searches
    pictures = arrays({name: Picture()(one) for name, one in zip(INPUTS, (crops.template, crop), strict=True)})
    kernels = run(template, arrays({"crop": crops.template}))
    agreement.compare_scaled(KERNEL, kernels[KERNEL], pictures["template"])
    found = run(search, {**arrays({"crop": crop, "size": size, "params": params}), **kernels})
    expected = run(alone, pictures)
    for name in MAPS:
        agreement.compare_scaled(name, found[name], expected[name])
    compare_step(agreement, step, [found[name] for name in MAPS], found, size, params)
    agreement.require()
    return agreement


def _signature(file: str, model: onnx.ModelProto) -> Graph:
    def infos(values: Iterable[ValueInfoProto]) -> list[dict[str, object]]:
        kinds = {value.name: value.type.tensor_type for value in values}
        return [
            {
                "name": name,
                "dtype": helper.tensor_dtype_to_np_dtype(kind.elem_type).name,
                "shape": [side.dim_value for side in kind.shape.dim],
            }
            for name, kind in kinds.items()
        ]

    return Graph.model_validate(
        {"file": file, "inputs": infos(model.graph.input), "outputs": infos(model.graph.output)}
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def main(arguments: list[str] | None = None) -> int:
    """Write the bundle of a file and print what trk-eval wants."""
    parser = argparse.ArgumentParser(prog="python -m trk.bench.opencv_vit", description="VitTrack's file as a bundle.")
    parser.add_argument("file", type=Path, help="ONNX file that OpenCV's TrackerVit reads")
    parser.add_argument("out", type=Path, help="bundle to write: a .trk file or a folder")
    options = parser.parse_args(arguments)
    try:
        write_bundle_of(options.file, options.out)
    except TrkError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"--bundle {options.out} --tracker opencv:vit:{options.file}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
