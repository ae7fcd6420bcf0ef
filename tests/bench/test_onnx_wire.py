import numpy as np
import pytest

from trk.bench.onnx_wire import matmul_model, nodes, with_outputs
from trk.engine.bundle import Bundle


def model_of(bundle, file="search.onnx"):
    opened = Bundle(bundle)
    data = opened.read(file)
    opened.close()
    return data


def test_nodes_are_those_that_onnx_reads(tiny_trk):
    onnx = pytest.importorskip("onnx")
    data = model_of(tiny_trk)
    ours = [(node.op, list(node.inputs), list(node.outputs)) for node in nodes(data)]
    theirs = [(node.op_type, list(node.input), list(node.output)) for node in onnx.load_from_string(data).graph.node]
    assert ours == theirs
    assert len(ours) > 10


def test_inner_values_become_outputs_and_the_others_stay(tiny_trk):
    onnxruntime = pytest.importorskip("onnxruntime")
    data = model_of(tiny_trk)
    choice = [node for node in nodes(data) if node.op == "ArgMax"][-1]
    session = onnxruntime.InferenceSession(with_outputs(data, choice.inputs[:1]), providers=["CPUExecutionProvider"])
    shapes = {value.name: value.shape for value in session.get_outputs()}
    assert list(shapes) == ["box", "score", "best", choice.inputs[0]]
    assert shapes[choice.inputs[0]] == [1, 272 * 272]


def test_the_product_is_right():
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(matmul_model(200), providers=["CPUExecutionProvider"])
    a, b = np.random.default_rng(0).standard_normal((2, 200, 200), np.float32)
    np.testing.assert_allclose(session.run(None, {"a": a, "b": b})[0], a @ b, atol=1e-4)


@pytest.mark.parametrize("cut", [100, 1000])
def test_what_is_no_model_is_refused(tiny_trk, cut):
    with pytest.raises(ValueError, match="not an ONNX model"):
        nodes(model_of(tiny_trk)[:-cut])
