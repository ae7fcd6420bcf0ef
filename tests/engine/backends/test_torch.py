"""PyTorch on the CPU: bundles run operator by operator as ONNX Runtime runs them, and FP16 that is FP16.

Its CUDA path is in test_capture_replay.py.
"""

import sys

import numpy as np
import pytest
import torch
from nano import nano_bundle
from onnx import TensorProto
from onnx_graphs import RANDOM, X, computed, model
from tiny import TINY, seeded
from trackers import boxes, track

from trk import BackendError, MultiTracker, Tracker
from trk.engine.backends import load_backend
from trk.engine.bundle import Bundle
from trk.engine.manifest import Weights
from trk.engine.onnx_to_torch import graph as graphs
from trk.engine.onnx_to_torch.graph import torch_graph
from trk.engine.onnx_to_torch.operators import OPERATORS, SETTINGS, TYPES
from trk.export.bundle import export_bundle


@pytest.fixture(scope="module")
def nano(tmp_path_factory):
    return nano_bundle(tmp_path_factory)


def tracked(bundle, clip, backend):
    tracker = Tracker(bundle, backend, threads=1)
    assert (tracker.backend.name, tracker.backend.device) == (backend, "cpu")
    return boxes(track(tracker, clip.frames[:8], clip.boxes[0]))


@pytest.mark.parametrize("name", ["tiny_bundle", "long_bundle", "nano"])
def test_it_tracks_as_onnx_runtime_does(name, clip, request):
    bundle = request.getfixturevalue(name)
    np.testing.assert_allclose(tracked(bundle, clip, "torch"), tracked(bundle, clip, "onnxruntime"), atol=0.05)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried 2 GiB.\nmore"), "2 GiB: its memory is full: take a"),
        (RuntimeError("CUDA error: no kernel image is available for execution\nmore"), "no kernel image is available"),
    ],
)
def test_failure_of_pytorch_is_one_line(tiny_bundle, clip, monkeypatch, error, words):
    broken = []

    def graph(*arguments, **options):
        module = torch_graph(*arguments, **options)

        def run(*inputs):
            if broken:
                raise error
            return module(*inputs)

        return run

    monkeypatch.setattr(graphs, "torch_graph", graph)
    tracker = Tracker(tiny_bundle, "torch", threads=1)
    tracker.init(clip.frames[0], clip.boxes[0])
    broken.append(True)
    for name, call in (
        ("search", lambda: tracker.update(clip.frames[1])),
        ("template", lambda: tracker.init(clip.frames[0], clip.boxes[0])),
    ):
        with pytest.raises(BackendError, match=rf"PyTorch failed while running {name}.onnx: .*{words}") as caught:
            call()
        assert "\n" not in str(caught.value)


def test_several_targets_in_one_run_as_in_onnx_runtime(many_bundle, clip):
    found = []
    for name in ("onnxruntime", "torch"):
        tracker = MultiTracker(many_bundle, name, threads=1, together=True)
        for number in range(3):
            tracker.add(clip.frames[0], clip.boxes[0] + (3 * number, 0, 0, 0))
        found.append([boxes(tracker.update(frame).values()) for frame in clip.frames[1:5]])
    np.testing.assert_allclose(found[1], found[0], atol=0.05)


CASES = {
    "uneven padding": ("Conv", {"pads": [0, 1, 2, 0], "strides": [2, 1]}, [("w", RANDOM.normal(size=(4, 3, 3, 2)))]),
    "groups, dilation": ("Conv", {"group": 3, "dilations": [2, 2]}, [("w", RANDOM.normal(size=(6, 1, 3, 3)))]),
    "padding of a middle axis": ("Pad", {}, [("pads", np.array([0, 1, 0, 2, 0, 0, 3, 0])), ("v", np.float32(7))]),
    "padding of named axes": ("Pad", {}, [("pads", np.array([1, 2])), ("v", np.float32(0)), ("axes", np.array([-1]))]),
    "slice from the end": ("Slice", {}, [("s", np.array([-3])), ("e", np.array([2**62])), ("a", np.array([3]))]),
    "slice backwards": (
        "Slice",
        {},
        [("s", np.array([-1])), ("e", np.array([-(2**62)])), ("a", np.array([1])), ("t", np.array([-1]))],
    ),
    "slice in steps": (
        "Slice",
        {},
        [("s", np.array([1, 0])), ("e", np.array([7, 9])), ("a", np.array([2, -1])), ("t", np.array([2, 3]))],
    ),
    "reshape with a kept side": ("Reshape", {}, [("shape", np.array([0, -1, 9]))]),
    "gather by a number": ("Gather", {"axis": 2}, [("i", np.array(3))]),
    "gather by a table": ("Gather", {"axis": 1}, [("i", np.array([[0, 2], [1, 1]]))]),
    "expand": ("Expand", {}, [("shape", np.array([2, 2, 3, 8, 9]))]),
    "mean of two axes": ("ReduceMean", {"keepdims": 0}, [("axes", np.array([2, 3]))]),
    "length of a vector": ("ReduceL2", {"keepdims": 1}, [("axes", np.array([1]))]),
    "clip from below": ("Clip", {}, [("low", np.float32(-0.5))]),
    "hard sigmoid": ("HardSigmoid", {"alpha": 0.3, "beta": 0.4}, []),
    "largest of three": ("Max", {}, [("a", np.float32(0.1)), ("b", np.float32(-0.1))]),
    "pooling with padding": ("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}, []),
    "last of equal ones": ("ArgMax", {"axis": 1, "keepdims": 1}, []),
    "unsqueeze at both ends": ("Unsqueeze", {}, [("axes", np.array([0, -1]))]),
    "softmax": ("Softmax", {"axis": 1}, []),
}


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_operator_does_what_onnx_runtime_does(name, fused):
    kind, attributes, constants = CASES[name]
    constants = [(n, a.astype(np.float32) if np.asarray(a).dtype == np.float64 else a) for n, a in constants]
    out_kind = TensorProto.INT64 if kind == "ArgMax" else TensorProto.FLOAT
    node = (kind, ["x", *(n for n, _ in constants)], ["y"], attributes)
    made = model([node], [("x", TensorProto.FLOAT, X.shape)], [("y", out_kind, None)], constants)
    np.testing.assert_allclose(*computed(made, {"x": X}, fused), rtol=1e-5, atol=1e-5)


def test_fp16_is_rounded_and_overflows_after_every_operator():
    weights = [(name, np.full((1, 1, 1, 1), value, np.float16)) for name, value in (("up", 300), ("down", 0.001))]
    nodes = [("Conv", ["x", "up"], ["t"], {}), ("Conv", ["t", "down"], ["y"], {})]
    half = TensorProto.FLOAT16
    made = model(nodes, [("x", half, (1, 1, 1, 1))], [("y", half, None)], weights)
    graph = torch_graph(made.SerializeToString(), "cpu")
    for value, expected in ((250.0, np.inf), (200.0, 60.0)):
        (found,) = graph(torch.full((1, 1, 1, 1), value).half())
        assert found.dtype == torch.float16
        assert float(found) == pytest.approx(expected, rel=2e-3)


def test_fp16_bundle_tracks_with_every_result_rounded(tiny_bundle, tmp_path, clip):
    weights = Weights(origin="checkpoint", file="tiny", licence="none: random projections")
    export_bundle(TINY, tmp_path / "half", seeded(), weights, precision="fp16")
    expected = tracked(tiny_bundle, clip, "torch")
    found = tracked(tmp_path / "half", clip, "torch")
    np.testing.assert_allclose(found, expected, atol=0.75)


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ([("NonZero", ["x"], ["y"], {})], "no operator NonZero"),
        ([("Shape", ["x"], ["s"], {}), ("Reshape", ["x", "s"], ["y"], {})], "no operator Shape"),
        (
            [("Cast", ["x"], ["s"], {"to": 7}), ("Reshape", ["x", "s"], ["y"], {})],
            "a Reshape of this graph computes one",
        ),
    ],
)
def test_graph_that_it_can_not_run_is_refused_with_a_way_out(nodes, words):
    made = model(nodes, [("x", TensorProto.FLOAT, (2,))], [("y", TensorProto.FLOAT, None)])
    with pytest.raises(BackendError) as caught:
        torch_graph(made.SerializeToString(), "cpu")
    assert words in str(caught.value)
    assert "--backend onnxruntime" in str(caught.value)


def test_settings_and_types_name_operators_that_exist():
    assert set(SETTINGS) <= set(OPERATORS)
    assert {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.UINT8, TensorProto.INT32} <= set(TYPES)


def test_without_pytorch_it_says_what_to_install(tiny_bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(BackendError, match=r"trk-engine\[export\]"):
        load_backend(Bundle(tiny_bundle), "torch")
