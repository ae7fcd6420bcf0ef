"""INT8 bundles: constant convolutions only, and the boxes stay where they were."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from train_data import moving_squares

from trk.bench.ope import overlap
from trk.engine.bundle import Bundle
from trk.engine.tracker import Tracker
from trk.train.quantise import constant_convolutions, main, quantise, sample_tracks
from trk.train.tracks import Images
from trk.weights.clips import SAMPLES, sample
from trk.weights.shipped import default_bundle


def test_an_int8_bundle_keeps_its_correlation_in_float_and_its_boxes_near(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, light_bundle: Path
) -> None:
    monkeypatch.setattr("trk.train.quantise.CROPS", 12)
    tracks = moving_squares(tmp_path / "data", tracks=2)
    manifest = quantise(light_bundle, tmp_path / "int8", tracks)
    assert manifest.precision == "int8"
    opened = Bundle(tmp_path / "int8")
    model = onnx.load_from_string(opened.read("search.onnx"))
    constants = {tensor.name for tensor in model.graph.initializer}
    made = {output: node for node in model.graph.node for output in node.output}
    kernels = [node for node in model.graph.node if node.op_type == "Conv" and _source(made, node.input[1], constants)]
    assert kernels  # the correlations, with kernels that come from outside
    assert not any(_through(made, node.input[1], "DequantizeLinear") for node in kernels)
    assert sum(node.op_type == "DequantizeLinear" for node in model.graph.node) > 20

    found = []
    for bundle in (light_bundle, tmp_path / "int8"):
        tracker = Tracker(bundle, threads=1)
        images = [Images().read(frame) for frame in tracks[0].frames]
        tracker.init(images[0], tracks[0].frames[0].box or ())
        found.append([tracker.update(image).box for image in images[1:]])
    assert overlap(np.array(found[0]), np.array(found[1])).min() > 0.5


def test_the_sample_clips_are_what_is_calibrated_on_where_nothing_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("trk.train.quantise.CROPS", 6)
    tracks = sample_tracks(tmp_path)
    assert [track.name for track in tracks] == list(SAMPLES)
    assert all(len(track.frames) == len(sample(track.name).groundtruth) for track in tracks)
    assert main([str(default_bundle()), str(tmp_path / "int8.trk")]) == 0
    said = capsys.readouterr()
    assert said.out == f"wrote {tmp_path / 'int8.trk'}\n"
    assert said.err == ""
    assert Bundle(tmp_path / "int8.trk").manifest.precision == "int8"


def test_a_bundle_that_is_int8_already_is_told_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(default_bundle("int8")), str(tmp_path / "again.trk")]) == 2
    assert "INT8 is made of an FP32 bundle" in capsys.readouterr().err
    assert not (tmp_path / "again.trk").exists()


def _source(made: dict[str, onnx.NodeProto], value: str, constants: set[str]) -> bool:
    """Whether `value` depends on an input of the graph."""
    if value in constants:
        return False
    return value not in made or any(_source(made, name, constants) for name in made[value].input)


def _through(made: dict[str, onnx.NodeProto], value: str, op_type: str) -> bool:
    """Whether `value` was made by way of such a node."""
    node = made.get(value)
    return node is not None and (node.op_type == op_type or any(_through(made, name, op_type) for name in node.input))


def test_activations_go_with_their_convolution_and_first_and_last_ones_and_those_that_weigh_channels_stay() -> None:
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT

    def weights(name: str, outputs: int) -> onnx.TensorProto:
        return onnx.numpy_helper.from_array(np.ones((outputs, 16, 1, 1), np.float32), name)

    nodes = [helper.make_node("Conv", ["x", "w"], ["x0"], "first")]
    nodes += [helper.make_node("Conv", [f"x{number}", "w"], [f"x{number + 1}"], f"first {number}") for number in (0, 1)]
    nodes += [
        helper.make_node("Conv", ["x2", "w"], ["a"], "middle"),
        helper.make_node("Relu", ["a"], ["b"], "relu"),
        helper.make_node("GlobalAveragePool", ["b"], ["mean"], "mean"),
        helper.make_node("Conv", ["mean", "w"], ["weight"], "squeeze"),
        helper.make_node("Relu", ["weight"], ["weights"], "its relu"),
        helper.make_node("Mul", ["b", "weights"], ["m"], "excite"),
        helper.make_node("Conv", ["m", "kernel"], ["c"], "correlation"),
        helper.make_node("Conv", ["c", "few"], ["d"], "last of a head"),
        helper.make_node("Relu", ["d"], ["e"], "its relu, too"),
    ]
    inputs = [
        helper.make_tensor_value_info("x", floats, [1, 16, 4, 4]),
        helper.make_tensor_value_info("kernel", floats, [16, 16, 1, 1]),
    ]
    outputs = [helper.make_tensor_value_info("e", floats, [1, 8, 4, 4])]
    graph = helper.make_graph(nodes, "g", inputs, outputs, [weights("w", 16), weights("few", 8)])
    assert constant_convolutions(helper.make_model(graph)) == ["middle", "relu"]
