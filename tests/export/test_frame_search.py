"""Search graphs that take whole frames: made of the ordinary ones, checked at export, refused where they can't be."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from tiny import TINY, TINY_LONG, seeded

from trk import ExportError
from trk.engine.backends.plans import frame_graphs
from trk.engine.backends.trt_build import Options, build
from trk.engine.backends.trt_library import load
from trk.engine.bundle import Bundle
from trk.engine.geometry import Geometry
from trk.engine.manifest import Manifest, Weights
from trk.engine.regions import REGION
from trk.export import frame_search
from trk.export.bundle import export_bundle, searches_of
from trk.export.frame_search import checked, for_frames, sights
from trk.export.share import WEIGHTS
from trk.export.verify import Agreement
from trk.models.registry import find

WORDS = Weights(origin="checkpoint", file="tiny", licence="none: random projections")


def test_bundle_names_its_graphs_for_frames_and_shares_weights_with_them(whole_bundle):
    bundle = Bundle(whole_bundle)
    (search,) = bundle.manifest.searches
    assert bundle.manifest.takes_frames
    assert [search.frame.file, search.batches[0].frame.file] == ["search_frame.onnx", "search_x2_frame.onnx"]
    first, *_ = search.frame.inputs
    assert (first.name, first.dtype, first.shape) == ("frame", "uint8", (0, 3))
    assert {tensor.name: tensor.shape for tensor in search.batches[0].frame.inputs}["region"] == (6, len(REGION))
    weights = next(file.bytes for file in bundle.manifest.files if file.name == WEIGHTS)
    assert weights < 1.2 * 16 * 3 * 8 * 8 * 4 + 2 * 17 * 17 * 4 * 272  # the projection once, and the step's tables
    assert search.frame.external == (WEIGHTS,)


def test_crops_are_the_engines_to_one_grey_level_and_the_rest_is_the_search_graphs(whole_bundle):
    differences = Bundle(whole_bundle).manifest.parity.outputs
    assert 0 < differences["crop@frame"] <= 1
    assert differences["box@frame"] == 0
    assert differences["map_score@frame, 2 targets"] <= 1e-3


def test_frame_is_read_by_one_cast_and_its_size_is_nowhere_in_the_graph(whole_bundle):
    graph = onnx.load_from_string(Bundle(whole_bundle).read("search_frame.onnx")).graph
    assert [node.op_type for node in graph.node if "frame" in node.input] == ["Cast"]
    assert [dim.dim_param for dim in graph.input[0].type.tensor_type.shape.dim] == ["pixels", ""]
    # Shapes are arithmetic of the host's: a CUDA graph holds none of it.
    assert not {node.op_type for node in graph.node} & {"Shape", "Size", "NonZero", "If", "Loop"}


def test_graph_that_cuts_elsewhere_than_the_engine_leaves_no_bundle(monkeypatch, tiny_bundle):
    real = frame_search.write_regions

    def off(geometry, frame_wh, centre, sides, fill, out):
        found = real(geometry, frame_wh, centre, sides, fill, out)
        out[:, 0] += 2
        return found

    monkeypatch.setattr(frame_search, "write_regions", off)
    bundle = Bundle(tiny_bundle)
    search = onnx.load_from_string(bundle.read("search.onnx"))
    inputs = {"params": torch.tensor(list(TINY.params.values())), "kernel_zf": torch.ones(1, 1, 16, 15, 15)}
    seen, agreement = sights(bundle.manifest.geometry, bundle.manifest.searches, 1.04)(0, 1), Agreement()

    def same(size, params):
        return torch.zeros(1, 4), torch.zeros(1), torch.zeros(1, dtype=torch.int32)

    checked(for_frames(search, 3, 255), search, same, inputs, seen, agreement)
    assert agreement.differences["crop@frame"] > 1
    with pytest.raises(ExportError, match="no bundle was written"):
        agreement.require()


@pytest.mark.parametrize(("model", "words"), [("sasiam", "sampled as they fall"), ("siamdw_fc", "out of each other")])
def test_rules_that_a_graph_can_not_follow_are_refused_in_one_line(model, words, tmp_path):
    with pytest.raises(ExportError, match=words) as caught:
        export_bundle(find(model), tmp_path / "b", whole_frame=True)
    assert "--whole-frame" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_most_models_can(monkeypatch):
    from trk.models.registry import ROWS

    refused = set()
    for row in ROWS:
        try:
            sights(Geometry.model_validate(row.geometry), searches_of(row, row.preset), 1.0)
        except ExportError:
            refused.add(row.model)
    assert refused == {"sasiam", "siamdw_fc"}


def test_search_graph_of_another_make_is_refused():
    node = onnx.helper.make_node("Transpose", ["crop"], ["box"], perm=[0, 3, 1, 2])
    infos = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.UINT8, None) for name in ("crop", "box")]
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", infos[:1], infos[1:]))
    with pytest.raises(ExportError, match="not by a Cast"):
        for_frames(model, 3, 255)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda search: search["batches"][0].pop("frame"), "search_x2.onnx has no form for whole frames"),
        (lambda search: search["frame"]["inputs"][0].update(shape=[76800, 3]), r"frame is uint8 \[76800, 3\]"),
        (lambda search: search["frame"]["inputs"].pop(1), "'region' is missing"),
        (lambda search: search["frame"].update(file="other.onnx"), "not among the listed files"),
        (lambda search: search["inputs"][0].update(shape=[0, 255, 255, 3]), "has a side of 0"),
    ],
)
def test_manifest_whose_graphs_for_frames_are_not_whole_is_refused(whole_bundle, change, words):
    data = Bundle(whole_bundle).manifest.model_dump(mode="json")
    change(data["searches"][0])
    with pytest.raises(ValueError, match=words):
        Manifest.model_validate(data)


def test_geometry_that_no_graph_can_follow_is_refused_beside_them(whole_bundle):
    data = Bundle(whole_bundle).manifest.model_dump(mode="json")
    data["geometry"]["crop"]["pyramid"] = "nested"
    with pytest.raises(ValueError, match="out of each other"):
        Manifest.model_validate(data)


def test_graph_builds_in_tensorrt_for_frames_of_any_size(whole_bundle):
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed (pip install tensorrt-rtx-cu13)")
    bundle = Bundle(whole_bundle)
    for graph in frame_graphs(bundle.manifest, True).values():
        external = {name: bundle.read(name) for name in graph.external}
        assert build(load("rtx"), bundle.read(graph.file), Options("fp32"), graph.file, external).plan


@pytest.mark.slow
def test_model_that_is_lost_and_found_in_two_sizes_takes_frames_too(tmp_path, clip):
    from trk import Tracker

    row = replace(TINY_LONG, geometry={**TINY_LONG.geometry, "hysteresis": {"low": 1e9, "high": 2e9}})
    manifest = export_bundle(row, tmp_path / "b", seeded(), WORDS, whole_frame=True)
    assert [search.frame.file for search in manifest.searches] == ["search_frame.onnx", "search_lost_frame.onnx"]
    found = []
    for whole in (False, True):
        tracker = Tracker(tmp_path / "b", threads=1, whole_frame=whole)
        tracker.init(clip.frames[0], clip.boxes[0])
        found.append([tracker.update(frame)[:3] for frame in clip.frames[1:4]])
    for ours, expected in zip(*found, strict=True):
        np.testing.assert_allclose(ours[0], expected[0], atol=0.05)
        assert ours[2] == expected[2] is True
