"""Maps that are made wider so that their rows are aligned: nothing of what comes out changes."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from onnx_graphs import RANDOM, computed, model

from trk.engine.onnx_to_torch.aligned import BYTES
from trk.engine.onnx_to_torch.fused import fused_nodes

FLOATS = BYTES // 4
DEPTHWISE = {"group": 10, "pads": [1, 1, 1, 1]}
BLOCK = [
    ("Conv", ["x", "stem", "stem_b"], ["s"], {"strides": [2, 2]}),
    ("Clip", ["s", "low", "high"], ["c"], {}),
    ("Conv", ["c", "up", "up_b"], ["u"], {}),
    ("Clip", ["u", "low", "high"], ["v"], {}),
    ("Conv", ["v", "deep", "up_b"], ["d"], DEPTHWISE),
    ("HardSwish", ["d"], ["e"], {}),
    ("Conv", ["e", "down", "stem_b"], ["t"], {}),
    ("Add", ["t", "c"], ["r"], {}),
    ("Conv", ["r", "last"], ["y"], {}),
]
"""A stem, a block as MobileNetV2 has, with a residual sum, and a layer behind it: 6, 10 and 5 channels."""
SHAPES = {
    "stem": (6, 3, 3, 3),
    "stem_b": (6,),
    "up": (10, 6, 1, 1),
    "up_b": (10,),
    "deep": (10, 1, 3, 3),
    "down": (6, 10, 1, 1),
    "last": (5, 6, 1, 1),
    "square": (6, 6, 1, 1),
}


def made(nodes, outputs=("y",), inputs=(("x", (2, 3, 9, 8)),)):
    read = {name for node in nodes for name in node[1]}
    constants = [(name, RANDOM.normal(size=shape).astype(np.float32)) for name, shape in SHAPES.items() if name in read]
    constants += [(name, np.float32(value)) for name, value in (("low", 0.5), ("high", 6)) if name in read]
    infos = [(name, TensorProto.FLOAT, shape) for name, shape in inputs]
    graph = model(nodes, infos, [(name, TensorProto.FLOAT, None) for name in outputs], constants)
    return onnx.shape_inference.infer_shapes(graph)


def widths(graph):
    """Of each convolution's weight, channels out and in, or the channels of a depth-wise one."""
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.graph.initializer}
    weights = [constants[n.input[1]] for n in fused_nodes(graph.graph, constants) if n.input[1:] and n.op_type != "Add"]
    return [weight.shape[:2] if weight.ndim == 4 else weight.shape[2:] for weight in weights if weight.ndim > 1]


def same(graph):
    inputs = {
        value.name: RANDOM.normal(size=[d.dim_value for d in value.type.tensor_type.shape.dim]).astype(np.float32)
        for value in graph.graph.input
    }
    np.testing.assert_allclose(*computed(graph, inputs, fused=True), rtol=1e-4, atol=1e-4)


def test_block_has_whole_rows_inside_and_its_channels_outside():
    graph = made(BLOCK)
    assert widths(graph) == [(8, 3), (12, 8), (12,), (8, 12), (5, 8)]
    assert all(size % FLOATS == 0 for wide in widths(graph) for size in wide[:1] if size != 5)
    same(graph)


def test_channels_that_are_aligned_stay(monkeypatch):
    monkeypatch.setattr("trk.engine.onnx_to_torch.aligned.BYTES", 8)
    graph = made(BLOCK)
    assert widths(graph) == [(6, 3), (10, 6), (10,), (6, 10), (5, 6)]
    same(graph)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ([("GlobalAveragePool", ["r"], ["z"], {})], [(6, 3), (12, 6), (12,), (6, 12), (5, 6)]),
        ([("GlobalAveragePool", ["v"], ["z"], {})], [(8, 3), (10, 8), (10,), (8, 10), (5, 8)]),
        ([("Add", ["r", "row"], ["w"], {}), ("Conv", ["w", "last"], ["z"], {})], [(6, 3), (12, 6), (12,), (6, 12)]),
    ],
    ids=["read by a mean", "inside, read by a mean", "added to a row of an input"],
)
def test_maps_that_something_else_reads_stay_with_what_is_added_to_them(more, expected):
    graph = made([*BLOCK, *more], ("y", "z"), (("x", (2, 3, 9, 8)), ("row", (1, 6, 1, 1)))[: 1 + ("row" in str(more))])
    assert widths(graph)[: len(expected)] == expected


def test_map_that_is_an_output_stays():
    graph = made(BLOCK[:-1], ("r",))
    assert widths(graph) == [(6, 3), (12, 6), (12,), (6, 12)]
    same(graph)


def test_map_of_one_channel_is_not_added_to_a_wider_one():
    nodes = [
        ("Conv", ["x", "stem", "stem_b"], ["a"], {}),
        ("Conv", ["x", "one"], ["b"], {}),
        ("Add", ["a", "b"], ["c"], {}),
        ("Conv", ["c", "last"], ["y"], {}),
    ]
    graph = made(nodes[:1] + nodes[2:], inputs=(("x", (1, 3, 9, 8)), ("b", (1, 1, 7, 6))))
    assert widths(graph) == [(6, 3), (5, 6)]
    same(graph)


def test_weight_that_two_nodes_share_is_as_wide_as_each_of_them_needs():
    nodes = [
        ("Conv", ["x", "square"], ["a"], {}),
        ("Conv", ["a", "square"], ["b"], {}),
        ("Conv", ["b", "square"], ["y"], {}),
    ]
    graph = made(nodes, inputs=(("x", (1, 6, 9, 8)),))
    assert widths(graph) == [(8, 6), (8, 8), (6, 8)]
    same(graph)


def test_weights_of_each_target_stay():
    nodes = [
        ("Conv", ["x", "stem", "stem_b"], ["a"], {}),
        ("Conv", ["a", "w"], ["b"], {"group": 6}),
        ("Conv", ["b", "last"], ["y"], {}),
    ]
    graph = made(nodes, inputs=(("x", (1, 3, 9, 8)), ("w", (6, 1, 3, 3))))
    same(graph)
