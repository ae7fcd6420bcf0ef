"""Upstream-style trackers against upstream's own runs, and against the bundles of the same weights."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from nano import nano_bundle

from trk import Tracker
from trk.bench.speed import read_clip
from trk.bench.upstream_light import clamped, clipped
from trk.bench.upstream_networks import EagerNetwork
from trk.bench.upstream_style import network_of, upstream_style
from trk.engine.bundle import Bundle
from trk.engine.geometry import Geometry
from trk.errors import BackendError, CheckpointError, ModelError, UsageError
from trk.export.bundle import export_bundle
from trk.export.weights import choose
from trk.models.network import SiameseNet
from trk.models.registry import find
from trk.models.row import Row, SearchSize
from trk.weights.clips import sample

from golden_params import params_from
from shared import shared_module, shared_path

GOLDENS = {
    "nanotrack_v3": ("nanotrack", "v3"),
    "siamrpn_alex_dwxcorr": ("siamrpnpp", "alexnet"),
    "siamfc_alexnet_v1": ("siamfc", "alexnet"),
    "siamdw_SiamFCRes22": ("siamdw_fc", "res22"),
    "nanotrack_v1": ("nanotrack", "v1"),
    "siamrpn_mobilev2_l234_dwxcorr": ("siamrpnpp", "mobilenetv2"),
    "siamrpn_r50_l234_dwxcorr": ("siamrpnpp", "resnet50"),
    "dasiamrpn_py2_SiamRPNvot": ("dasiamrpn", "vot"),
    "siamdw_SiamRPNRes22_thinner": ("siamdw_rpn", "res22"),
    "siamdw_SiamRPNRes22_thicker": ("siamdw_rpn", "res22_softmax"),
}
LIGHT = {
    "lightfc": ("lightfc", "mobilenetv2"),
    "fearxs": ("fear", "xs"),
    "fearxs_smooth": ("fear", "xs"),
    "lightfc_David": ("lightfc", "mobilenetv2"),
    "fearxs_bag": ("fear", "xs"),
}
"""Of another form: whole runs, with real weights."""
FAST = 4
"""So many of them in the default suite: one of each kind of tracker."""
FRAMES = 7
PIXELS = 0.05
LIGHT_PIXELS = 0.01
LIGHT_SCORE = 1e-4


def bundle_of(row: Row) -> Any:
    """What a style asks of a bundle: its manifest's numbers."""
    manifest = SimpleNamespace(
        model=row.model,
        variant=row.variant,
        geometry=Geometry.model_validate(row.geometry),
        searches=row.searches,
        params=dict(row.params),
    )
    return SimpleNamespace(manifest=manifest, path=Path("bundle"))


def golden_network(row: Row, trajectory: dict[str, Any]) -> SiameseNet:
    net = row.build()
    if trajectory["weights"] == "seeded":
        shapes = {key: tuple(value.shape) for key, value in net.state_dict().items()}
        weights = shared_module("goldens", "seeded.py").fill(shapes)
    else:
        weights = dict(np.load(shared_path("goldens", "..", trajectory["weights"])))
    net.load_state_dict({key: torch.from_numpy(np.array(value)) for key, value in weights.items()})
    return net


@pytest.mark.parametrize(
    "name", [name if i < FAST else pytest.param(name, marks=pytest.mark.slow) for i, name in enumerate(GOLDENS)]
)
def test_boxes_are_upstreams_own(name):
    golden = shared_module("goldens", "golden.py")
    trajectory = golden.read_json("trajectories", f"{name}.json")
    row = find(*GOLDENS[name])
    if size := trajectory["config"].get("small_sz"):  # what upstream's tuning calls its search size
        row = replace(row, searches=(SearchSize(size),))
    shift = 0.5 if row.model == "siamfc" else 0.0  # siamfc-pytorch counts from the middle of pixels
    params = params_from(trajectory["config"], row.params)
    tracker = upstream_style(bundle_of(row), golden_network(row, trajectory), params)
    cx, cy = (value + shift for value in trajectory["init_center"])
    w, h = trajectory["init_size"]
    frames = trajectory["frames"][:FRAMES]
    tracker.init(golden.image("clip/00000001.jpg"), (cx - w / 2, cy - h / 2, w, h))
    for frame in frames[1:]:
        x, y, w, h = tracker.update(golden.image(f"clip/{frame['frame']:08d}.jpg")).box
        centre = frame.get("center") or frame["center_yx"][::-1]
        size = frame.get("size") or frame["target_sz_hw"][::-1]
        found = (x + w / 2 - shift, y + h / 2 - shift, w, h)
        np.testing.assert_allclose(found, [*centre, *size], atol=PIXELS, rtol=0, err_msg=f"frame {frame['frame']}")
    assert len(frames) >= 5


@pytest.mark.parametrize(
    "name",
    [name if "_" not in name or "smooth" in name else pytest.param(name, marks=pytest.mark.slow) for name in LIGHT],
)
def test_whole_runs_are_upstreams_own(name):
    golden = shared_module("goldens_light", "golden.py")
    trajectory = golden.trajectory(name)
    row = find(*LIGHT[name])
    changed = {key: float(value) for key, value in trajectory.get("config_change", {}).items()}
    tracker = upstream_style(bundle_of(row), golden_network(row, trajectory), {**row.params, **changed})
    strict = trajectory["strict_until_frame"]
    found = list(zip(trajectory["frames"], golden.frames(trajectory), strict=True))
    tracker.init(golden.image(found[0][1]), (*trajectory["init_xywh"][:2], *trajectory["init_size"]))
    for frame, path in found[1:]:
        number, result = frame["frame"], tracker.update(golden.image(path))
        if number > strict and tracker.is_close_call() and not np.allclose(result.box, frame["box"], atol=LIGHT_PIXELS):
            break
        np.testing.assert_allclose(result.box, frame["box"], atol=LIGHT_PIXELS, rtol=0, err_msg=f"frame {number}")
        assert result.score == pytest.approx(frame.get("score_at_best", frame["score"]), abs=LIGHT_SCORE)
        if before := frame.get("box_before_rounding"):
            np.testing.assert_allclose(tracker.rounded, before, atol=LIGHT_PIXELS, rtol=0, err_msg=f"frame {number}")
    assert strict >= 15


@pytest.fixture(scope="module")
def nano(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return nano_bundle(tmp_path_factory)


def test_boxes_are_those_of_the_bundle(nano, clip):
    assert_boxes_agree(nano, clip.frames, clip.boxes[0])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "variant"),
    [
        ("siamfc", "alexnet"),
        ("siamrpnpp", "alexnet"),
        ("siamrpnpp", "mobilenetv2"),
        ("siamdw_fc", "res22"),
        ("lightfc", "mobilenetv2"),
        ("fear", "xs"),
    ],
)
def test_boxes_are_those_of_any_bundle(model, variant, tmp_path):
    export_bundle(find(model, variant), tmp_path / "bundle")
    found = read_clip(sample("cat").video, sample("cat").init_box, frames=15)
    assert_boxes_agree(tmp_path / "bundle", found.frames, found.box)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "preset"), [("lightfc", None), ("fearxs", None), ("fearxs", "smooth"), ("fearxs_noembs", None)]
)
def test_boxes_are_those_of_bundles_of_real_weights(file, preset, tmp_path, clip):
    path = shared_path("weights", f"{file}.npz")
    row, net, weights = choose(None, None, path)
    export_bundle(row, tmp_path / "bundle", net, weights, preset=preset)
    assert_boxes_agree(tmp_path / "bundle", clip.frames, clip.boxes[0], [path])


def assert_boxes_agree(
    bundle: Path, frames: list[np.ndarray], box: Sequence[float], weights: Sequence[Path] = ()
) -> None:
    tracker = Tracker(bundle, threads=1)
    style = upstream_style(tracker.bundle, network_of(tracker.bundle, weights))
    tracker.init(frames[0], box)
    style.init(frames[0], box)
    compared, apart = 0, 0.0
    for frame in frames[1:]:
        ours, theirs = tracker.update(frame), style.update(frame)
        if style.is_close_call(apart) and not np.allclose(theirs.box, ours.box, atol=PIXELS, rtol=0):
            break  # a rounding parted them
        apart = float(np.abs(np.subtract(theirs.box, ours.box)).max())
        np.testing.assert_allclose(theirs.box, ours.box, atol=PIXELS, rtol=0)
        assert theirs.score == pytest.approx(ours.score, abs=1e-4, rel=1e-4)
        compared += 1
    assert compared >= 5


def test_a_gpu_that_is_not_there_is_told_before_anything_runs(nano):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    bundle = Bundle(nano)
    with pytest.raises(BackendError, match=r"sees no GPU.*--device cpu"):
        upstream_style(bundle, network_of(bundle), device="cuda")


def test_a_compiled_search_finds_the_same_boxes(nano, clip, monkeypatch):
    compiled: list[str] = []

    def compile_(function, mode, dynamic):
        compiled.append(mode)
        return lambda *values: function(*values)

    monkeypatch.setattr(torch, "compile", compile_)
    bundle = Bundle(nano)
    found = []
    for asked in (False, True):
        tracker = upstream_style(bundle, network_of(bundle), gradients=False, compiled=asked)
        tracker.init(clip.frames[0], clip.boxes[0])
        found.append([tracker.update(frame).box for frame in clip.frames[1:4]])
    assert found[0] == found[1]
    assert compiled == ["default"]


@pytest.mark.slow
def test_pytorch_really_compiles_it(nano, clip):
    bundle = Bundle(nano)
    tracker = upstream_style(bundle, network_of(bundle), gradients=False, compiled=True)
    plain = upstream_style(bundle, network_of(bundle), gradients=False)
    for one in (tracker, plain):
        one.init(clip.frames[0], clip.boxes[0])
    for frame in clip.frames[1:4]:
        np.testing.assert_allclose(tracker.update(frame).box, plain.update(frame).box, atol=0.05)


def test_random_weights_are_made_again_from_the_seed(nano):
    bundle = Bundle(nano)
    again = network_of(bundle).state_dict()
    same = network_of(bundle).state_dict()
    assert all(torch.equal(again[key], same[key]) for key in again)
    other = bundle.manifest.weights.model_copy(update={"seed": 99})
    bundle.manifest = bundle.manifest.model_copy(update={"weights": other})
    key = "backbone.features.0.0.weight"
    assert not torch.equal(again[key], network_of(bundle).state_dict()[key])


def test_random_weights_do_not_depend_on_the_number_of_threads(nano):
    bundle, before, found = Bundle(nano), torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(network_of(bundle).state_dict())
    finally:
        torch.set_num_threads(before)
    first = "backbone.features.0.1.running_var"  # later ones inherit what convolutions differ by
    torch.testing.assert_close(found[0][first], found[1][first], rtol=1e-6, atol=0)
    weights = "ban_head.cls_logits.0.weight"
    assert torch.equal(found[0][weights], found[1][weights])


def test_a_bundle_of_a_checkpoint_needs_that_checkpoint(nano):
    bundle = Bundle(nano)
    weights = bundle.manifest.weights.model_copy(update={"origin": "checkpoint", "file": "n.pth", "sha256": "ab" * 32})
    bundle.manifest = bundle.manifest.model_copy(update={"weights": weights})
    with pytest.raises(CheckpointError, match=r"was exported from n\.pth \(SHA-256 abababababab.*give it as --weights"):
        network_of(bundle)


def test_a_checkpoint_is_found_by_its_hash_among_those_given(nano):
    paths = [shared_path("nanotrack", f"nanotrackv{version}.npz") for version in (1, 3)]
    bundle = Bundle(nano)
    update = {"origin": "checkpoint", "file": paths[1].name, "sha256": sha256(paths[1].read_bytes()).hexdigest()}
    weights = bundle.manifest.weights.model_copy(update=update)
    bundle.manifest = bundle.manifest.model_copy(update={"weights": weights})
    loaded, published = network_of(bundle, paths).state_dict(), dict(np.load(paths[1]))
    key = "ban_head.cls_logits.0.weight"
    np.testing.assert_array_equal(loaded[key].numpy(), published[key])
    with pytest.raises(CheckpointError, match=r"not nanotrackv1\.npz"):
        network_of(bundle, paths[:1])


def test_a_network_that_no_upstream_runs_is_refused(tiny_bundle):
    with pytest.raises(ModelError, match="tiny"):
        network_of(Bundle(tiny_bundle))
    for model, variant in (("sasiam", None), ("siamrpnpp", "resnet50_lt")):
        row = find(model, variant)
        with pytest.raises(UsageError, match=f"no upstream style of {model}"):
            upstream_style(bundle_of(row), row.build())


def test_a_network_with_a_stride_that_no_upstream_knows_is_refused(clip):
    for model in ("siamdw_fc", "siamdw_rpn"):
        row = find(model, "res43")
        tracker = upstream_style(bundle_of(row), row.build())
        tracker.init(clip.frames[0], clip.boxes[0])
        with pytest.raises(UsageError, match="no upstream style of this network"):
            tracker.update(clip.frames[1])


# Untrained box maps overflow in exp, as they would upstream.
@pytest.mark.filterwarnings("ignore:.* encountered in:RuntimeWarning")
@pytest.mark.parametrize(
    ("model", "variant", "layer", "repeated"),
    [
        ("nanotrack", "v3", "ban_head.corr_dw_cls.conv_kernel", True),
        ("siamrpnpp", "alexnet", "rpn_head.cls.conv_kernel", True),
        ("siamdw_rpn", "res22", "connect_model.template_cls", True),
        ("dasiamrpn", "vot", "conv_cls1", False),
    ],
)
def test_kernels_are_made_again_where_upstream_makes_them_again(model, variant, layer, repeated, clip):
    row = find(model, variant)
    net = row.build()
    calls: Counter[str] = Counter()
    dict(net.named_modules())[layer].register_forward_hook(lambda *_: calls.update([layer]))
    tracker = upstream_style(bundle_of(row), net)
    tracker.init(clip.frames[0], clip.boxes[0])
    for frame in clip.frames[1:3]:
        tracker.update(frame)
    assert calls[layer] == (2 if repeated else 1)


@pytest.mark.parametrize(
    ("model", "asked", "expected"),
    [
        ("nanotrack", None, True),
        ("nanotrack", False, False),
        ("siamfc", None, False),
        ("siamfc", True, True),
        ("lightfc", None, False),
        ("fear", None, True),
    ],
)
def test_gradients_are_recorded_as_upstream_does_unless_asked_otherwise(model, asked, expected, clip):
    row = find(model)
    net = row.build()
    recorded = []
    trunk = net.encoder if model == "fear" else net.backbone
    trunk.register_forward_hook(lambda *values: recorded.append(values[-1].requires_grad))
    tracker = upstream_style(bundle_of(row), net, gradients=asked)
    tracker.init(clip.frames[0], clip.boxes[0])
    tracker.update(clip.frames[1])
    assert recorded == [expected, expected]


@pytest.mark.parametrize("model", ["nanotrack", "lightfc", "fear"])
def test_stages_add_up_to_the_whole(model, clip):
    row = find(model, "v3" if model == "nanotrack" else None)
    tracker = upstream_style(bundle_of(row), row.build())
    tracker.init(clip.frames[0], clip.boxes[0])
    result = tracker.update(clip.frames[1])
    assert all(seconds > 0 for seconds in tracker.stages)
    assert sum(tracker.stages) == pytest.approx(result.time)
    assert (result.frame_index, result.lost) == (1, False)


def test_a_small_target_gets_the_larger_search_crop(clip):
    row = find("dasiamrpn", "big")
    tracker = upstream_style(bundle_of(row), row.build())
    for box, side in (((10, 10, 15, 15), 287), ((10, 10, 80, 80), 271)):
        tracker.init(clip.frames[0], box)
        assert tracker.instance == side


def test_lightfc_begins_its_head_with_one_convolution_as_after_switch_to_deploy():
    net = find("lightfc").build()
    first = net.head.conv1_size
    torch.nn.init.normal_(first.rbr_dense.conv.bias)
    x = torch.randn(1, 192, 4, 4)
    with torch.no_grad():
        outputs = {style: EagerNetwork(net).net.head.conv1_size(x) for style in ("once", "again")}
        first.eval()
        kept = first(x)
        first.rbr_dense.conv.bias.zero_()
        first.rbr_3x3.conv.bias.zero_()
        torch.testing.assert_close(outputs["once"], first(x), atol=1e-5, rtol=1e-4)
    assert torch.equal(outputs["once"], outputs["again"])  # the network that was given is left as it was
    assert not torch.allclose(outputs["once"], kept, atol=1e-2)


def test_fear_rectifies_its_trunk_in_place_and_leaves_the_given_network_alone():
    net = find("fear").build().eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        before = net.encoder(x)
        torch.testing.assert_close(EagerNetwork(net).net.encoder(x), before, atol=1e-6, rtol=1e-5)
        assert torch.equal(net.encoder(x), before)
    assert sum(isinstance(module, torch.nn.ReLU) for module in net.encoder.modules()) == 0


def test_a_lightfc_with_hyper_parameters_that_upstream_has_none_of_is_refused(clip):
    row = find("lightfc")
    tracker = upstream_style(bundle_of(row), row.build(), {**row.params, "penalty_k": 0.1})
    with pytest.raises(UsageError, match=r"leave --against out.*penalty_k 0, window_influence 1, lr 1"):
        tracker.init(clip.frames[0], clip.boxes[0])


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((10.9, 20.9, 30.9, 40.9), (10, 20, 30, 40)),
        ((-5, -7, 30, 40), (0, 0, 30, 40)),
        ((90, 50, 30, 40), (90, 50, 10, 30)),
        ((99, 79, 30, 40), (97, 77, 3, 3)),
        ((150, 10, 30, 1), (97, 10, 3, 3)),
    ],
)
def test_fear_moves_boxes_over_the_left_and_top_edge_and_cuts_them_at_the_others(box, expected):
    assert clamped(box, np.zeros((80, 100, 3), np.uint8)) == expected


@pytest.mark.parametrize(
    ("start", "length", "expected"),
    [
        (10.5, 20.0, (10.5, 20.0)),
        (-5.0, 20.0, (0, 15.0)),
        (90.0, 20.0, (90.0, 10.0)),
        (200, 9, (98, 2)),
        (-50, 9, (0, 2)),
    ],
)
def test_lightfc_cuts_boxes_at_both_edges_and_keeps_two_pixels(start, length, expected):
    assert clipped(start, length, 100) == expected


def test_scores_that_float32_can_hardly_tell_apart_are_a_close_call():
    tracker = upstream_style(bundle_of(find("fear")), find("fear").build())
    tracker.rounded = [10.0]
    for logits, close in (([20.0, 18.0], True), ([2.0, 1.0], False), ([2.0, 1.99999], True)):
        tracker.ranked = torch.tensor(logits)
        tracker.chosen_by = tracker.ranked.sigmoid()
        assert tracker.is_close_call() is close
