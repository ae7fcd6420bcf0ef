"""3x3 convolutions by Winograd's F(4x4, 3x3), in plain ONNX: a quarter of the products, for runtimes that have none.

Every 4x4 of the output comes of a 6x6 of the input. Both are transformed; in between, each of the 36 places of the
tiles is one product of matrices, [tiles, inputs] by [inputs, outputs], whose weights a runtime packs when it loads the
graph. The transforms of all tiles of a line are one constant matrix, in which padding and dilation (every d-th line is
a convolution of its own) are no more than other places of the same numbers. Weights stay in the file as they were: the
runtime transforms them once, at load, which takes four times their memory.

ONNX Runtime multiplies directly; libraries for GPUs choose such forms themselves. What it brings: bench/NOTES.md.

Source: Lavin and Gray, Fast Algorithms for Convolutional Neural Networks (2015), sec. 4 and appendix.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from onnx.helper import make_node

TILE, PATCH = 4, 6
"""Sides of a tile of the output, and of what it is made of."""
INPUT = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
)
"""B transposed, [6, 6]."""
WEIGHTS = np.array(
    [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ]
)
"""G, [6, 3]."""
OUTPUT = np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]])
"""A transposed, [4, 6]."""
LEAST_CHANNELS = 128
LEAST_TILES = 5
"""A side: with fewer channels or tiles the transforms cost what the products save."""


def by_winograd(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return `model` with its large 3x3 convolutions in this form; itself where there is none.

    Shapes have to be inferred, all of them fixed. Results differ by some 1e-5 of the largest value.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    shapes = {value.name: _shape(value) for value in (*copy.graph.value_info, *copy.graph.input, *copy.graph.output)}
    weights = {tensor.name: tensor for tensor in copy.graph.initializer}
    nodes: list[onnx.NodeProto] = []
    constants = _Constants()
    changed = False
    for node in copy.graph.node:
        plan = _plan(node, weights, shapes)
        nodes += [node] if plan is None else plan.nodes(node, weights[node.input[1]], constants)
        changed = changed or plan is not None
    if not changed:
        return model
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    copy.graph.initializer.extend(constants.tensors.values())
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in copy.graph.initializer if tensor.name in used]
    del copy.graph.initializer[:]
    copy.graph.initializer.extend(kept)
    return onnx.shape_inference.infer_shapes(copy, check_type=True, strict_mode=True)


def lines(side: int, pad: int, dilation: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the transforms of a line of `side` cells into its t tiles and back, [6 t, side] and [outputs, 6 t].

    Rows and columns of tiles are ordered by place in the tile, then by tile.
    """
    outputs = side + 2 * pad - 2 * dilation
    starts = [
        (phase, first) for phase in range(dilation) for first in range(0, len(range(phase, outputs, dilation)), TILE)
    ]
    there = np.zeros((PATCH, len(starts), side))
    back = np.zeros((outputs, PATCH, len(starts)))
    for number, (phase, first) in enumerate(starts):
        for place in range(PATCH):
            at = phase + (first + place) * dilation - pad
            if 0 <= at < side:
                there[:, number, at] = INPUT[:, place]
        for place in range(TILE):
            at = phase + (first + place) * dilation
            if at < outputs:
                back[at, :, number] = OUTPUT[place]
    return there.reshape(-1, side).astype(np.float32), back.reshape(outputs, -1).astype(np.float32)


class _Constants:
    """Constants of all convolutions, each once."""

    def __init__(self) -> None:
        self.tensors: dict[str, onnx.TensorProto] = {}

    def add(self, name: str, values: NDArray[np.float32] | list[int]) -> str:
        """Return `name`, under which `values` are in the graph."""
        array = values if isinstance(values, np.ndarray) else np.array(values, np.int64)
        self.tensors.setdefault(name, numpy_helper.from_array(array, name))
        return name


@dataclass
class _Convolution:
    """What has to be known of a convolution."""

    count: int
    """Pictures."""
    inputs: int
    outputs: int
    side: int
    pad: int
    dilation: int

    def nodes(self, node: onnx.NodeProto, weight: onnx.TensorProto, constants: _Constants) -> list[onnx.NodeProto]:
        """Return what stands for `node`."""
        there, back = lines(self.side, self.pad, self.dilation)
        tiles, out = there.shape[0] // PATCH, back.shape[0]
        line = f"winograd_{self.side}_{self.pad}_{self.dilation}"
        name, places = node.output[0], PATCH * PATCH
        wide, deep = self.count * self.inputs, self.count * self.outputs
        made: list[onnx.NodeProto] = []

        def put(kind: str, *inputs: str, **attributes: Any) -> str:
            output = f"{name}_w{len(made)}"
            made.append(make_node(kind, inputs, [output], name=output, **attributes))
            return output

        def shaped(value: str, *shape: int) -> str:
            return put("Reshape", value, constants.add("winograd_" + "x".join(map(str, shape)), list(shape)))

        to, fro = constants.add(f"{line}_there", there), constants.add(f"{line}_back", back)
        # Channels last, so that every step works on whole rows of memory.
        cells = put("Transpose", shaped(node.input[0], wide, self.side**2), perm=[1, 0])
        down = put("MatMul", to, shaped(cells, self.side, self.side * wide))
        both = put("MatMul", to, shaped(down, PATCH * tiles, self.side, wide))
        sorted_ = put("Transpose", shaped(both, PATCH, tiles, PATCH, tiles * wide), perm=[0, 2, 1, 3])
        rows = tiles * tiles * self.count
        parts = self._split(shaped(sorted_, places * rows, self.inputs), f"{name}_tile", rows, constants, made)
        parts_of = self._weights(weight, name, constants, made)
        products = [put("MatMul", part, weight) for part, weight in zip(parts, parts_of, strict=True)]
        tiled = shaped(put("Concat", *products, axis=0), PATCH, PATCH, tiles, tiles * deep)
        unsorted = put("Transpose", tiled, perm=[0, 2, 1, 3])
        left = put("MatMul", fro, shaped(unsorted, PATCH * tiles, PATCH * tiles, deep))
        found = put("MatMul", fro, shaped(left, PATCH * tiles, out * deep))
        planes = put("Transpose", shaped(found, out * out, deep), perm=[1, 0])
        result = shaped(planes, self.count, self.outputs, out, out)
        if len(node.input) > 2:
            bias = put("Reshape", node.input[2], constants.add("winograd_bias", [1, -1, 1, 1]))
            result = put("Add", result, bias)
        made[-1].output[0] = name
        return made

    @staticmethod
    def _split(value: str, name: str, each: int, constants: _Constants, made: list[onnx.NodeProto]) -> list[str]:
        parts = [f"{name}{number}" for number in range(PATCH * PATCH)]
        sizes = constants.add(f"winograd_each_{each}", [each] * len(parts))
        made.append(make_node("Split", [value, sizes], parts, name=f"{name}s", axis=0))
        return parts

    def _weights(
        self, weight: onnx.TensorProto, name: str, constants: _Constants, made: list[onnx.NodeProto]
    ) -> list[str]:
        """Return the 36 matrices [inputs, outputs]: constants, for a runtime that folds them as it loads the graph."""
        flat = numpy_helper.to_array(weight).transpose(2, 3, 1, 0).reshape(9, self.inputs * self.outputs)
        both = np.kron(WEIGHTS, WEIGHTS).astype(np.float32)
        shape = [PATCH * PATCH * self.inputs, self.outputs]
        inputs = [constants.add("winograd_g", both), constants.add(f"{weight.name}_w", np.ascontiguousarray(flat))]
        steps = [f"{name}_u{number}" for number in range(2)]
        made.append(make_node("MatMul", inputs, [steps[0]], name=steps[0]))
        shape_at = constants.add("winograd_" + "x".join(map(str, shape)), shape)
        made.append(make_node("Reshape", [steps[0], shape_at], [steps[1]], name=steps[1]))
        return self._split(steps[1], f"{name}_weight", self.inputs, constants, made)


def _plan(
    node: onnx.NodeProto, weights: dict[str, onnx.TensorProto], shapes: dict[str, tuple[int, ...]]
) -> _Convolution | None:
    """Return what `node` is where it gains by this form."""
    weight = weights.get(node.input[1]) if node.op_type == "Conv" else None
    shape = shapes.get(node.input[0], ()) if weight is not None else ()
    if weight is None or weight.data_type != onnx.TensorProto.FLOAT or len(shape) != 4 or 0 in shape:
        return None
    attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
    pads, dilations = (
        list(attributes.get(name, default)) for name, default in (("pads", [0] * 4), ("dilations", [1, 1]))
    )
    plain = (
        list(weight.dims[2:]) == [3, 3]
        and attributes.get("group", 1) == 1
        and list(attributes.get("strides", [1, 1])) == [1, 1]
        and attributes.get("auto_pad", b"NOTSET") == b"NOTSET"
        and len({*pads}) == len({*dilations}) == 1
        and shape[2] == shape[3]
    )
    if not plain or min(weight.dims[:2]) < LEAST_CHANNELS:
        return None
    found = _Convolution(shape[0], weight.dims[1], weight.dims[0], shape[2], pads[0], dilations[0])
    if found.side + 2 * found.pad - 2 * found.dilation < LEAST_TILES * TILE:
        return None
    return found


def _shape(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    return tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
