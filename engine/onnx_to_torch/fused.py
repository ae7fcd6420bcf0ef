"""An ONNX graph's nodes put together for torch.compile on a GPU: one kernel where single operators take several.

A convolution takes its bias and activation along: by single weights as a matrix product, depth-wise in a kernel of our
own, in FP16 in cuDNN's where that has one. torch.compile fuses the rest. What it is worth is in bench/NOTES.md.
"""

from collections import Counter
from typing import Any

import numpy as np
import onnx

from .aligned import aligned_nodes
from .fused_operators import PACKED, Attributes, argmax_rows
from .kernels import Activation

NOTHING, RELU, HARD_SWISH = Activation(), Activation(low=0.0), Activation(hard_swish=1.0)
ALIGNED = 8
"""Channels that cuDNN's fused convolutions come in multiples of."""
LARGE = 5
"""Side of weights from which on a convolution of a picture reads four pixels as one: 11x11 took 42 us of 180."""
FEW_GROUPS = 4
"""Groups of single weights up to which zeros between them are multiplied, too: cuDNN cuts maps in pieces first."""


def fused_nodes(graph: onnx.GraphProto, constants: dict[str, Any]) -> list[onnx.NodeProto]:
    """Return the nodes of `graph`, but for those that nodes of FUSED_OPERATORS take the place of.

    `constants`: the graph's, by name; a weight that is laid out anew is put there.
    """
    fusion = _Fusion(graph, constants)
    written = [(node, fusion.written(node)) for node in graph.node]
    nodes = [new for node, several in written if node.output[0] not in fusion.taken for new in several]
    return aligned_nodes(nodes, constants, fusion.shapes, [value.name for value in graph.output])


class _Fusion:
    def __init__(self, graph: onnx.GraphProto, constants: dict[str, Any]):
        self._constants = constants
        values = (*graph.input, *graph.value_info, *graph.output)
        self.shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}
        self.shapes |= {name: list(array.shape) for name, array in constants.items()}
        self._makers = {name: node for node in graph.node for name in node.output}
        reads = Counter([name for node in graph.node for name in node.input] + [value.name for value in graph.output])
        self._readers = {name: node for node in graph.node for name in node.input if reads[name] == 1}
        """Of values that a single node reads."""
        self.taken: set[str] = set()
        """Outputs of the nodes that convolutions have taken along."""

    def written(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        """Return what is computed in the place of `node`: to be asked from the graph's first node to its last."""
        a = attributes_of(node)
        shapes = [self.shapes.get(name, []) for name in node.input]
        if node.op_type == "Gemm" and shapes[0] and shapes[0][0] == 1 and not a.get("transA"):
            return [_node("RowGemm", node.input, node.output, a)]
        if node.op_type == "ArgMax" and a.get("keepdims", 1) and a.get("axis", 0) in (-1, len(shapes[0]) - 1):
            return [_node("LongArgMax", node.input, node.output, a) if argmax_rows(shapes[0][-1]) > 1 else node]
        if node.op_type != "Conv" or any(len(shape) != 4 for shape in shapes[:2]):
            return [node]
        a = {"strides": [1, 1], "dilations": [1, 1], "pads": [0] * 4, "group": 1, **a}
        if 1 < shapes[1][0] == shapes[0][1] == a["group"]:
            return [self._depthwise(node, a)]
        if self._is_stem(node, a):
            packed, node, a = self._packed(node, a)
            return [packed, self._convolution(node, a)]
        return [self._convolution(node, a)]

    def _convolution(self, node: onnx.NodeProto, a: Attributes) -> onnx.NodeProto:
        constant = self._constants.get(node.input[1])
        channels, of_a_group, *sides = self.shapes[node.input[1]]
        if sides == a["strides"] == [1, 1] and not any(a["pads"]):
            if constant is not None and 1 < a["group"] <= FEW_GROUPS:
                node, a = self._without_groups(node, constant, a["group"]), a | {"group": 1}
            if a["group"] == 1:
                return self._with_relu("PointwiseRelu", node, a) or _node("Pointwise", node.input, node.output, a)
        if a["group"] == 1 and constant is not None and constant.dtype == np.float16:
            fits = channels % ALIGNED == of_a_group % ALIGNED == 0 and a["pads"][:2] == a["pads"][2:]
            return (self._with_relu("ConvRelu", node, a) if fits else None) or node
        return node

    def _is_stem(self, node: onnx.NodeProto, a: Attributes) -> bool:
        """Whether this is a large convolution of a picture in steps of two: cuDNN starves on three channels of FP16."""
        weight = self._constants.get(node.input[1])
        if weight is None or weight.dtype != np.float16 or a["group"] != 1:
            return False
        steps = a["strides"] == [2, 2] and a["dilations"] == [1, 1]
        return bool(steps and 4 * weight.shape[1] <= PACKED and min(weight.shape[2:]) >= LARGE)

    def _packed(self, node: onnx.NodeProto, a: Attributes) -> tuple[onnx.NodeProto, onnx.NodeProto, Attributes]:
        """Return a map with every 2x2 pixels in one, and the convolution of it that does what `node` does."""
        source, name, *bias = node.input
        images, _, *sizes = self.shapes[source]
        sides, pads = self._constants[name].shape[2:], a["pads"]
        outs = [(size + pads[at] + pads[2 + at] - sides[at]) // 2 + 1 for at, size in enumerate(sizes)]
        made = [out - 1 + -(-side // 2) for out, side in zip(outs, sides, strict=True)]
        result, weight = f"{source}, 2x2 in one", f"{name}, 2x2 in one"
        self._constants[weight] = _packed_weight(self._constants[name])
        self.shapes |= {result: [images, PACKED, *made], weight: list(self._constants[weight].shape)}
        pack = _node("Pack", [source], [result], {"sizes": made, "pads": pads[:2]})
        return pack, _node("Conv", [result, weight, *bias], node.output, {}), {**a, "strides": [1, 1], "pads": [0] * 4}

    def _without_groups(self, node: onnx.NodeProto, weight: Any, groups: int) -> onnx.NodeProto:
        """Return a convolution by single weights with zeros between its groups."""
        channels, of_a_group = len(weight) // groups, weight.shape[1]
        whole = np.zeros((len(weight), groups * of_a_group, 1, 1), weight.dtype)
        for group in range(groups):
            rows = slice(group * channels, (group + 1) * channels)
            whole[rows, group * of_a_group : (group + 1) * of_a_group] = weight[rows]
        name = f"{node.input[1]}, without groups"
        self._constants[name] = whole
        return _node("Conv", [node.input[0], name, *node.input[2:]], node.output, {})

    def _with_relu(self, kind: str, node: onnx.NodeProto, a: Attributes) -> onnx.NodeProto | None:
        """Return a convolution that takes its bias and a ReLU along; None where it has not both."""
        after, output = self._after(node)
        if len(node.input) < 3 or after != RELU:
            return None
        self.taken.add(output)
        return _node(kind, node.input, [output], a)

    def _depthwise(self, node: onnx.NodeProto, a: Attributes) -> onnx.NodeProto:
        return self._of_each_target(node, a) or self._of_all_targets(node, a)

    def _of_each_target(self, node: onnx.NodeProto, a: Attributes) -> onnx.NodeProto | None:
        """Return a correlation of several targets' maps by their kernels; None where it is not one.

        A graph has it as one of all their channels, between two Reshapes that turn the maps around.
        """
        source, name, *bias = node.input
        maker, reader = self._makers.get(source), self._readers.get(node.output[0])
        if bias or name in self._constants or not maker or not reader or {maker.op_type, reader.op_type} != {"Reshape"}:
            return None
        maps, found = self.shapes.get(maker.input[0], []), self.shapes.get(reader.output[0], [])
        if source not in self._readers or len(maps) != 4 or self.shapes[source] != [1, maps[0] * maps[1], *maps[2:]]:
            return None
        if found[:2] != maps[:2] or len(found) != 4:
            return None
        self.taken |= {source, reader.output[0]}
        a |= {"before": NOTHING, "after": NOTHING}
        return _node("Depthwise", [maker.input[0], name], reader.output, a)

    def _of_all_targets(self, node: onnx.NodeProto, a: Attributes) -> onnx.NodeProto:
        source, name, *bias = node.input
        maker, before = self._makers.get(source), None
        if maker and source in self._readers and source not in self.taken:
            before = self._activation(maker)
        if maker and before:
            self.taken.add(source)
            source = maker.input[0]
        after, output = self._after(node)
        if after:
            self.taken.add(output)
        if name in self._constants:
            array, name = self._constants[name], f"{name}, channels last"
            self._constants[name] = np.ascontiguousarray(array[:, 0].transpose(1, 2, 0))
        a |= {"before": before or NOTHING, "after": after or NOTHING}
        return _node("Depthwise", [source, name, *bias], [output], a)

    def _after(self, node: onnx.NodeProto) -> tuple[Activation | None, str]:
        """Return the activation that alone reads what `node` makes, and its output; or None, and the node's."""
        name: str = node.output[0]
        reader = self._readers.get(name)
        activation = self._activation(reader) if reader else None
        return activation, reader.output[0] if reader and activation else name

    def _activation(self, node: onnx.NodeProto) -> Activation | None:
        if node.op_type == "Clip" and all(name in self._constants for name in node.input[1:]) and len(node.input) == 3:
            return Activation(*(float(self._constants[name]) for name in node.input[1:]))
        return {"Relu": RELU, "HardSwish": HARD_SWISH}.get(node.op_type)


def attributes_of(node: onnx.NodeProto) -> Attributes:
    """Return the attributes of a node by name, but for texts, which no operator here asks for."""
    values = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    return {name: value for name, value in values.items() if not isinstance(value, bytes)}


def _node(kind: str, inputs: Any, outputs: Any, a: Attributes) -> onnx.NodeProto:
    return onnx.helper.make_node(kind, list(inputs), list(outputs), **a)


def _packed_weight(weight: Any) -> Any:
    """Return weights [O, colours, rows, columns] for pixels packed as `Pack` does: [O, PACKED, half, half]."""
    channels, colours, rows, columns = weight.shape
    even = np.pad(weight, ((0, 0), (0, 0), (0, rows % 2), (0, columns % 2)))
    halves = even.shape[2] // 2, even.shape[3] // 2
    pixels = even.reshape(channels, colours, halves[0], 2, halves[1], 2).transpose(0, 3, 5, 1, 2, 4)
    return np.pad(pixels.reshape(channels, 4 * colours, *halves), ((0, 0), (0, PACKED - 4 * colours), (0, 0), (0, 0)))
