"""An ONNX graph as a PyTorch module, a line per node: nothing of its models is needed, only the file."""

import operator
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import torch
from torch import fx, nn

from ...errors import BackendError
from .fused import attributes_of, fused_nodes
from .fused_operators import FUSED_OPERATORS
from .operators import OPERATORS, SETTINGS


def torch_graph(
    model: bytes, device: str, external: Mapping[str, bytes] | None = None, *, fused: bool = False
) -> fx.GraphModule:
    """Return the graph in `model` as a module on `device`, from inputs to a tuple of outputs in the file's order.

    `external`: files that hold weights of it, by name. `fused`: write it for torch.compile on a GPU, as `fused`
    does, with weights channels last.

    Raises BackendError where the graph has an operator that no bundle has.
    """
    graph = onnx.load_from_string(model).graph
    arrays = {tensor.name: _array(tensor, external or {}) for tensor in graph.initializer}
    nodes, operators = (fused_nodes(graph, arrays), OPERATORS | FUSED_OPERATORS) if fused else (graph.node, OPERATORS)
    root, made = nn.Module(), fx.Graph()
    values = {value.name: made.placeholder(f"input_{number}") for number, value in enumerate(graph.input)}
    for node in nodes:
        if node.op_type == "Constant":
            raise BackendError("the graph holds a Constant node, which trk-export never writes: export it again")
        if node.op_type not in operators:
            raise BackendError(f"the backend torch has no operator {node.op_type}: take --backend onnxruntime")
        inputs: list[Any] = []
        for at, name in enumerate(node.input):
            if at in SETTINGS.get(node.op_type, ()):
                inputs.append(_setting(node, arrays, name))
            elif not name:
                inputs.append(None)
            else:
                if name not in values:
                    values[name] = made.get_attr(_register(root, arrays[name], device, fused))
                inputs.append(values[name])
        result = made.call_function(operators[node.op_type], (attributes_of(node), *inputs))
        if len(node.output) == 1:
            values[node.output[0]] = result
        else:
            for at, name in enumerate(node.output):
                values[name] = made.call_function(operator.getitem, (result, at))
    made.output(tuple(values[value.name] for value in graph.output))
    return fx.GraphModule(root, made)


def _register(root: nn.Module, array: Any, device: str, channels_last: bool) -> str:
    """Give `root` a weight; return its name."""
    name = f"weight_{len(list(root.buffers()))}"
    tensor = torch.from_numpy(np.array(array)).to(device)
    if channels_last and tensor.ndim == 4:
        tensor = tensor.contiguous(memory_format=torch.channels_last)
    root.register_buffer(name, tensor)
    return name


def _setting(node: onnx.NodeProto, arrays: Mapping[str, Any], name: str) -> list[Any] | None:
    """Return an input that is a shape, axes or places."""
    if not name:
        return None
    if name not in arrays:
        raise BackendError(
            f"the backend torch needs fixed shapes, and a {node.op_type} of this graph computes one: "
            "take --backend onnxruntime"
        )
    values: list[Any] = np.atleast_1d(arrays[name]).tolist()
    return values


def _array(tensor: onnx.TensorProto, external: Mapping[str, bytes]) -> Any:
    if tensor.data_location != onnx.TensorProto.EXTERNAL:
        return onnx.numpy_helper.to_array(tensor)
    place = {entry.key: entry.value for entry in tensor.external_data}
    start, length = int(place["offset"]), int(place["length"])
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    return np.frombuffer(external[place["location"]][start : start + length], dtype).reshape(tuple(tensor.dims))
