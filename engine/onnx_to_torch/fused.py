"""An ONNX graph's nodes put together for torch.compile on a GPU: one kernel where single operators take several.

A convolution takes its bias and activation along: by single weights as a matrix product, depth-wise in a kernel of our
own, in FP16 in cuDNN's where that has one. torch.compile fuses the rest. What it is worth is in bench/NOTES.md.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor

from .aligned import aligned_nodes
from .kernels import Activation, convolution_relu, depthwise

Attributes = dict[str, Any]
NOTHING, RELU, HARD_SWISH = Activation(), Activation(low=0.0), Activation(hard_swish=1.0)
ALIGNED = 8
"""Channels that cuDNN's fused convolutions come in multiples of."""
FEW_GROUPS = 4
"""Groups of single weights up to which zeros between them are multiplied, too: cuDNN cuts maps in pieces first."""


def fused_nodes(graph: onnx.GraphProto, constants: dict[str, Any]) -> list[onnx.NodeProto]:
    """Return the nodes of `graph`, but for those that nodes of FUSED_OPERATORS take the place of.

    `constants`: the graph's, by name; a weight that is laid out anew is put there.
    """
    fusion = _Fusion(graph, constants)
    nodes = [(node, fusion.written(node)) for node in graph.node]
    left = [written for node, written in nodes if node.output[0] not in fusion.taken]
    return aligned_nodes(left, constants, fusion.shapes, [value.name for value in graph.output])


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
        """Outputs of the activations that convolutions have taken along."""

    def written(self, node: onnx.NodeProto) -> onnx.NodeProto:
        """Return what is computed in the place of `node`, from the first of the graph to the last."""
        a = attributes_of(node)
        shapes = [self.shapes.get(name, []) for name in node.input]
        if node.op_type == "Gemm" and shapes[0] and shapes[0][0] == 1 and not a.get("transA"):
            return _node("RowGemm", node.input, node.output, a)
        if node.op_type != "Conv" or any(len(shape) != 4 for shape in shapes[:2]):
            return node
        channels, of_a_group, *sides = shapes[1]
        a = {"strides": [1, 1], "dilations": [1, 1], "pads": [0] * 4, "group": 1, **a}
        if 1 < channels == shapes[0][1] == a["group"]:
            return self._depthwise(node, a)
        constant = self._constants.get(node.input[1])
        if sides == a["strides"] == [1, 1] and not any(a["pads"]):
            if constant is not None and 1 < a["group"] <= FEW_GROUPS:
                node, a = self._without_groups(node, constant, a["group"]), a | {"group": 1}
            if a["group"] == 1:
                return self._with_relu("PointwiseRelu", node, a) or _node("Pointwise", node.input, node.output, a)
        if a["group"] == 1 and constant is not None and constant.dtype == np.float16:
            fits = channels % ALIGNED == of_a_group % ALIGNED == 0 and a["pads"][:2] == a["pads"][2:]
            return (self._with_relu("ConvRelu", node, a) if fits else None) or node
        return node

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


def _depthwise(a: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return a depth-wise convolution between activations, by [rows, columns, C] or [C, 1, rows, columns]."""
    if weight.ndim == 4:
        weight = weight[:, 0].permute(1, 2, 0).contiguous()
    x, settings = x.permute(0, 2, 3, 1).contiguous(), (a["strides"], a["dilations"], a["pads"], a["before"], a["after"])
    out: Tensor = depthwise(x, weight, bias, *settings)
    return out.permute(0, 3, 1, 2)


def _conv_relu(a: Attributes, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    x, weight = (value.contiguous(memory_format=torch.channels_last) for value in (x, weight))
    out: Tensor = convolution_relu(x, weight, bias, a["strides"], a["dilations"], a["pads"][:2])
    return out


def _pointwise(a: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return a convolution by single weights as a matrix product, which adds the bias in the same kernel."""
    return _as_product(x, weight, lambda rows, m: rows @ m if bias is None else torch.addmm(bias, rows, m))


def _pointwise_relu(a: Attributes, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return _as_product(x, weight, lambda rows, matrix: torch._addmm_activation(bias, rows, matrix))


def _as_product(x: Tensor, weight: Tensor, product: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    targets, channels, height, width = x.shape
    rows, matrix = x.permute(0, 2, 3, 1).reshape(-1, channels), weight.reshape(weight.shape[0], channels).t()
    return product(rows, matrix).reshape(targets, height, width, -1).permute(0, 3, 1, 2)


def _row_gemm(a: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return a product of one row as sums, which torch.compile fuses: a library takes two kernels."""
    rows = weight if a.get("transB") else weight.t()
    out: Any = (x.float() * rows.float()).sum(1, keepdim=True).t() * a.get("alpha", 1.0)
    if bias is not None:
        out = out + bias.float() * a.get("beta", 1.0)
    row: Tensor = out.to(weight.dtype)
    return row


FUSED_OPERATORS: dict[str, Callable[..., Tensor]] = {
    "ConvRelu": _conv_relu,
    "Depthwise": _depthwise,
    "Pointwise": _pointwise,
    "PointwiseRelu": _pointwise_relu,
    "RowGemm": _row_gemm,
}
"""What `fused_nodes` puts in, besides the operators of ONNX."""
