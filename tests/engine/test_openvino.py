"""OpenVINO: the same boxes as ONNX Runtime, and errors that say what to do."""

import json
import sys
from hashlib import sha256
from threading import Thread

import numpy as np
import pytest
from nano import nano_bundle

from trk.engine.multi import MultiTracker
from trk.engine.tracker import Tracker
from trk.errors import BackendError, BundleError
from trk.weights.shipped import default_bundle

openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed (trk-engine[openvino])")


def boxes(tracker, clip, count=8):
    tracker.init(clip.frames[0], clip.boxes[0])
    return np.array([tracker.update(frame).box for frame in clip.frames[1 : count + 1]])


@pytest.mark.parametrize("which", ["tiny", "long", "nano", "default"])
def test_boxes_are_those_of_onnx_runtime(which, clip, tiny_trk, long_trk, tmp_path_factory):
    bundle = {
        "tiny": lambda: tiny_trk,
        "long": lambda: long_trk,  # two search graphs that read their weights from a file
        "nano": lambda: nano_bundle(tmp_path_factory),
        "default": default_bundle,
    }[which]()
    found = boxes(Tracker(bundle, "openvino", threads=1), clip)
    np.testing.assert_allclose(found, boxes(Tracker(bundle, "onnxruntime", threads=1), clip), atol=0.05)


def test_it_says_what_it_is(tiny_trk):
    backend = Tracker(tiny_trk, "openvino", threads=1).backend
    assert (backend.name, backend.device) == ("openvino", "cpu")


def test_a_new_target_takes_new_kernels_and_leaves_the_old_ones(clip, tiny_trk):
    tracker = Tracker(tiny_trk, "openvino", threads=1)
    first = boxes(tracker, clip)
    tracker.init(clip.frames[0], clip.boxes[0])
    state = tracker.state.copy()
    tracker.init(clip.frames[0], (5, 5, 30, 30))
    tracker.update(clip.frames[1])
    tracker.state = state
    np.testing.assert_array_equal([tracker.update(frame).box for frame in clip.frames[1:9]], first)


def test_several_targets_on_two_cores_are_as_if_alone(clip, tiny_trk):
    many = MultiTracker(tiny_trk, "openvino", threads=2)
    target = many.add(clip.frames[0], clip.boxes[0])
    for x in (5, 60, 120):
        many.add(clip.frames[0], (x, 10, 40, 40))
    found = [many.update(frame)[target].box for frame in clip.frames[1:9]]
    np.testing.assert_array_equal(found, boxes(Tracker(tiny_trk, "openvino", threads=1), clip))


def test_lanes_run_beside_each_other(clip, tiny_trk):
    tracker = Tracker(tiny_trk, "openvino", threads=1)
    expected = boxes(tracker, clip)
    found: dict[int, np.ndarray] = {}
    threads = [
        Thread(target=lambda number, lane: found.update({number: boxes(lane, clip)}), args=(number, tracker.twin()))
        for number in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(3):
        np.testing.assert_array_equal(found[number], expected)


def test_another_device_is_refused(tiny_trk):
    with pytest.raises(BackendError, match="openvino runs on cpu only, not cuda"):
        Tracker(tiny_trk, "openvino", "cuda")


def test_without_openvino_it_is_told_what_to_install(tiny_trk, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(BackendError, match=r"pip install 'trk-engine\[openvino\]'"):
        Tracker(tiny_trk, "openvino")


def replace_graph(folder, data: bytes) -> None:
    (folder / "search.onnx").write_bytes(data)
    manifest = json.loads((folder / "bundle.json").read_text())
    for file in manifest["files"]:
        if file["name"] == "search.onnx":
            file.update(bytes=len(data), sha256=sha256(data).hexdigest())
    (folder / "bundle.json").write_text(json.dumps(manifest))


def test_a_graph_that_is_none_is_a_bundle_error(bundle_copy):
    replace_graph(bundle_copy, b"no graph at all")
    with pytest.raises(BundleError, match=r"OpenVINO can't load search\.onnx"):
        Tracker(bundle_copy, "openvino")


def test_a_graph_with_other_inputs_than_the_manifest_is_refused(bundle_copy):
    replace_graph(bundle_copy, (bundle_copy / "template.onnx").read_bytes())
    with pytest.raises(BundleError, match="are not those of the manifest"):
        Tracker(bundle_copy, "openvino")
