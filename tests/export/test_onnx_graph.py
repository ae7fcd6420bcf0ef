import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from trk import ExportError
from trk.export.onnx_graph import check, to_onnx, without_outputs


class Unexportable(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * x.sum().item() if x.sum().item() > 0 else x.cumsum(0)


@pytest.mark.slow
def test_a_network_that_pytorch_can_not_export_is_told_in_one_line():
    with pytest.raises(ExportError, match="PyTorch can't export the network") as caught:
        to_onnx(Unexportable(), (torch.ones(2),), ["x"], ["y"])
    assert "\n" not in str(caught.value)


def test_a_graph_that_onnx_refuses_is_told_in_one_line():
    with pytest.raises(ExportError, match=r"onnx\.checker refuses the graph") as caught:
        check(onnx.ModelProto())
    assert "\n" not in str(caught.value)


def test_an_output_that_is_taken_away_stays_inside_and_the_given_graph_as_it_was():
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in "xyz"]
    nodes = [helper.make_node("Neg", ["x"], ["y"]), helper.make_node("Abs", ["y"], ["z"])]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    less = without_outputs(model, ["y"])
    check(less)
    assert [value.name for value in less.graph.output] == ["z"]
    assert [value.name for value in model.graph.output] == ["y", "z"]
    assert "y" in less.graph.node[1].input
