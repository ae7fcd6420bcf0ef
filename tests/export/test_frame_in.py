"""The frame-in graph against the engine: the same crops, the same state after every frame."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny import TINY, seeded

from trk import ExportError, Tracker
from trk.engine.backends.torch_graph import TorchGraph
from trk.engine.backends.trt_build import Options, build
from trk.engine.backends.trt_library import load
from trk.engine.bundle import Bundle
from trk.engine.crop import Cropper
from trk.engine.geometry import CropRule, Geometry
from trk.engine.manifest import Search
from trk.engine.regions import new_regions, write_regions
from trk.export.bundle import searches_of
from trk.export.device_crop import DeviceCrop, rounded
from trk.export.frame_in import STATE, FrameIn, frame_graph, state_of
from trk.export.graphs import SearchGraph
from trk.export.verify import arrays, run
from trk.models.registry import find
from trk.weights.shipped import default_bundle

RULES = [
    CropRule(),
    CropRule(origin_shift=-0.5, origin_rounding="half_away", side_rounding="half_up", centre_shift=-0.5),
    CropRule(origin_shift=0.0, origin_rounding="half_even"),
]


@pytest.fixture(scope="module")
def picture():
    random = np.random.default_rng(3)
    return random.integers(0, 256, (120, 160, 3), np.uint8)


@pytest.mark.parametrize("rule", RULES, ids=["pysot", "siamfc", "even"])
@pytest.mark.parametrize(
    ("centre", "side"),
    [
        ((80.3, 60.7), 63.0),  # as many pixels as there are to be
        ((80.0, 60.0), 40.4),
        ((80.0, 60.0), 126.0),  # half as many: OpenCV averages four
        ((70.2, 66.9), 111.5),
        ((5.0, 110.0), 71.0),  # over two edges
        ((80.0, 60.0), 400.0),  # the frame is a part of it
        ((-90.0, -90.0), 50.0),  # nothing of the frame
        ((0.0, 0.0), 1.0),
        ((159.9, 119.9), 0.2),
    ],
)
def test_crop_on_the_device_is_the_engines_to_one_grey_level(rule, centre, side, picture):
    fill = np.array([12, 200, 77], np.uint8)
    out = np.empty((63, 63, 3), np.uint8)
    middle = Cropper(rule).cut(picture, centre, side, fill, out)
    region = new_regions(1)
    assert write_regions(Geometry(crop=rule), (160, 120), centre, [side], fill, region) == middle
    crop = DeviceCrop(63)(torch.from_numpy(picture), torch.from_numpy(region))
    apart = crop[0].numpy() - out.astype(np.float32)
    assert np.abs(apart).max() <= 1
    assert (apart != 0).mean() < 0.01  # and no darker or brighter on the whole
    assert (crop == crop.round()).all()


def test_crops_of_several_targets_at_once_are_each_their_own(picture):
    frame, crop = torch.from_numpy(picture), DeviceCrop(31)
    rows = [(30, 20, 20, 0, 0, 0), (130, -20, 55, 9, 8, 7), (65, 45, 31, 255, 255, 255)]
    region = torch.tensor([[*row, 160, 120] for row in rows], dtype=torch.float32)
    together = crop(frame, region)
    for n in range(3):
        assert torch.equal(together[n], crop(frame, region[n : n + 1])[0])


def test_roundings_differ_at_halves_only():
    values = torch.tensor([-1.5, -0.5, 0.5, 1.5, 2.5, -0.4, 0.6])
    assert rounded(values, "half_even").tolist() == [-2.0, 0.0, 0.0, 2.0, 2.0, 0.0, 1.0]
    assert rounded(values, "half_up").tolist() == [-1.0, 0.0, 1.0, 2.0, 3.0, 0.0, 1.0]
    assert rounded(values, "half_away").tolist() == [-2.0, -1.0, 1.0, 2.0, 3.0, 0.0, 1.0]


def graph_of(row, net, side):
    geometry = Geometry.model_validate(row.geometry)
    search = SearchGraph(net, row.step(side, row.searches[0].size).eval(), row.channels)
    return FrameIn(search, geometry, searches_of(row, "default"), list(row.params)).eval()


def chained(tracker, module, clip, kernels, frames=8):
    """Distances of the engine's boxes from the graph's, whose state goes from frame to frame by itself."""
    tracker.init(clip.frames[0], clip.boxes[0])
    state = state_of(tracker.state.target, tracker.state.fill.tolist(), (320, 240))
    params = torch.tensor(list(tracker.params.values()))
    apart = []
    for frame in clip.frames[1:frames]:
        expected = tracker.update(frame)
        state, result = module(torch.from_numpy(frame), state, params, *kernels(tracker))
        cx, cy, w, h, score = result[0].tolist()
        apart.append(np.abs(np.array([cx - w / 2, cy - h / 2, w, h]) - expected.box).max())
        assert score == pytest.approx(expected.score, rel=0.02, abs=1e-3)
    return apart


def values_of(tracker):
    return [torch.from_numpy(value.numpy()) for value in tracker.state.kernels]


@torch.inference_mode()
def test_pyramid_of_crops_chains_as_the_engine_goes(tiny_bundle, clip):
    module = graph_of(TINY, seeded(), 17)
    assert max(chained(Tracker(tiny_bundle, threads=1), module, clip, values_of)) < 0.05


@torch.inference_mode()
def test_running_search_side_chains_as_the_engine_goes(tmp_path, clip):
    from trk.engine.manifest import Weights
    from trk.export.bundle import export_bundle

    geometry = {
        **TINY.geometry,
        "side": "running",
        "limits": {"relative_side": (0.9, 1.1), "relative_size": (0.9, 1.1)},
    }
    row = replace(TINY, geometry=geometry)
    export_bundle(row, tmp_path / "b", seeded(), Weights(origin="checkpoint", file="tiny", licence="none"))
    module = graph_of(row, seeded(), 17)
    tracker = Tracker(tmp_path / "b", threads=1)
    assert max(chained(tracker, module, clip, values_of)) < 0.05


class FromBundle(torch.nn.Module):
    """A bundle's search graph in PyTorch, called as the network's."""

    def __init__(self, bundle):
        super().__init__()
        self.graph = TorchGraph(bundle.read("search.onnx"), "cpu")
        self.names = [tensor.name for tensor in bundle.manifest.template.outputs]

    def forward(self, crop, size, params, *kernels):
        out = self.graph(
            {
                "crop": crop.to(torch.uint8),
                "size": size,
                "params": params,
                **dict(zip(self.names, kernels, strict=True)),
            }
        )
        return out["box"], out["score"], out["best"]


@torch.inference_mode()
def test_derived_search_side_chains_as_the_engine_goes(clip):
    bundle = Bundle(default_bundle())
    manifest = bundle.manifest
    module = FrameIn(FromBundle(bundle), manifest.geometry, manifest.searches, list(manifest.params))
    assert manifest.geometry.side == "derived"
    tracker = Tracker(bundle, threads=1, template_rate=0)  # the graph keeps its template
    assert max(chained(tracker, module, clip, values_of)) < 1.0


@torch.no_grad()
def test_graph_in_onnx_runtime_gives_what_the_module_gives(tiny_bundle, clip):
    module = graph_of(TINY, seeded(), 17)
    tracker = Tracker(tiny_bundle, threads=1)
    tracker.init(clip.frames[0], clip.boxes[0])
    state, params = (
        state_of(tracker.state.target, tracker.state.fill.tolist(), (320, 240)),
        torch.tensor(list(tracker.params.values())),
    )
    kernels = dict(zip(("kernel_zf",), values_of(tracker), strict=True))
    model = frame_graph(module, state, params, kernels)
    assert [node.op_type for node in model.graph.node if "frame" in node.input] == ["Cast"]
    frame = torch.from_numpy(clip.frames[1]).reshape(-1, 3)
    found = run(model, arrays({"frame": frame, "state": state, "params": params, **kernels}))
    expected = module(frame, state, params, *kernels.values())
    np.testing.assert_allclose(found["next_state"], expected[0].numpy(), atol=1e-2)
    np.testing.assert_allclose(found["result"], expected[1].numpy(), rtol=1e-3, atol=1e-2)
    assert found["next_state"].shape == (1, len(STATE))


@torch.no_grad()
def test_graph_builds_in_tensorrt(tiny_bundle):
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed (pip install tensorrt-rtx-cu13)")
    module = graph_of(TINY, seeded(), 17)
    kernels = {"kernel_zf": torch.zeros(1, 1, 16, 15, 15)}
    model = frame_graph(module, torch.ones(1, len(STATE)), torch.tensor(list(TINY.params.values())), kernels)
    assert build(load("rtx"), model.SerializeToString(), Options("fp32")).plan


class Broken(torch.nn.Module):
    """A search that finds nothing that is a number."""

    def forward(self, crop, size, params, *kernels):
        return torch.full((1, 4), float("nan")), torch.ones(1), torch.zeros(1, dtype=torch.int32)


def test_state_stays_where_the_network_returns_no_number(clip):
    geometry, searches = Geometry(), (SimpleNamespace(size=63),)
    module = FrameIn(Broken(), geometry, searches, [])
    state = torch.tensor([[160.0, 120.0, 48.0, 40.0, 90.0, 48.0, 40.0, 90.0, 1.0, 2.0, 3.0, 320.0, 240.0]])
    after, result = module(torch.from_numpy(clip.frames[0]), state, torch.zeros(3))
    assert torch.equal(after, state)
    assert result[0, :4].tolist() == [160.0, 120.0, 48.0, 40.0]


@pytest.mark.parametrize(
    ("model", "variant", "words"),
    [
        ("siamrpnpp", "resnet50_lt", "lost and found"),
        ("sasiam", None, "every frame"),
        ("siamdw_fc", None, "out of each other"),
    ],
)
def test_rules_that_only_the_host_can_follow_are_refused(model, variant, words):
    row = find(model, variant)
    with pytest.raises(ExportError, match=words):
        FrameIn(
            torch.nn.Identity(),
            Geometry.model_validate(row.geometry),
            searches_of(row, "default"),
            list(row.params),
        )


def test_two_search_sizes_are_refused():
    searches = [Search(file=f"{size}.onnx", inputs=(), outputs=(), size=size) for size in (255, 287)]
    with pytest.raises(ExportError, match="several sizes"):
        FrameIn(torch.nn.Identity(), Geometry(), searches, [])
