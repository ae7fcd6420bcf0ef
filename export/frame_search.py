"""The search graph that takes whole frames: a cut that runs on the device, put before an ordinary search graph.

The search branch inside is the ordinary graph, node by node: it shares its weights in the bundle and computes the same.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import NamedTuple

import cv2
import numpy as np
import onnx
import torch
from torch import Tensor, nn

from ..engine.crop import Cropper, fill_colour, mean_colour
from ..engine.geometry import Geometry
from ..engine.manifest import Search
from ..engine.regions import REGION, refusal, write_regions
from ..engine.target import Motion
from ..errors import ExportError
from .device_crop import ANY_FRAME, DeviceCrop
from .onnx_graph import MAP_PREFIX, check, to_onnx, without_outputs
from .reference import BOX, LOST_BY, PICTURE
from .verify import HALF_SHARE, MAP_SHARE, Agreement, Array, arrays, compare_step, run

CROP = "crop"
GREY_LEVELS = 1.0
"""Crops may be off by this much from the engine's: OpenCV computes with weights of 11 bits, a graph with floats."""
VIEWS = ((slice(None), slice(None)), (slice(90, None), slice(20, 330)))
"""Rows and columns of the picture that are a frame each: two sizes, the second with the target near its edges."""


class Sight(NamedTuple):
    """A frame, and where crops are cut out of it."""

    frame: Tensor
    """[H * W, 3] uint8"""
    region: Tensor
    """[targets * scales, 8] float32"""
    size: Tensor
    """[targets, 2] float32: w, h of the targets in crop pixels."""
    crop: Tensor
    """[targets * scales, S, S, 3] uint8: what the engine cuts there."""


Sights = Callable[[int, int], list[Sight]]
"""Number of the search graph and number of targets: frames to check a graph on."""


def sights(geometry: Geometry, searches: tuple[Search, ...], scale_step: float) -> Sights:
    """Return what makes sights of the reference picture for one bundle.

    Raises ExportError where its crops can't be cut inside a graph.
    """
    why = refusal(geometry)
    if why:
        raise ExportError(f"this model can't take whole frames: {why}; export it without --whole-frame")
    picture = cv2.imread(str(PICTURE))
    if picture is None:
        raise ExportError(f"the picture that exports are checked on is missing ({PICTURE}): reinstall trk-engine")
    motion, cropper = Motion(geometry, searches), Cropper(geometry.crop)
    factors = [scale_step**step for step in geometry.search_steps]

    def made(number: int, targets: int) -> list[Sight]:
        found, out = [], searches[number].size
        for rows, columns in VIEWS:
            frame = np.ascontiguousarray(picture[rows, columns], np.uint8)
            wh = frame.shape[1], frame.shape[0]
            box = (BOX[0] - (columns.start or 0), BOX[1] - (rows.start or 0), *BOX[2:])
            mean = mean_colour(frame)
            fill, target = fill_colour(mean, geometry.crop), motion.start(box, mean, wh)
            side = motion.search_side(target, number)
            region = np.zeros((targets * len(factors), len(REGION)), np.float32)
            crop = np.zeros((len(region), out, out, 3), np.uint8)
            size = np.zeros((targets, 2), np.float32)
            for one in range(targets):
                centre = target.cx + (one + 1) * LOST_BY[0], target.cy + (one + 1) * LOST_BY[1]
                rows_of = slice(one * len(factors), (one + 1) * len(factors))
                sides = [side * (1 + 0.02 * one) * factor for factor in factors]
                write_regions(geometry, wh, centre, sides, fill, region[rows_of])
                cropper.cut_pyramid(frame, centre, sides, fill, crop[rows_of])
                size[one] = np.array([target.w, target.h]) * (out / side)
            found.append(Sight(*(torch.from_numpy(array) for array in (frame.reshape(-1, 3), region, size, crop))))
        return found

    return made


def for_frames(search: onnx.ModelProto, crops: int, size: int) -> onnx.ModelProto:
    """Return `search`, which takes `crops` crops of `size` pixels, as a graph that takes `frame` and `region`.

    Its crops stay inside, as a float32 value named CROP.
    """
    cut = _cut_graph(crops, size)
    model = onnx.ModelProto()
    model.CopyFrom(search)
    graph = model.graph
    readers = [node for node in graph.node if CROP in node.input]
    if [node.op_type for node in readers] != ["Cast"]:
        raise ExportError(
            f"the crop of the search graph is read by {[node.op_type for node in readers]}, not by a Cast"
        )
    (cast,) = readers
    if onnx.helper.get_attribute_value(cast.attribute[0]) == onnx.TensorProto.FLOAT:
        graph.node.remove(cast)
        _rename(graph, cast.output[0], CROP)
    inputs = [value for value in graph.input if value.name != CROP]
    nodes = list(graph.node)
    del graph.input[:], graph.node[:]
    graph.input.extend([*cut.graph.input, *inputs])
    graph.node.extend([*cut.graph.node, *nodes])
    graph.initializer.extend(cut.graph.initializer)
    graph.value_info.extend(cut.graph.value_info)
    check(model)
    return model


def checked(
    model: onnx.ModelProto,
    alone: onnx.ModelProto,
    step: nn.Module,
    inputs: Mapping[str, Tensor],
    seen: Sequence[Sight],
    agreement: Agreement,
    *,
    half: bool = False,
) -> onnx.ModelProto:
    """Return `model` without its maps; how far it is from the engine and from `alone` goes into `agreement`.

    `alone` is the search graph inside, fed with the crops that `model` itself cut; `inputs` has params and kernels.
    """
    maps = [value.name for value in model.graph.output if value.name.startswith(MAP_PREFIX)]
    telling = onnx.ModelProto()
    telling.CopyFrom(model)
    telling.graph.output.append(onnx.helper.make_tensor_value_info(CROP, onnx.TensorProto.FLOAT, seen[0].crop.shape))
    label = f"@frame, {len(seen[0].size)} targets" if len(seen[0].size) > 1 else "@frame"
    for sight in seen:
        feeds = {**inputs, "frame": sight.frame, "region": sight.region, "size": sight.size}
        found = run(telling, arrays(feeds))
        agreement.compare(CROP + label, found[CROP], sight.crop.numpy(), GREY_LEVELS)
        expected = run(alone, {**arrays(feeds), CROP: found[CROP].astype(np.uint8)})
        for name in maps:
            share = HALF_SHARE if half else MAP_SHARE
            agreement.compare(name + label, found[name], expected[name], share * _scale(expected[name]))
        compare_step(agreement, step, [found[n] for n in maps], found, sight.size, inputs["params"], label)
    return without_outputs(model, maps)


def _scale(values: Array) -> float:
    return max(float(np.abs(values).max()), 1e-6)


@cache
def _cut_graph(crops: int, size: int) -> onnx.ModelProto:
    """Return, to be read only, the graph of a DeviceCrop; names inside begin with cut_."""
    frame, region = torch.zeros(240 * 320, 3, dtype=torch.uint8), torch.full((crops, len(REGION)), 100.0)
    model = to_onnx(DeviceCrop(size), (frame, region), ["frame", "region"], [CROP], (ANY_FRAME, None))
    kept = {"frame", "region", CROP}
    graph = model.graph
    for name in {name for node in graph.node for name in (*node.input, *node.output) if name} - kept:
        _rename(graph, name, f"cut_{name}")
    for node in graph.node:
        node.name = f"cut_{node.name}"
    return model


def _rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    for node in graph.node:
        for names in (node.input, node.output):
            for at, name in enumerate(names):
                if name == old:
                    names[at] = new
    for value in (*graph.initializer, *graph.value_info):
        if value.name == old:
            value.name = new
