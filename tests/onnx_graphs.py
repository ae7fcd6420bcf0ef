"""Small ONNX graphs of a few nodes, and what PyTorch and ONNX Runtime make of them."""

import numpy as np
import onnx
import torch
from onnx import helper

from trk.engine.onnx_to_torch.graph import torch_graph
from trk.export.verify import run


def model(nodes, inputs, outputs, constants=()):
    """A graph of `nodes`; `inputs` and `outputs` are (name, element type, shape), `constants` (name, array)."""
    infos = [[helper.make_tensor_value_info(*one) for one in some] for some in (inputs, outputs)]
    tensors = [onnx.numpy_helper.from_array(np.asarray(array), name) for name, array in constants]
    graph = helper.make_graph([helper.make_node(*node[:3], **node[3]) for node in nodes], "g", *infos, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(2, 3, 8, 9)).astype(np.float32)


def computed(made, inputs, fused=False):
    """What ONNX Runtime and what PyTorch makes of a graph."""
    (expected,) = run(made, inputs).values()
    (found,) = torch_graph(made.SerializeToString(), "cpu", fused=fused)(*map(torch.from_numpy, inputs.values()))
    return found.numpy(), expected
