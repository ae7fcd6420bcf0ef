"""The backend torch: bundles run operator by operator as ONNX Runtime runs them, and FP16 that is FP16."""

import sys

import numpy as np
import onnx
import pytest
import torch
from nano import nano_bundle
from onnx import TensorProto, helper
from tiny import TINY, seeded

from trk import BackendError, MultiTracker, Tracker
from trk.engine.backends import load_backend
from trk.engine.backends.torch import TorchBackend
from trk.engine.backends.torch_graph import TorchGraph
from trk.engine.backends.torch_ops import OPERATORS, SETTINGS, TYPES
from trk.engine.bundle import Bundle
from trk.engine.manifest import Weights
from trk.export.bundle import export_bundle
from trk.export.verify import run


@pytest.fixture(scope="module")
def nano(tmp_path_factory):
    return nano_bundle(tmp_path_factory)


def track(bundle, clip, backend):
    tracker = Tracker(bundle, backend, threads=1)
    assert tracker.backend.name == backend
    tracker.init(clip.frames[0], clip.boxes[0])
    return np.array([tracker.update(frame).box for frame in clip.frames[1:8]])


@pytest.mark.parametrize("name", ["tiny_bundle", "long_bundle", "nano"])
def test_it_tracks_as_onnx_runtime_does(name, clip, request):
    bundle = request.getfixturevalue(name)
    expected = track(bundle, clip, "onnxruntime")
    np.testing.assert_allclose(track(bundle, clip, "torch"), expected, atol=0.05)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nmore"),
            "2 GiB: its memory is full: take a",
        ),
        (RuntimeError("CUDA error: no kernel image is available for execution\nmore"), "no kernel image is available"),
    ],
)
def test_failure_of_pytorch_is_one_line(tiny_bundle, clip, monkeypatch, error, words):
    tracker = Tracker(tiny_bundle, "torch", threads=1)
    tracker.init(clip.frames[0], clip.boxes[0])

    def fails(graph, values):
        raise error

    monkeypatch.setattr(TorchGraph, "__call__", fails)
    for call in (lambda: tracker.update(clip.frames[1]), lambda: tracker.init(clip.frames[0], clip.boxes[0])):
        with pytest.raises(BackendError, match=rf"PyTorch failed while running the .* graph: .*{words}") as caught:
            call()
        assert "\n" not in str(caught.value)


def test_lane_has_buffers_of_its_own(tiny_bundle):
    backend = load_backend(Bundle(tiny_bundle), "torch")
    lane = backend.lane()
    lane.template_crop[:] = 5
    assert (backend.template_crop != 5).all()


def test_several_targets_in_one_run_as_in_onnx_runtime(many_bundle, clip):
    found = []
    for name in ("onnxruntime", "torch"):
        tracker = MultiTracker(many_bundle, name, threads=1, together=True)
        for number in range(3):
            x, y, w, h = clip.boxes[0]
            tracker.add(clip.frames[0], (x + 3 * number, y, w, h))
        found.append([[result.box for result in tracker.update(frame).values()] for frame in clip.frames[1:5]])
    np.testing.assert_allclose(found[1], found[0], atol=0.05)


def test_kernels_are_mixed_as_in_onnx_runtime(tiny_bundle):
    params, size = np.array([0.97, 0.2, 0.3, 1.04], np.float32), np.ones((1, 2), np.float32)
    found = []
    for name in ("onnxruntime", "torch"):
        backend = load_backend(Bundle(tiny_bundle), name)
        made = []
        for seed in range(2):
            backend.template_crop[:] = np.random.default_rng(seed).integers(
                0, 256, backend.template_crop.shape, np.uint8
            )
            made.append(backend.template(size, params))
        mixed = backend.mix(*made, 0.25)
        found.append((mixed["kernel_zf"] if name == "torch" else mixed[0]).numpy().copy())
    np.testing.assert_allclose(found[1], found[0], rtol=1e-4, atol=1e-6)


def model(nodes, inputs, outputs, constants=()):
    """A graph of `nodes`; `inputs` and `outputs` are (name, element type, shape), `constants` (name, array)."""
    infos = [[helper.make_tensor_value_info(*one) for one in some] for some in (inputs, outputs)]
    tensors = [onnx.numpy_helper.from_array(np.asarray(array), name) for name, array in constants]
    graph = helper.make_graph([helper.make_node(*node[:3], **node[3]) for node in nodes], "g", *infos, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(2, 3, 8, 9)).astype(np.float32)
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


@pytest.mark.parametrize("name", CASES)
def test_operator_does_what_onnx_runtime_does(name):
    kind, attributes, constants = CASES[name]
    constants = [(n, a.astype(np.float32) if np.asarray(a).dtype == np.float64 else a) for n, a in constants]
    out_kind = TensorProto.INT64 if kind == "ArgMax" else TensorProto.FLOAT
    node = (kind, ["x", *(n for n, _ in constants)], ["y"], attributes)
    made = model([node], [("x", TensorProto.FLOAT, X.shape)], [("y", out_kind, None)], constants)
    (expected,) = run(made, {"x": X}).values()
    (found,) = TorchGraph(made.SerializeToString(), "cpu")({"x": torch.from_numpy(X)}).values()
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-5)


def test_fp16_is_rounded_and_overflows_after_every_operator():
    weights = [(name, np.full((1, 1, 1, 1), value, np.float16)) for name, value in (("up", 300), ("down", 0.001))]
    nodes = [("Conv", ["x", "up"], ["t"], {}), ("Conv", ["t", "down"], ["y"], {})]
    half = TensorProto.FLOAT16
    made = model(nodes, [("x", half, (1, 1, 1, 1))], [("y", half, None)], weights)
    graph = TorchGraph(made.SerializeToString(), "cpu")
    for value, expected in ((250.0, np.inf), (200.0, 60.0)):
        (found,) = graph({"x": torch.full((1, 1, 1, 1), value).half()}).values()
        assert found.dtype == torch.float16
        assert float(found) == pytest.approx(expected, rel=2e-3)


def test_fp16_bundle_tracks_with_every_result_rounded(tiny_bundle, tmp_path, clip):
    weights = Weights(origin="checkpoint", file="tiny", licence="none: random projections")
    export_bundle(TINY, tmp_path / "half", seeded(), weights, precision="fp16")
    expected = track(tiny_bundle, clip, "torch")
    found = track(tmp_path / "half", clip, "torch")
    np.testing.assert_allclose(found, expected, atol=0.75)


def test_value_is_dropped_after_its_last_use_and_not_before():
    nodes = [
        ("Relu", ["x"], ["a"], {}),
        ("Add", ["a", "a"], ["b"], {}),
        ("Add", ["b", "a"], ["c"], {}),
        ("Neg", ["c"], ["y"], {}),
    ]
    made = model(
        nodes, [("x", TensorProto.FLOAT, (2,))], [("c", TensorProto.FLOAT, (2,)), ("y", TensorProto.FLOAT, (2,))]
    )
    graph = TorchGraph(made.SerializeToString(), "cpu")
    assert [set(call.last_use) for call in graph.calls] == [set(), set(), {"a", "b"}, set()]
    out = graph({"x": torch.tensor([1.0, -1.0])})
    assert out["c"].tolist() == [3.0, 0.0]


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
        TorchGraph(made.SerializeToString(), "cpu")
    assert words in str(caught.value)
    assert "--backend onnxruntime" in str(caught.value)


def test_settings_and_types_name_operators_that_exist():
    assert set(SETTINGS) <= set(OPERATORS)
    assert {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.UINT8, TensorProto.INT32} <= set(TYPES)


def test_gpu_that_is_not_there_is_told(tiny_bundle):
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(BackendError, match="this PyTorch sees no GPU"):
        TorchBackend(Bundle(tiny_bundle), "cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_on_a_gpu_it_tracks_as_on_the_cpu(tiny_bundle, clip):
    tracker = Tracker(tiny_bundle, "torch", "cuda")
    tracker.init(clip.frames[0], clip.boxes[0])
    boxes = np.array([tracker.update(frame).box for frame in clip.frames[1:8]])
    np.testing.assert_allclose(boxes, track(tiny_bundle, clip, "torch"), atol=0.05)


def test_without_pytorch_it_says_what_to_install(tiny_bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(BackendError, match=r"trk-engine\[export\]"):
        load_backend(Bundle(tiny_bundle), "torch")
