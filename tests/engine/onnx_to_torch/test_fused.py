"""Nodes that are put together for torch.compile: what they compute is what ONNX Runtime does, node by node."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto
from onnx_graphs import RANDOM, X, computed, model

from trk.engine.onnx_to_torch.fused import fused_nodes
from trk.engine.onnx_to_torch.fused_operators import FUSED_OPERATORS
from trk.engine.onnx_to_torch.graph import torch_graph
from trk.engine.onnx_to_torch.operators import OPERATORS
from trk.export.verify import run

FUSED = {
    "depth-wise, a weight of each target": ("Conv", {"group": 3}, [], (3, 1, 3, 3)),
    "depth-wise, steps and uneven padding": (
        "Conv",
        {"group": 3, "strides": [2, 1], "pads": [0, 1, 2, 0]},
        [],
        (3, 1, 3, 2),
    ),
    "depth-wise, dilated": ("Conv", {"group": 3, "dilations": [2, 3], "pads": [2, 3, 2, 3]}, ["bias"], (3, 1, 3, 3)),
    "a weight that is too large": ("Conv", {"group": 3}, [], (3, 1, 8, 8)),
    "single weights": ("Conv", {}, [], (3, 3, 1, 1)),
    "single weights, with a bias": ("Conv", {"kernel_shape": [1, 1], "pads": [0, 0, 0, 0]}, ["bias"], (3, 3, 1, 1)),
    "single weights in steps": ("Conv", {"strides": [2, 2]}, ["bias"], (3, 3, 1, 1)),
    "single weights, padded": ("Conv", {"pads": [1, 1, 1, 1]}, ["bias"], (3, 3, 1, 1)),
    "a row times a matrix": ("Gemm", {"transB": 1, "alpha": 0.5, "beta": 2.0}, ["bias"], (3, 5)),
    "a row times a matrix as it is": ("Gemm", {}, [], (5, 3)),
}
"""Kind, attributes, and the shape of the second input, which the caller gives."""


@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize("name", FUSED)
def test_operator_that_is_written_to_be_fused_does_what_onnx_runtime_does(name, constant):
    kind, attributes, more, shape = FUSED[name]
    x = X if kind == "Conv" else X[0, 0, 0, :5][None]
    weight = RANDOM.normal(size=shape).astype(np.float32)
    bias = RANDOM.normal(size=3).astype(np.float32)
    inputs = {"x": x} if constant else {"x": x, "w": weight}
    constants = [*([("w", weight)] if constant else []), *([("bias", bias)] if more else [])]
    infos = [(name, TensorProto.FLOAT, value.shape) for name, value in inputs.items()]
    made = model([(kind, ["x", "w", *more], ["y"], attributes)], infos, [("y", TensorProto.FLOAT, None)], constants)
    np.testing.assert_allclose(*computed(made, inputs, fused=True), rtol=1e-5, atol=1e-5)


def weights(name, *shape):
    return name, RANDOM.normal(size=shape).astype(np.float32)


BOUNDS = [("low", np.float32(0.25)), ("high", np.float32(1.5))]
CLIP = "Clip", ["low", "high"], BOUNDS
RELU, SWISH, EXP = ("Relu", [], []), ("HardSwish", [], []), ("Exp", [], [])
DEPTHWISE = {"group": 8, "pads": [1, 1, 1, 1]}, (8, 1, 3, 3)
SINGLE = {}, (8, 8, 1, 1)
SQUARE = {"pads": [1, 1, 1, 1]}, (16, 8, 3, 3)
CHAINS = {
    "depth-wise between two": (DEPTHWISE, CLIP, SWISH, True, ["Depthwise"]),
    "depth-wise without a bias": (DEPTHWISE, SWISH, RELU, False, ["Depthwise"]),
    "depth-wise and what it can not take": (DEPTHWISE, EXP, EXP, True, ["Exp", "Depthwise", "Exp"]),
    "single weights": (SINGLE, RELU, RELU, True, ["Relu", "PointwiseRelu"]),
    "single weights without a bias": (SINGLE, CLIP, RELU, False, ["Clip", "Pointwise", "Relu"]),
    "single weights and another activation": (SINGLE, RELU, CLIP, True, ["Relu", "Pointwise", "Clip"]),
    "single weights in groups": (({"group": 2}, (12, 4, 1, 1)), RELU, RELU, True, ["Relu", "PointwiseRelu"]),
    "single weights in groups, without a bias": (
        ({"group": 4}, (4, 2, 1, 1)),
        RELU,
        CLIP,
        False,
        ["Relu", "Pointwise", "Clip"],
    ),
    "other convolutions in groups": (({"group": 2}, (6, 4, 3, 3)), RELU, RELU, True, ["Relu", "Conv", "Relu"]),
    "other convolutions": (SQUARE, RELU, CLIP, True, ["Relu", "Conv", "Clip"]),
    "other convolutions of FP32": (SQUARE, RELU, RELU, True, ["Relu", "Conv", "Relu"]),
}
"""Attributes and shape of a convolution, activations before and after, whether it has a bias; what becomes of it."""


def chain(convolution, before, after, has_bias, outputs="y", dtype=np.float32):
    """A convolution between two activations: x, a, c, y."""
    (attributes, shape), bias = convolution, ["b"] if has_bias else []
    constants = dict([weights("w", *shape), weights("b", shape[0]), *before[2], *after[2]])
    nodes = [
        (before[0], ["x", *before[1]], ["a"], {}),
        ("Conv", ["a", "w", *bias], ["c"], attributes),
        (after[0], ["c", *after[1]], ["y"], {}),
    ]
    used = {name for node in nodes for name in node[1]}
    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    made = model(
        nodes,
        [("x", kind, (2, 8, 9, 7))],
        [(name, kind, None) for name in outputs],
        [(name, np.asarray(array, dtype)) for name, array in constants.items() if name in used],
    )
    return onnx.shape_inference.infer_shapes(made)


def kinds(made):
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in made.graph.initializer}
    return [node.op_type for node in fused_nodes(made.graph, constants)]


def inputs():
    return {"x": (2 * RANDOM.normal(size=(2, 8, 9, 7))).astype(np.float32)}


@pytest.mark.parametrize("name", CHAINS)
def test_convolutions_take_along_what_their_kernels_can(name):
    *parts, expected = CHAINS[name]
    made = chain(*parts)
    assert kinds(made) == expected
    np.testing.assert_allclose(*computed(made, inputs(), fused=True), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("convolution", "expected"),
    [
        (SQUARE, ["Relu", "ConvRelu"]),
        (({"strides": [2, 2]}, (16, 8, 1, 1)), ["Relu", "ConvRelu"]),
        (({"pads": [1, 0, 1, 1]}, (16, 8, 3, 3)), ["Relu", "Conv", "Relu"]),
        (({}, (12, 8, 3, 3)), ["Relu", "Conv", "Relu"]),
        (({"group": 2}, (16, 4, 3, 3)), ["Relu", "Conv", "Relu"]),
    ],
    ids=["square", "steps", "uneven padding", "channels that cuDNN has no kernel for", "groups"],
)
def test_convolution_of_fp16_takes_relu_along_where_cudnn_has_a_kernel(convolution, expected):
    made = chain(convolution, RELU, RELU, True, dtype=np.float16)
    assert kinds(made) == expected
    given = {name: array.astype(np.float16) for name, array in inputs().items()}
    np.testing.assert_allclose(*computed(made, given, fused=True), rtol=4e-3, atol=4e-3)


@pytest.mark.parametrize("pads", [[0, 0, 0, 0], [3, 3, 3, 3], [2, 1, 0, 3]])
@pytest.mark.parametrize("size", [(23, 22), (24, 21)])
@pytest.mark.parametrize("sides", [(7, 7), (11, 11), (6, 5)])
def test_large_convolution_of_a_picture_reads_four_pixels_as_one(pads, size, sides):
    half = TensorProto.FLOAT16
    constants = [weights("w", 8, 3, *sides), weights("b", 8)]
    nodes = [("Conv", ["x", "w", "b"], ["c"], {"strides": [2, 2], "pads": pads}), ("Relu", ["c"], ["y"], {})]
    halves = [(name, array.astype(np.float16)) for name, array in constants]
    made = onnx.shape_inference.infer_shapes(model(nodes, [("x", half, (2, 3, *size))], [("y", half, None)], halves))
    assert kinds(made) == ["Pack", "ConvRelu"]
    found, expected = computed(made, {"x": RANDOM.normal(size=(2, 3, *size)).astype(np.float16)}, fused=True)
    np.testing.assert_allclose(found, expected, rtol=4e-3, atol=4e-2)


@pytest.mark.parametrize(
    ("attributes", "shape"),
    [({}, (8, 3, 7, 7)), ({"strides": [2, 2]}, (8, 3, 3, 3)), ({"strides": [2, 1]}, (8, 3, 7, 7))],
    ids=["every pixel", "small", "every second pixel in one direction"],
)
def test_other_convolutions_of_a_picture_stay(attributes, shape):
    half = TensorProto.FLOAT16
    weight = [("w", RANDOM.normal(size=shape).astype(np.float16))]
    made = model([("Conv", ["x", "w"], ["y"], attributes)], [("x", half, (1, 3, 23, 23))], [("y", half, None)], weight)
    assert kinds(made) == ["Conv"]


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [("ya", ["Clip", "Depthwise"]), ("yc", ["Depthwise", "Relu"]), ("yac", ["Clip", "Depthwise", "Relu"])],
)
def test_activation_that_something_else_reads_stays(outputs, expected):
    made, given = chain(DEPTHWISE, CLIP, RELU, True, outputs), inputs()
    assert kinds(made) == expected
    results = torch_graph(made.SerializeToString(), "cpu", fused=True)(torch.from_numpy(given["x"]))
    for found, wanted in zip(results, run(made, given).values(), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def correlation(after=(1, 2), inside="Reshape", fixed=False):
    """The maps of two targets of eight channels, each by its own kernel, as exported graphs have it."""
    n, c = 2, 8
    sizes = {"flat": (1, n * c, 9, 7), "tall": (n * c, 1, 3, 3), "back": (n * after[0], c // after[0], 7, 5)}
    constants = [(name, np.array(shape)) for name, shape in sizes.items()]
    nodes = [
        ("Reshape", ["x", "flat"], ["f"], {}),
        ("Reshape", ["k", "tall"], ["t"], {}),
        ("Conv", ["f", "t"], ["c"], {"group": n * c}),
        (inside, ["c", *(["back"] if inside == "Reshape" else [])], ["y"], {}),
    ]
    if fixed:
        del nodes[1]
    infos = [("x", TensorProto.FLOAT, (n, c, 9, 7)), ("k", TensorProto.FLOAT, (n, c, 3, 3))][: 2 - fixed]
    read = {name for node in nodes for name in node[1]}
    used = [one for one in (*constants, weights("t", n * c, 1, 3, 3)) if one[0] in read and (fixed or one[0] != "t")]
    return onnx.shape_inference.infer_shapes(model(nodes, infos, [("y", TensorProto.FLOAT, None)], used))


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (correlation(), ["Reshape", "Depthwise"]),
        (correlation((2, 1)), ["Reshape", "Reshape", "Depthwise", "Reshape"]),
        (correlation(inside="Relu"), ["Reshape", "Reshape", "Depthwise"]),
        (correlation(fixed=True), ["Reshape", "Depthwise", "Reshape"]),
    ],
    ids=["back to targets", "to something else", "an activation between", "a kernel that is a weight"],
)
def test_maps_of_several_targets_are_correlated_where_they_lie(made, expected):
    assert kinds(made) == expected
    sizes = {"x": (2, 8, 9, 7), "k": (2, 8, 3, 3)}
    given = {value.name: RANDOM.normal(size=sizes[value.name]).astype(np.float32) for value in made.graph.input}
    np.testing.assert_allclose(*computed(made, given, fused=True), rtol=1e-4, atol=1e-5)


def test_activation_goes_to_one_of_two_convolutions_that_could_take_it():
    nodes = [
        ("Conv", ["x", "w", "b"], ["c"], DEPTHWISE[0]),
        ("Clip", ["c", "low", "high"], ["a"], {}),
        ("Conv", ["a", "w", "b"], ["y"], DEPTHWISE[0]),
    ]
    constants = [weights("w", 8, 1, 3, 3), weights("b", 8), *BOUNDS]
    made = model(nodes, [("x", TensorProto.FLOAT, (2, 8, 9, 7))], [("y", TensorProto.FLOAT, None)], constants)
    made = onnx.shape_inference.infer_shapes(made)
    assert kinds(made) == ["Depthwise", "Depthwise"]
    np.testing.assert_allclose(*computed(made, inputs(), fused=True), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("axis", [1, -1])
@pytest.mark.parametrize(
    ("length", "kind"), [(3125, "LongArgMax"), (1024, "LongArgMax"), (1031, "ArgMax"), (225, "ArgMax")]
)
def test_first_of_the_largest_is_found_row_by_row(length, kind, axis):
    floats = TensorProto.FLOAT
    made = model(
        [("ArgMax", ["x"], ["y"], {"axis": axis})], [("x", floats, (2, length))], [("y", TensorProto.INT64, None)]
    )
    assert kinds(made) == [kind]
    for values in (RANDOM.normal(size=(2, length)), np.zeros((2, length)), RANDOM.integers(0, 3, (2, length))):
        found, expected = computed(made, {"x": values.astype(np.float32)}, fused=True)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


def test_compiled_nodes_are_what_they_were():
    for *parts, _ in CHAINS.values():
        module = torch_graph(chain(*parts).SerializeToString(), "cpu", fused=True)
        compiled, x = torch.compile(module, backend="aot_eager", fullgraph=True), torch.from_numpy(inputs()["x"])
        torch.testing.assert_close(compiled(x), module(x))


def test_names_of_fused_operators_are_none_of_onnx():
    assert not set(FUSED_OPERATORS) & set(OPERATORS)
