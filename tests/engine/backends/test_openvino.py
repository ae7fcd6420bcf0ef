"""OpenVINO: the same boxes as ONNX Runtime, and errors that say what to do. What it shares: test_host.py."""

import json
import sys
from hashlib import sha256

import numpy as np
import pytest
from nano import nano_bundle
from trackers import boxes, track

from trk.engine.tracker import Tracker
from trk.errors import BackendError, BundleError
from trk.weights.shipped import default_bundle

openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed (trk-engine[openvino])")


@pytest.mark.parametrize("which", ["tiny", "long", "nano", "default"])
def test_boxes_are_those_of_onnx_runtime(which, clip, tiny_trk, long_trk, tmp_path_factory):
    bundle = {
        "tiny": lambda: tiny_trk,
        "long": lambda: long_trk,  # two search graphs that read their weights from a file
        "nano": lambda: nano_bundle(tmp_path_factory),
        "default": default_bundle,
    }[which]()
    tracker = Tracker(bundle, "openvino", threads=1)
    assert (tracker.backend.name, tracker.backend.device) == ("openvino", "cpu")
    found, expected = (
        boxes(track(one, clip.frames[:9], clip.boxes[0]))
        for one in (tracker, Tracker(bundle, "onnxruntime", threads=1))
    )
    np.testing.assert_allclose(found, expected, atol=0.05)


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
