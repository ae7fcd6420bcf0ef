import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from trk.engine.tracker import Tracker
from trk.export.bundle import export_bundle
from trk.export.onnx_graph import to_onnx
from trk.export.winograd import by_winograd, lines
from trk.models.registry import find


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0])


def both(module: nn.Module, x: torch.Tensor) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    plain = to_onnx(module.eval(), (x,), ["x"], ["y"])
    return plain, by_winograd(plain)


def one(convolution: nn.Conv2d, x: torch.Tensor) -> onnx.ModelProto:
    """A graph of one convolution and a ReLU, as the exporter writes it, without its second for each."""
    padding = tuple(convolution.padding)
    attributes = {
        **{"dilations": convolution.dilation, "group": convolution.groups, "kernel_shape": convolution.kernel_size},
        **{"pads": padding * 2, "strides": convolution.stride, "auto_pad": "NOTSET"},
    }
    helper = onnx.helper
    nodes = [helper.make_node("Conv", ["x", "weight", "bias"], ["z"], "conv", **attributes)]
    nodes += [helper.make_node("Relu", ["z"], ["y"], "relu")]
    with torch.no_grad():
        shapes = {"x": x.shape, "z": convolution(x).shape, "y": convolution(x).shape}
    values = {
        name: helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in shapes.items()
    }
    weights = [onnx.numpy_helper.from_array(value.detach().numpy(), n) for n, value in convolution.named_parameters()]
    graph = helper.make_graph(nodes, "g", [values["x"]], [values["y"]], weights, value_info=[values["z"]])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


@pytest.mark.parametrize(
    ("side", "pad", "dilation"), [(31, 0, 1), (31, 1, 1), (31, 2, 2), (31, 4, 4), (24, 0, 1), (26, 0, 3), (22, 0, 1)]
)
@pytest.mark.parametrize("count", [1, 2])
def test_a_convolution_stays_what_it_is(side, pad, dilation, count):
    torch.manual_seed(side + pad)
    x = torch.randn(count, 128, side, side)
    plain = one(nn.Conv2d(128, 136, 3, padding=pad, dilation=dilation), x)
    fast = by_winograd(plain)
    assert sum(node.op_type == "MatMul" for node in fast.graph.node) == 36 + 5
    assert not [node for node in fast.graph.node if node.op_type == "Conv"]
    wanted = run(plain, x.numpy())
    np.testing.assert_allclose(run(fast, x.numpy()), wanted, atol=3e-5 * np.abs(wanted).max())


def test_several_in_a_row_and_without_bias():
    torch.manual_seed(1)
    x = torch.randn(1, 128, 24, 24)
    convolutions = [nn.Conv2d(128, 128, 3, padding=1, bias=False), nn.ReLU(), nn.Conv2d(128, 128, 3, bias=False)]
    plain, fast = both(nn.Sequential(*convolutions), x)
    wanted = run(plain, x.numpy())
    np.testing.assert_allclose(run(fast, x.numpy()), wanted, atol=1e-4 * np.abs(wanted).max())


@pytest.mark.parametrize(
    "convolution",
    [
        nn.Conv2d(128, 128, 3, stride=2),
        nn.Conv2d(128, 128, 3, groups=128),
        nn.Conv2d(128, 64, 3),
        nn.Conv2d(128, 128, 1),
        nn.Conv2d(128, 128, 3, padding=(1, 0)),
        nn.Conv2d(128, 128, 3, dilation=4),
    ],
    ids=["stride", "depthwise", "few channels", "1x1", "uneven pads", "few tiles"],
)
def test_what_does_not_gain_or_is_no_such_convolution_stays(convolution):
    plain = one(convolution, torch.randn(1, 128, 24, 24))
    assert by_winograd(plain) is plain


@pytest.mark.parametrize(("pad", "dilation"), [(0, 1), (1, 1), (2, 2), (3, 1)])
def test_lines_are_a_convolution_in_one_dimension(pad, dilation):
    random = np.random.default_rng(0)
    line, weights = random.normal(size=23), random.normal(size=3)
    there, back = lines(23, pad, dilation)
    g = np.array(
        [
            [1 / 4, 0, 0],
            [-1 / 6] * 3,
            [-1 / 6, 1 / 6, -1 / 6],
            [1 / 24, 1 / 12, 1 / 6],
            [1 / 24, -1 / 12, 1 / 6],
            [0, 0, 1],
        ]
    )
    found = back @ ((there @ line).reshape(6, -1) * (g @ weights)[:, None]).reshape(-1)
    padded = np.pad(line, pad)
    wanted = [padded[at : at + 2 * dilation + 1 : dilation] @ weights for at in range(len(padded) - 2 * dilation)]
    np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["alexnet", "mobilenetv2", "resnet50"])
def test_whole_models_track_as_without(variant, clip, tmp_path):
    row = find("siamrpnpp", variant)
    export_bundle(row, tmp_path / "plain")
    export_bundle(row, tmp_path / "fast", winograd=True)
    trackers = [Tracker(tmp_path / name, threads=1) for name in ("plain", "fast")]
    for tracker in trackers:
        tracker.init(clip.frames[0], clip.boxes[0])
    for frame in clip.frames[1:5]:
        plain, fast = (tracker.update(frame) for tracker in trackers)
        np.testing.assert_allclose(fast.box, plain.box, atol=0.05)
        assert fast.score == pytest.approx(plain.score, abs=1e-3)
