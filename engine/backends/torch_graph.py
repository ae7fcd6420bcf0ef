"""An ONNX graph run in PyTorch, operator by operator: nothing of its models is needed, only the file."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import onnx
import torch
from torch import Tensor

from ...errors import BackendError
from .torch_ops import OPERATORS, SETTINGS, Operator


class _Call(NamedTuple):
    """One node: what to do, with what, and the names of what comes out."""

    operator: Operator
    attributes: dict[str, Any]
    inputs: tuple[str | None, ...]
    """Names of tensors; None where an input is left out or in `settings`."""
    settings: dict[int, Any]
    outputs: tuple[str, ...]
    last_use: tuple[str, ...]
    """Values nobody needs any more afterwards."""


class TorchGraph:
    """The graph in `model` on `device`. `external`: files that hold weights of it, by name.

    Raises BackendError where it has an operator that no bundle has.
    """

    def __init__(self, model: bytes, device: str, external: Mapping[str, bytes] | None = None):
        graph = onnx.load_from_string(model).graph
        arrays = {tensor.name: _array(tensor, external or {}) for tensor in graph.initializer}
        self.inputs = [value.name for value in graph.input]
        self.outputs = [value.name for value in graph.output]
        self.calls = _calls(graph, arrays, set(self.outputs))
        used = {name for call in self.calls for name in call.inputs}
        self.constants = {
            name: torch.from_numpy(np.array(array)).to(device) for name, array in arrays.items() if name in used
        }

    def __call__(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the outputs by name."""
        known = {**self.constants, **values}
        for call in self.calls:
            inputs = [
                call.settings.get(at, None if name is None else known[name]) for at, name in enumerate(call.inputs)
            ]
            result = call.operator(call.attributes, *inputs)
            for name, value in zip(call.outputs, result if isinstance(result, tuple) else (result,), strict=False):
                known[name] = value
            for name in call.last_use:
                del known[name]
        return {name: known[name] for name in self.outputs}


def _calls(graph: onnx.GraphProto, arrays: Mapping[str, Any], outputs: set[str]) -> list[_Call]:
    made, last = [], {name: number for number, node in enumerate(graph.node) for name in node.input}
    kept = {*arrays, *outputs, *(value.name for value in graph.input)}
    for number, node in enumerate(graph.node):
        if node.op_type == "Constant":
            raise BackendError("the graph holds a Constant node, which trk-export never writes: export it again")
        if node.op_type not in OPERATORS:
            raise BackendError(f"the backend torch has no operator {node.op_type}: take --backend onnxruntime")
        settings: dict[int, Any] = {}
        for at in SETTINGS.get(node.op_type, ()):
            if at < len(node.input) and node.input[at]:
                if node.input[at] not in arrays:
                    raise BackendError(
                        f"the backend torch needs fixed shapes, and a {node.op_type} of this graph computes one: "
                        "take --backend onnxruntime"
                    )
                settings[at] = np.atleast_1d(arrays[node.input[at]]).tolist()
        attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
        names = tuple(name if name and at not in settings else None for at, name in enumerate(node.input))
        unused = tuple(name for name in dict.fromkeys(node.input) if name and last[name] == number and name not in kept)
        made.append(_Call(OPERATORS[node.op_type], attributes, names, settings, tuple(node.output), unused))
    return made


def _array(tensor: onnx.TensorProto, external: Mapping[str, bytes]) -> Any:
    if tensor.data_location != onnx.TensorProto.EXTERNAL:
        return onnx.numpy_helper.to_array(tensor)
    place = {entry.key: entry.value for entry in tensor.external_data}
    start, length = int(place["offset"]), int(place["length"])
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    return np.frombuffer(external[place["location"]][start : start + length], dtype).reshape(tuple(tensor.dims))
