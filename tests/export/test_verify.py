import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from trk import BackendError, ExportError
from trk.export.verify import Agreement, run


def model(operator="Neg"):
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node(operator, ["x"], ["y"])], "g", values[:1], values[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def test_a_graph_is_fed_what_it_takes_and_no_more():
    (found,) = run(model(), {"x": np.array([1, -2], np.float32), "other": np.zeros(9)}).values()
    assert found.tolist() == [-1, 2]


@pytest.mark.parametrize(
    ("made", "feeds"), [(model(), {"x": np.zeros(3, np.float32)}), (onnx.ModelProto(), {})], ids=["fed", "graph"]
)
def test_a_graph_that_can_not_be_run_leaves_no_bundle(made, feeds):
    with pytest.raises(ExportError, match="no bundle was written"):
        run(made, feeds)


def test_without_onnx_runtime_an_export_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(BackendError, match=r"trk-engine\[cpu\]"):
        run(model(), {})


def test_an_output_of_another_shape_is_no_agreement():
    with pytest.raises(ExportError, match=r"box: the graph gives \[4\], PyTorch \[1, 4\]"):
        Agreement().compare("box", np.zeros(4), np.zeros((1, 4)), 1.0)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1.01])
def test_a_difference_above_its_limit_or_not_finite_is_refused(value):
    agreement = Agreement()
    agreement.compare("box", np.array([value, 0.0]), np.zeros(2), 1.0)
    with pytest.raises(ExportError, match="box differs by"):
        agreement.require()


def test_the_largest_of_several_differences_is_kept():
    agreement = Agreement()
    for value in (0.5, 1.0, 0.25):
        agreement.compare("box", np.array([value]), np.zeros(1), 1.0)
    agreement.require()  # at its limit
    assert agreement.differences == {"box": 1.0}
