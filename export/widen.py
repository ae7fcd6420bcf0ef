"""Channels filled up with zeros to a multiple of four, where a runtime would leave its fast layout for want of them.

ONNX Runtime keeps a depthwise convolution, and what follows it, out of its blocked layout unless its channels are a
multiple of 4. MobileNetV2 x 1.4 has 22, 33, 89, 134, 198 and 534. What is added is zero and multiplied by zero weights:
outputs stay what they were. Networks whose channels are multiples of four stay as they are. What it brings:
bench/NOTES.md.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

MULTIPLE = 4
ELEMENTWISE = ("Clip", "Relu", "HardSwish", "Add")
"""What passes channels on one by one, and makes no infinity of a zero."""


def widened(model: onnx.ModelProto, multiple: int = MULTIPLE) -> onnx.ModelProto:
    """Return `model` with channels filled up to multiples of `multiple`; itself where there is nothing to do.

    Only values between convolutions are touched, whose every maker and user is a plain or depthwise convolution with
    constant weights, or ELEMENTWISE. Inputs and outputs keep their shapes.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = _Graph(copy.graph)
    changed = False
    for family in graph.families():
        channels = graph.channels(family)
        missing = -channels % multiple
        if missing and graph.is_inside(family):
            graph.widen(family, missing)
            changed = True
    if not changed:
        return model
    del copy.graph.value_info[:]
    return onnx.shape_inference.infer_shapes(copy, check_type=True, strict_mode=True)


@dataclass(eq=False)
class _Family:
    """Values that have to have the same channels: what elementwise nodes and depthwise convolutions tie together."""

    values: set[str] = field(default_factory=set)


class _Graph:
    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph
        self._weights = {tensor.name: tensor for tensor in graph.initializer}
        self._maker = {value: node for node in graph.node for value in node.output}
        self._users: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.node:
            for value in node.input:
                self._users.setdefault(value, []).append(node)
        self._outputs = {value.name for value in graph.output}

    def families(self) -> list[_Family]:
        """Return the families of values that convolutions make."""
        of: dict[str, _Family] = {}
        for node in self._graph.node:
            tied = [*self._data_inputs(node), node.output[0]] if self._ties(node) else [*node.output]
            family = _Family()
            for value in tied:
                other = of.get(value)
                family.values |= other.values if other else {value}
            for value in family.values:
                of[value] = family
        return [family for family in dict.fromkeys(of.values()) if any(True for _ in self._plain_makers(family))]

    def channels(self, family: _Family) -> int:
        """Return the channels of a family's values."""
        return int(self._weights[next(self._plain_makers(family)).input[1]].dims[0])

    def is_inside(self, family: _Family) -> bool:
        """Whether everything that makes or uses the values can do with more channels."""
        for value in family.values:
            maker = self._maker.get(value)
            if value in self._outputs or maker is None or not (self._is_plain(maker) or self._ties(maker)):
                return False
            for user in self._users.get(value, []):
                if not (self._ties(user) or (self._is_plain(user) and user.input[0] == value)):
                    return False
        return True

    def widen(self, family: _Family, missing: int) -> None:
        """Give the values `missing` channels more: zero filters where they are made, zero weights where used."""
        makers = {id(self._maker[value]): self._maker[value] for value in family.values}
        for node in makers.values():
            if node.op_type == "Conv":
                self._pad(node, 1, 0, missing)
                if len(node.input) > 2:
                    self._pad(node, 2, 0, missing)
                if not self._is_plain(node):
                    _set_groups(node, _groups(node) + missing)
        users = {id(user): user for value in family.values for user in self._users.get(value, [])}
        for node in users.values():
            if self._is_plain(node):
                self._pad(node, 1, 1, missing)

    def _pad(self, node: onnx.NodeProto, position: int, axis: int, missing: int) -> None:
        """Fill up one of a node's weights; others that use the same ones keep theirs."""
        old = self._weights[node.input[position]]
        values: NDArray[np.generic] = numpy_helper.to_array(old)
        pads = [(0, missing if number == axis else 0) for number in range(values.ndim)]
        name = f"{old.name}_wide{len(self._weights)}"
        tensor = numpy_helper.from_array(np.pad(values, pads), name)
        self._graph.initializer.append(tensor)
        self._weights[name] = tensor
        node.input[position] = name
        if not any(old.name in other.input for other in self._graph.node):
            self._graph.initializer.remove(old)

    def _plain_makers(self, family: _Family) -> Iterator[onnx.NodeProto]:
        for value in sorted(family.values):
            maker = self._maker.get(value)
            if maker is not None and self._is_plain(maker):
                yield maker

    def _data_inputs(self, node: onnx.NodeProto) -> list[str]:
        return list(node.input) if node.op_type == "Add" else [node.input[0]]

    def _ties(self, node: onnx.NodeProto) -> bool:
        if node.op_type == "Add" and any(value in self._weights for value in node.input):
            return False
        return node.op_type in ELEMENTWISE or self._is_depthwise(node)

    def _has_weights(self, node: onnx.NodeProto) -> bool:
        return node.op_type == "Conv" and all(value in self._weights for value in list(node.input)[1:])

    def _is_plain(self, node: onnx.NodeProto) -> bool:
        return self._has_weights(node) and _groups(node) == 1

    def _is_depthwise(self, node: onnx.NodeProto) -> bool:
        if not self._has_weights(node):
            return False
        dims = self._weights[node.input[1]].dims
        return bool(1 < _groups(node) == dims[0] and dims[1] == 1)


def _groups(node: onnx.NodeProto) -> int:
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == "group"), 1)


def _set_groups(node: onnx.NodeProto, groups: int) -> None:
    for attribute in node.attribute:
        if attribute.name == "group":
            attribute.i = groups
