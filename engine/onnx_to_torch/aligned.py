"""Maps with channels in multiples of 16 bytes, by zeros in the weights around them.

Matrix products whose rows begin elsewhere take a library longer (bench/NOTES.md): SiamRPN++'s MobileNetV2 has 36, 44,
92, 132 and 804 channels. What a channel of zeros holds reaches nothing: the weights that read it are zeros.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx

BYTES = 16
CONVOLUTIONS = ("Conv", "ConvRelu", "Pointwise", "PointwiseRelu")
"""Nodes with weights [channels out, channels in, rows, columns]."""
PASSING = ("Add", "Clip", "Depthwise", "HardSwish", "Relu")
"""Nodes whose maps have all the same channels."""


def aligned_nodes(
    nodes: Sequence[onnx.NodeProto],
    constants: dict[str, Any],
    shapes: Mapping[str, Sequence[int]],
    outputs: Sequence[str],
) -> list[onnx.NodeProto]:
    """Return `nodes` with wider maps between them where that aligns rows; wider weights are put into `constants`.

    `shapes`: of values by name; `outputs`: of the graph, which stay as they are.
    """
    wide = _widened(nodes, constants, shapes, outputs)
    return [_with_weights(node, constants, wide) for node in nodes]


def _widened(
    nodes: Sequence[onnx.NodeProto],
    constants: Mapping[str, Any],
    shapes: Mapping[str, Sequence[int]],
    outputs: Sequence[str],
) -> set[str]:
    """Return the maps that may have more channels: all that makes or reads them has weights or passes channels on."""
    known = {node.output[0] for node in nodes if _is_known(node, constants)}
    wide = {name for name in known if len(shapes.get(name, ())) == 4} - set(outputs)
    while True:
        narrow = set()
        for node in nodes:
            maps = {name for name in node.input if name in wide}
            if node.output[0] not in known:
                narrow |= maps
            elif node.op_type in PASSING:
                together = {*_maps(node, constants), node.output[0]}
                channels = {shapes[name][1] for name in together & wide}
                narrow |= set() if together <= wide and len(channels) == 1 else together & wide
        if not narrow:
            return wide
        wide -= narrow


def _is_known(node: onnx.NodeProto, constants: Mapping[str, Any]) -> bool:
    if node.op_type in CONVOLUTIONS or node.op_type == "Depthwise":
        grouped = node.op_type == "Conv" and any(a.name == "group" and a.i != 1 for a in node.attribute)
        return not grouped and all(name in constants for name in node.input[1:])
    return node.op_type in PASSING


def _maps(node: onnx.NodeProto, constants: Mapping[str, Any]) -> list[str]:
    """Return the inputs that are maps: not weights, nor the bounds of a Clip."""
    return [name for name in node.input if name and (node.op_type == "Add" or name not in constants)]


def _with_weights(node: onnx.NodeProto, constants: dict[str, Any], wide: set[str]) -> onnx.NodeProto:
    """Return `node` with weights as wide as its maps."""
    makes, reads = node.output[0] in wide, any(name in wide for name in node.input)
    if node.op_type in CONVOLUTIONS:
        axes = [axis for axis, is_wide in enumerate((makes, reads)) if is_wide]
    else:
        axes = [2] if node.op_type == "Depthwise" and makes else []
    if not axes:
        return node
    made = onnx.NodeProto()
    made.CopyFrom(node)
    made.input[1] = _padded(node.input[1], axes, constants)
    if makes and len(node.input) > 2:
        made.input[2] = _padded(node.input[2], [0], constants)
    return made


def _padded(name: str, axes: Sequence[int], constants: dict[str, Any]) -> str:
    """Return the name of a constant with zeros behind the values of `axes`, or its own where nothing is missing."""
    array = constants[name]
    missing = [(0, -size % (BYTES // array.itemsize) if axis in axes else 0) for axis, size in enumerate(array.shape)]
    if not np.any(missing):
        return name
    wider = f"{name}, wider along {axes}"  # another node may read the same one along others
    constants[wider] = np.pad(array, missing)
    return wider
