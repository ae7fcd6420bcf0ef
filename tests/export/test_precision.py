"""FP16: what is typed how, what overflows is seen, and boxes that drift are repaired."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from random_networks import NETWORKS, crops, network
from tiny import TINY, TinyNet, seeded
from torch import nn

from trk import ExportError, Tracker
from trk.engine.bundle import Bundle
from trk.engine.geometry import Geometry
from trk.engine.manifest import Weights
from trk.export.bundle import export_bundle, searches_of
from trk.export.precision import BOX_DRIFT, plan
from trk.export.ranges import HEADROOM, largest, too_large
from trk.export.reference import Crops, sample_crops
from trk.export.typed import LARGEST, folded, forward, half_layers, typed

WEIGHTS = Weights(origin="checkpoint", file="tiny", licence="none: random projections")
HALF, SINGLE = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT


@pytest.fixture(scope="module")
def samples():
    """Crops of the picture and of both sample clips, as the tiny tracker's bundle cuts them."""
    return sample_crops(Geometry.model_validate(TINY.geometry), searches_of(TINY, "default"), 1.04)


def planned(net, samples, trained=True, lines=None):
    steps = [TINY.step(17, 255)]
    params = torch.tensor(list(TINY.params.values()))
    report = (lines if lines is not None else []).append
    return plan(net.eval(), steps, samples, params, "BGR", trained=trained, report=report)


def with_two_layers(first, second):
    """The tiny network with two more layers behind its features, a weight and a bias each for all channels."""
    net = seeded()
    added = []
    for weight, bias in (first, second):
        layer = nn.Conv2d(16, 16, 1, groups=16)
        nn.init.constant_(layer.weight, weight)
        nn.init.constant_(layer.bias, bias)
        added.append(layer)
    net.project = nn.Sequential(net.project, *added)
    return net.eval()


def loud(gain):
    """Values go beyond what FP16 holds, and the next layer brings them back."""
    return with_two_layers((gain, 0.0), (1 / gain, 0.0))


def cancelling():
    """A layer adds a number that FP16 holds, and with it loses the features, before the next takes it away again."""
    return with_two_layers((0.25, 12000.0), (4.0, -48000.0))


def test_samples_show_their_targets_where_they_say(samples):
    assert len(samples) == 9
    for one in samples:
        assert one.template.dtype == torch.uint8
        assert one.targets[0][0, 2:].tolist() == one.searches[0][1][0].tolist()
        assert 1 < abs(float(one.targets[0][0, 0])) < 60


def test_ranges_are_the_largest_values_in_and_out_of_each_layer(samples):
    net = loud(5.0)
    found = largest(net, samples[:2], "BGR")
    assert list(found) == ["project.0", "project.1", "project.2", "correlate"][: len(found)]
    with torch.no_grad():
        crops = [crop for one in samples[:2] for crop in (one.template, one.searches[0][0])]
        highest = max(float(net.project[0](crop.float().permute(0, 3, 1, 2)).abs().max()) for crop in crops)
    assert found["project.0"] == pytest.approx(max(highest, 255))
    assert found["project.1"] == found["project.2"] == pytest.approx(5 * highest)


def test_values_that_are_not_finite_are_told_with_the_layer(samples):
    net = seeded()
    with torch.no_grad():
        net.project.weight[0] = float("inf")
    with pytest.raises(ExportError, match="layer project gives numbers that are not finite"):
        largest(net, samples[:1], "BGR")


def test_emulated_fp16_overflows_where_fp16_does(samples):
    net = loud(4000.0)
    _, expected = forward(net, samples[0], "BGR")
    assert all(maps.isfinite().all() for maps in expected[0])
    for emulated in (True, False):
        _, found = forward(typed(net, emulated=emulated), samples[0], "BGR")
        assert not found[0][0].isfinite().all()


def test_layers_near_the_end_of_fp16_stay_in_fp32(samples):
    lines = []
    made = planned(loud(4000.0), samples, lines=lines)
    assert set(too_large(made.ranges)) == set(made.wide)
    assert made.wide
    assert all("FP16 ends at 65504" in why for why in made.wide.values())
    assert any("stays in FP32" in line for line in lines)
    assert made.box_drift <= BOX_DRIFT
    assert made.ranges[next(iter(made.wide))] > LARGEST / HEADROOM
    _, found = forward(made.typed(), samples[0], "BGR")
    assert found[0][0].isfinite().all()


def test_layers_that_make_boxes_drift_are_found_and_pinned(samples):
    lines = []
    before = planned(cancelling(), samples, trained=False)
    assert before.box_drift > BOX_DRIFT
    assert not before.wide
    made = planned(cancelling(), samples, lines=lines)
    assert made.box_drift <= BOX_DRIFT
    # The sum has to leave one layer and enter the other in FP32; the features before need not be.
    assert list(made.wide) == ["project.1", "project.2"]
    assert 0 < made.wide_share < 1
    assert any("looking for the layers" in line for line in lines)
    assert any("of the multiply-adds are in FP32" in line for line in lines)


class Squares(TinyNet):
    """Squares its features in whatever type they come, which FP16 does not hold."""

    def template(self, z):
        features = self.project(z) - self.project(z).mean(dim=(2, 3), keepdim=True)
        return ((features / features.square().sum(dim=(1, 2, 3), keepdim=True).sqrt()).unsqueeze(1),)


def test_overflow_between_layers_is_repaired_by_the_layer_before(samples):
    net = Squares()
    net.load_state_dict(seeded().state_dict())
    made = planned(net, samples)
    assert list(made.wide) == ["project"]
    assert made.box_drift <= BOX_DRIFT


def test_network_that_fits_fp16_is_left_alone(samples):
    made = planned(seeded(), samples)
    assert made.wide == {}
    assert made.box_drift < BOX_DRIFT


@torch.no_grad()
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name != "nanotrack 2")) for name in NETWORKS]
)
def test_folding_and_types_keep_a_networks_maps(name):
    net = network(name)
    z, x = crops(net, 1)
    expected = net.search(x, *net.template(z))
    fused = net.fused()
    # Folding runs the network on uint8 crops as the engine cuts them.
    bytes_of = [image.permute(0, 2, 3, 1).to(torch.uint8) for image in (z, x)]
    given = Crops(bytes_of[0], torch.zeros(1, 2), [(bytes_of[1], torch.zeros(1, 2))], [])
    single = folded(fused, given, "BGR")
    for ours, reference in zip(single.search(x, *single.template(z)), expected, strict=True):
        torch.testing.assert_close(ours, reference, rtol=0, atol=2e-5 * float(reference.abs().max()))
    wide = too_large(largest(single, [given], "BGR"))
    half = typed(single, wide)
    weights = {
        getattr(half.get_submodule(layer), "weight", torch.zeros(1).half()).dtype
        for layer in half_layers(half)
        if layer not in wide
    }
    assert weights == {torch.float16}
    emulated = typed(single, wide, emulated=True)
    results = [network.search(x, *network.template(z)) for network in (half, emulated)]
    for true, twin, reference in zip(*results, expected, strict=True):
        error = float((true.float() - reference).square().mean().sqrt() / reference.std())
        assert error < 0.1
        between = float((true.float() - twin.float()).square().mean().sqrt() / reference.std())
        assert between < max(2 * error, 1e-3)


@pytest.fixture(scope="module")
def half_bundle(tmp_path_factory):
    out = tmp_path_factory.mktemp("half") / "bundle"
    lines = []
    manifest = export_bundle(TINY, out, seeded(), WEIGHTS, precision="fp16", report=lines.append)
    assert any("choosing types" in line for line in lines)
    return out, manifest


def test_fp16_bundle_says_what_it_is(half_bundle):
    out, manifest = half_bundle
    assert Bundle(out).manifest == manifest
    assert manifest.precision == "fp16"
    assert manifest.half.wide == {}
    assert set(manifest.half.ranges) == {"project", "correlate"}
    assert 0 < manifest.half.ranges["project"] < LARGEST
    assert manifest.half.box_drift < BOX_DRIFT
    assert 0 < manifest.half.wide_share < 1  # the correlation over all channels


def test_fp16_graphs_take_uint8_and_give_fp32(half_bundle):
    out, _ = half_bundle
    model = onnx.shape_inference.infer_shapes(onnx.load(out / "search.onnx"), strict_mode=True)
    kinds = {value.name: value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output)}
    assert kinds["crop"] == onnx.TensorProto.UINT8
    assert kinds["box"] == kinds["score"] == kinds["params"] == kinds["size"] == SINGLE
    readers = [node.op_type for node in model.graph.node if "crop" in node.input]
    assert readers == ["Cast"]
    weights = [tensor for tensor in model.graph.initializer if list(tensor.dims) == [16, 3, 8, 8]]
    assert [tensor.data_type for tensor in weights] == [HALF]


def test_fp16_and_fp32_meet_in_casts_only(half_bundle):
    out, _ = half_bundle
    for name in ("template.onnx", "search.onnx"):
        model = onnx.shape_inference.infer_shapes(onnx.load(out / name), strict_mode=True)
        kinds = {v.name: v.type.tensor_type.elem_type for v in (*model.graph.value_info, *model.graph.input)}
        kinds |= {tensor.name: tensor.data_type for tensor in model.graph.initializer}
        for node in model.graph.node:
            taken = {kinds.get(value) for value in node.input} & {HALF, SINGLE}
            assert len(taken) <= 1, node


def test_fp16_bundle_tracks_as_the_fp32_one_does(half_bundle, tiny_bundle, clip):
    results = []
    for bundle in (tiny_bundle, half_bundle[0]):
        tracker = Tracker(bundle, threads=1)
        tracker.init(clip.frames[0], clip.boxes[0])
        results.append([tracker.update(frame).box for frame in clip.frames[1:8]])
    np.testing.assert_allclose(results[1], results[0], atol=0.75)


class Widened(TinyNet):
    """Says one thing in FP32 and another where it is typed."""

    def search(self, x, *kernels):
        (score,) = super().search(x, *kernels)
        return (score * (1.5 if self.project.weight.dtype == torch.float16 else 1.0),)


def test_fp16_graph_that_disagrees_is_refused(tmp_path):
    net = Widened().eval()
    net.load_state_dict(seeded().state_dict())
    with pytest.raises(ExportError, match="map_score differs by"):
        export_bundle(replace(TINY), tmp_path / "bundle", net, WEIGHTS, precision="fp16")
    assert list(tmp_path.iterdir()) == []
