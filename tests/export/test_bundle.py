from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from tiny import TINY, TINY_LONG, TinyNet, seeded, tiny_step
from torch import nn

import trk
from trk import ExportError, ModelError, Tracker, UsageError
from trk.engine.bundle import Bundle
from trk.engine.manifest import Weights
from trk.export.bundle import export_bundle

WEIGHTS = Weights(origin="checkpoint", file="tiny", licence="none: random projections")


def graph(bundle, name):
    return onnx.load_from_string(Bundle(bundle).read(name))


def test_export_again_gives_the_same_bytes_in_a_file_as_in_a_folder(tiny_bundle, tmp_path):
    manifest = export_bundle(TINY, tmp_path / "again.trk", seeded(), WEIGHTS)
    first, again = Bundle(tiny_bundle), Bundle(tmp_path / "again.trk")
    assert manifest == again.manifest == first.manifest
    for file in manifest.files:
        assert first.read(file.name) == again.read(file.name)


def test_manifest_says_what_was_measured(tiny_bundle):
    manifest = Bundle(tiny_bundle).manifest
    assert manifest.cost["parameters"] == 16 * 3 * 8 * 8
    # 31 x 31 outputs of the convolution on each of three crops, 17 x 17 of the correlation, two operations each.
    assert manifest.cost["search_gflop"] * 1e9 >= 2 * 3 * (31 * 31 * 16 * 192 + 17 * 17 * 16 * 225)
    assert set(manifest.parity.outputs) == {"kernel_zf", "map_score", "box", "score", "best"}
    for name, difference in manifest.parity.outputs.items():
        assert difference <= manifest.parity.limits[name]
    assert manifest.weights.origin == "checkpoint"


def test_versions_are_known_without_the_metadata_of_any_package(tmp_path, monkeypatch):
    def absent(package):
        raise PackageNotFoundError(package)

    monkeypatch.setattr("importlib.metadata.distribution", absent)
    versions = export_bundle(TINY, tmp_path / "b", seeded(), WEIGHTS).versions
    assert versions["trk"] == trk.__version__
    assert versions["onnxruntime"] == onnxruntime.__version__
    assert set(versions) == {"trk", "python", "torch", "onnx", "onnxruntime", "numpy"}


@pytest.mark.parametrize("name", ["template.onnx", "search.onnx"])
def test_graph_passes_the_checker_and_names_no_path_of_this_machine(tiny_bundle, name):
    model = graph(tiny_bundle, name)
    onnx.checker.check_model(model, full_check=True)
    text = str(model)
    assert "site-packages" not in text
    assert str(Path.cwd()) not in text
    assert "tiny.py" not in text


class Perturbed(TinyNet):
    """Says it is fused and computes something else."""

    def fused(self):
        other = TinyNet().eval()
        other.load_state_dict(self.state_dict())
        with torch.no_grad():
            other.project.weight[3] *= 1.1
        return other


class NotANumber(TinyNet):
    def __init__(self):
        super().__init__()
        with torch.no_grad():
            self.project.weight[0, 0, 0, 0] = float("nan")


class Deaf(nn.Module):
    """A step that does not listen to its parameters."""

    def __init__(self, step):
        super().__init__()
        self.step = step

    def forward(self, score, size, params):
        return self.step(score, size, torch.tensor([0.97, 0.2, 0.3, 1.04]))


@pytest.mark.parametrize(
    ("row", "net", "words"),
    [
        (TINY, Perturbed, "map_score differs by"),
        (TINY, NotANumber, "differs by inf"),
        (replace(TINY, step=lambda *sides: Deaf(tiny_step(*sides))), TinyNet, "'params' has no effect"),
    ],
    ids=["perturbed", "nan", "input without effect"],
)
def test_bundle_that_disagrees_with_pytorch_is_refused_and_nothing_is_left(row, net, words, tmp_path):
    torch.manual_seed(0)
    with pytest.raises(ExportError) as caught:
        export_bundle(row, tmp_path / "new" / "bundle", net(), WEIGHTS)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_old_bundle_stays_when_the_new_one_is_refused(tiny_bundle, bundle_copy):
    torch.manual_seed(0)
    with pytest.raises(ExportError):
        export_bundle(TINY, bundle_copy, Perturbed(), WEIGHTS)
    assert Bundle(bundle_copy).manifest == Bundle(tiny_bundle).manifest


def test_preset_of_another_size_with_maps_and_a_parameter_set(tmp_path, clip):
    out = tmp_path / "wide"
    manifest = export_bundle(TINY, out, seeded(), WEIGHTS, preset="wide", params={"window_influence": 0.31}, maps=True)
    assert manifest.searches[0].size == 287
    assert manifest.params == {"scale_penalty": 0.97, "window_influence": 0.31, "scale_lr": 0.2, "scale_step": 1.04}
    assert manifest.preset == "wide"
    assert list(manifest.presets) == ["wide"]
    outputs = {tensor.name: tensor.shape for tensor in manifest.searches[0].outputs}
    assert outputs == {"box": (1, 4), "score": (1,), "best": (1,), "map_score": (3, 1, 21, 21)}
    tracker = Tracker(out, threads=1)
    tracker.init(clip.frames[0], clip.boxes[0])
    np.testing.assert_allclose(tracker.update(clip.frames[1]).box, clip.boxes[1], atol=4)


def test_presets_that_need_other_crops_are_left_out(tiny_bundle):
    manifest = Bundle(tiny_bundle).manifest
    assert list(manifest.presets) == ["default", "steady"]  # neither "wide" nor "far"
    assert manifest.presets["steady"] == {**manifest.params, "window_influence": 0.4}


def test_weights_of_two_search_graphs_are_stored_once(long_bundle):
    bundle = Bundle(long_bundle)
    sizes = {file.name: file.bytes for file in bundle.manifest.files}
    assert set(sizes) == {"template.onnx", "search.onnx", "search_lost.onnx", "weights.bin"}
    assert max(size for name, size in sizes.items() if name != "weights.bin") < 20_000
    weight = seeded().project.weight.detach().numpy().tobytes()
    assert bundle.read("weights.bin").count(weight) == 1
    assert [graph.external for graph in (bundle.manifest.template, *bundle.manifest.searches)] == [("weights.bin",)] * 3


def test_graphs_that_share_weights_are_plain_onnx(long_bundle):
    for name in ("template.onnx", "search.onnx", "search_lost.onnx"):
        onnx.checker.check_model(str(long_bundle / name))
        weights = [tensor for tensor in onnx.load(long_bundle / name).graph.initializer if tensor.dims == [16, 3, 8, 8]]
        np.testing.assert_array_equal(onnx.numpy_helper.to_array(weights[0]), seeded().project.weight.detach().numpy())


def test_graph_with_shared_weights_computes_what_one_with_its_own_does(tiny_bundle, long_bundle, clip):
    results = []
    for path in (tiny_bundle, long_bundle):
        tracker = Tracker(path, threads=1)
        tracker.init(clip.frames[0], clip.boxes[0])
        results.append([tracker.update(frame).box for frame in clip.frames[1:6]])
    np.testing.assert_allclose(results[0], results[1], atol=1e-3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"preset": "vot2099"}, "it has default, steady, wide, far"),
        ({"params": {"lr": 1.0}}, "no parameter 'lr'"),
        ({"params": {"scale_lr": float("nan")}}, "finite"),
        ({"params": {"scale_step": 5.0}}, "between 0.5 and 2"),
    ],
)
def test_preset_or_parameter_that_makes_no_sense(options, words, tmp_path):
    with pytest.raises(ModelError) as caught:
        export_bundle(TINY, tmp_path / "bundle", **options)
    assert words in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_place_that_can_not_be_written_is_told_before_anything_is_computed(tmp_path):
    (tmp_path / "file").write_text("in the way")
    lines = []
    with pytest.raises(UsageError, match="no bundle can be written"):
        export_bundle(TINY_LONG, tmp_path / "file" / "bundle", report=lines.append)
    assert lines == []
