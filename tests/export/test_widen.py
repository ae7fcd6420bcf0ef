import numpy as np
import onnx
import pytest
import torch
from torch import nn

from trk.export.onnx_graph import to_onnx
from trk.export.verify import run
from trk.export.widen import MULTIPLE, widened


class Inverted(nn.Module):
    """An inverted residual of MobileNetV2 with channels that are no multiples of four, and a head."""

    def __init__(self, channels: int = 6, wide: int = 22) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, channels, 3, padding=1)
        self.expand = nn.Conv2d(channels, wide, 1, bias=False)
        self.depthwise = nn.Conv2d(wide, wide, 3, padding=1, groups=wide)
        self.project = nn.Conv2d(wide, channels, 1)
        self.head = nn.Conv2d(channels, 5, 1)

    def forward(self, x):
        x = self.stem(x)
        y = self.project(nn.functional.relu6(self.depthwise(nn.functional.relu6(self.expand(x)))))
        return self.head(x + y)


class Pooled(Inverted):
    """Its channels are mixed by something that is no convolution."""

    def forward(self, x):
        return super().forward(x) + self.stem(x).softmax(1)[:, :1]


class Shared(nn.Module):
    """One set of filters on two values, one of which leaves the graph."""

    def __init__(self) -> None:
        super().__init__()
        self.filters = nn.Conv2d(3, 6, 1)
        self.head = nn.Conv2d(6, 4, 1)

    def forward(self, x):
        return self.filters(x), self.head(self.filters(x * 2).relu())


def exported(module: nn.Module, outputs=("y",)) -> tuple[onnx.ModelProto, torch.Tensor]:
    torch.manual_seed(0)
    x = torch.rand(1, 3, 12, 12) - 0.5
    return to_onnx(module.eval(), (x,), ["x"], list(outputs)), x


def convolutions(model: onnx.ModelProto) -> dict[tuple[int, ...], int]:
    """Filter shapes with their groups."""
    weights = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    found = {}
    for node in model.graph.node:
        if node.op_type == "Conv":
            groups = next((a.i for a in node.attribute if a.name == "group"), 1)
            found[weights[node.input[1]]] = groups
    return found


def test_channels_inside_become_multiples_and_outputs_stay():
    model, x = exported(Inverted())
    wide = widened(model)
    assert convolutions(wide) == {
        (8, 3, 3, 3): 1,
        (24, 8, 1, 1): 1,
        (24, 1, 3, 3): 24,
        (8, 24, 1, 1): 1,
        (5, 8, 1, 1): 1,
    }
    assert all(shape[0] % MULTIPLE == 0 for shape in convolutions(wide) if shape[0] != 5)
    onnx.checker.check_model(wide, full_check=True)
    feeds = {"x": x.numpy()}
    np.testing.assert_allclose(run(wide, feeds)["y"], run(model, feeds)["y"], atol=1e-6)
    assert [value.name for value in wide.graph.output] == ["y"]


def test_the_given_model_is_left_alone():
    model, _ = exported(Inverted())
    before = model.SerializeToString()
    widened(model)
    assert model.SerializeToString() == before


def test_multiples_stay_as_they_are():
    model, _ = exported(Inverted(8, 24))
    assert widened(model) is model


def test_what_something_else_reads_is_not_touched():
    model, x = exported(Pooled())
    wide = widened(model)
    # The stem's six channels go through a softmax; the twenty-two inside don't.
    assert (6, 3, 3, 3) in convolutions(wide)
    assert convolutions(wide)[(24, 1, 3, 3)] == 24
    feeds = {"x": x.numpy()}
    np.testing.assert_allclose(run(wide, feeds)["y"], run(model, feeds)["y"], atol=1e-6)


def test_filters_that_are_used_twice_are_filled_up_where_they_may_be():
    model, x = exported(Shared(), ("a", "b"))
    wide = widened(model)
    feeds = {"x": x.numpy()}
    ours, theirs = run(wide, feeds), run(model, feeds)
    assert ours["a"].shape == (1, 6, 12, 12)
    for name in ("a", "b"):
        np.testing.assert_allclose(ours[name], theirs[name], atol=1e-6)


@pytest.mark.parametrize("multiple", [3, 16])
def test_any_multiple_gives_the_same_outputs(multiple):
    model, x = exported(Inverted())
    feeds = {"x": x.numpy()}
    found = run(widened(model, multiple), feeds)["y"]
    np.testing.assert_allclose(found, run(model, feeds)["y"], atol=1e-6)
