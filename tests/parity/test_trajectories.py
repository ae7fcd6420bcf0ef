"""Whole trackers on a real clip: exported bundle, engine and ONNX Runtime against upstream's own run."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from trk import Tracker
from trk.engine.manifest import Weights
from trk.export.bundle import export_bundle
from trk.models.proposals import ProposalStep, anchor_step
from trk.models.registry import find
from trk.models.row import Row, SearchSize
from trk.models.sasiam import SASiam
from trk.models.siamrpnpp import SiamRPNpp

from golden_params import params_from
from shared import shared_module, shared_path

PIXELS = 0.05
LIGHT_PIXELS = {"lightfc": 0.02, "fear": 0.0}
FLIPPED = 2.0
"""Pixels by which boxes of whole pixels may differ once one of them was a close call."""
SCORE = 1e-4
SEEDED = Weights(origin="random", seed=0, licence="none: seeded numbers of the golden data")


def python3(row: Row) -> Row:
    """DaSiamRPN as it runs under Python 3: every anchor half a cell off, halves rounded to even."""

    def step(side: int, search_size: int) -> ProposalStep:
        shifted = anchor_step(side, search_size)
        decode: nn.Module = shifted.decode
        decode.x -= 4
        decode.y -= 4
        return shifted

    return replace(row, step=step, geometry={**row.geometry, "crop": {"origin_rounding": "half_even"}})


def sasiam_of_the_paper() -> Row:
    """SA-Siam as the golden reads the paper: siamfc-pytorch's crops and step, weights of the golden's key names."""
    build = partial(SASiam, conv4_scale=1.0, response_bias=False, norm_bias=True)
    geometry = {**find("siamfc").geometry, "template_size": 255}
    return replace(find("siamfc"), build=build, geometry=geometry)


SIAMDW_263 = {"preset": "otb2015"}
CASES: dict[str, tuple[Callable[[], Row], dict[str, Any]]] = {
    "siamrpn_alex_dwxcorr": (partial(find, "siamrpnpp", "alexnet"), {}),
    "siamfc_alexnet_v1": (partial(find, "siamfc"), {}),
    "nanotrack_v3": (partial(find, "nanotrack", "v3"), {}),
    "siamdw_SiamFCRes22": (partial(find, "siamdw_fc", "res22"), {}),
}
SLOW: dict[str, tuple[Callable[[], Row], dict[str, Any]]] = {
    "nanotrack_v1": (partial(find, "nanotrack", "v1"), {}),
    "nanotrack_v2": (partial(find, "nanotrack", "v2"), {}),
    "siamrpn_alex_xcorr": (
        lambda: replace(
            find("siamrpn"), build=partial(SiamRPNpp, "alexnet", head="upchannel"), searches=(SearchSize(271),)
        ),
        {},
    ),
    "siamrpn_mobilev2_l234_dwxcorr": (partial(find, "siamrpnpp", "mobilenetv2"), {}),
    "siamrpn_r18_l234_dwxcorr": (partial(find, "siamrpnpp", "resnet18"), {}),
    "siamrpn_r50_l234_dwxcorr": (partial(find, "siamrpnpp", "resnet50"), {}),
    "siamrpn_r50_l234_dwxcorr_otb": (partial(find, "siamrpnpp", "resnet50_otb"), {}),
    "siamrpn_r50_l234_dwxcorr_lt": (partial(find, "siamrpnpp", "resnet50_lt"), {}),
    "siamrpn_r50_l234_dwxcorr_lt_lost": (partial(find, "siamrpnpp", "resnet50_lt"), {}),
    "dasiamrpn_py2_SiamRPNvot": (partial(find, "dasiamrpn", "vot"), {}),
    "dasiamrpn_SiamRPNvot": (lambda: python3(find("dasiamrpn", "vot")), {}),
    "dasiamrpn_SiamRPNotb": (lambda: python3(find("dasiamrpn", "otb")), {}),
    "dasiamrpn_SiamRPNBIG": (lambda: python3(find("dasiamrpn", "big")), {}),
    "siamdw_SiamFCIncep22": (partial(find, "siamdw_fc", "incep22"), SIAMDW_263),
    "siamdw_SiamFCNext22": (partial(find, "siamdw_fc", "next22"), SIAMDW_263),
    "siamdw_SiamFCRes22W": (partial(find, "siamdw_fc", "res22w"), {}),
    "siamdw_SiamRPNRes22_thicker": (partial(find, "siamdw_rpn", "res22_softmax"), {"preset": "vot2017"}),
    "siamdw_SiamRPNRes22_thinner": (partial(find, "siamdw_rpn", "res22"), {}),
    "sasiam": (sasiam_of_the_paper, {}),
}
LIGHT = ("lightfc", "fearxs", "fearxs_smooth")
LIGHT_SLOW = (
    *("lightfc_David", "lightfc_bag", "fearxs_David", "fearxs_bag"),
    *("fearxs_noembs", "fearxs_noembs_David", "fearxs_noembs_bag"),
)
"""Of real weights, whole rows, in a folder of their own."""


@pytest.mark.parametrize(("folder", "cases"), [("goldens", {*CASES, *SLOW}), ("goldens_light", {*LIGHT, *LIGHT_SLOW})])
def test_every_golden_trajectory_has_a_case(folder, cases):
    assert {path.stem for path in shared_path(folder, "trajectories").glob("*.json")} == cases


def weights(trajectory: dict[str, Any], net: nn.Module) -> dict[str, np.ndarray]:
    if trajectory["weights"] == "seeded":
        shapes = {key: tuple(value.shape) for key, value in net.state_dict().items()}
        filled: dict[str, np.ndarray] = shared_module("goldens", "seeded.py").fill(shapes)
        return filled
    return dict(np.load(shared_path("goldens", "..", trajectory["weights"])))


@pytest.mark.parametrize("name", [*CASES, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_boxes_equal_upstreams(name, tmp_path):
    golden = shared_module("goldens", "golden.py")
    trajectory = golden.read_json("trajectories", f"{name}.json")
    build, options = {**CASES, **SLOW}[name]
    row = build()
    config = trajectory["config"]
    if hysteresis := row.geometry.get("hysteresis"):
        row = replace(row, geometry={**row.geometry, "hysteresis": {**hysteresis, "low": config["CONFIDENCE_LOW"]}})
    net = row.build()
    net.load_state_dict({key: torch.from_numpy(np.array(value)) for key, value in weights(trajectory, net).items()})
    export_bundle(row, tmp_path / "bundle", net, SEEDED, params=params_from(config, row.params), **options)
    tracker = Tracker(tmp_path / "bundle", threads=1)
    follow(tracker, trajectory, golden)


def follow(tracker: Tracker, trajectory: dict[str, Any], golden: Any) -> None:
    shift = tracker.manifest.geometry.crop.centre_shift
    cx, cy = (value - shift for value in trajectory["init_center"])
    w, h = trajectory["init_size"]
    compared = 0
    for number, frame in enumerate(trajectory["frames"]):
        image = golden.image(f"clip/{frame['frame']:08d}.jpg")
        if number == 0:
            tracker.init(image, (cx - w / 2, cy - h / 2, w, h))
            continue
        result = tracker.update(image)
        if frame["frame"] > trajectory["valid_until_frame"]:
            break
        target = tracker.state.target
        assert target is not None
        centre = frame.get("center") or frame["center_yx"][::-1]
        size = frame.get("size") or frame["target_sz_hw"][::-1]
        found = (target.cx + shift, target.cy + shift, target.w, target.h)
        np.testing.assert_allclose(found, [*centre, *size], atol=PIXELS, rtol=0, err_msg=f"frame {frame['frame']}")
        if "longterm_after" in frame:
            assert result.lost == frame["longterm_after"]
        if frame.get("score") is not None:
            assert result.score == pytest.approx(frame["score"], abs=SCORE)
        compared += 1
    assert compared >= 5


@pytest.mark.parametrize("name", [*LIGHT, *(pytest.param(name, marks=pytest.mark.slow) for name in LIGHT_SLOW)])
def test_boxes_of_light_trackers_equal_upstreams(name, published_bundle):
    golden = shared_module("goldens_light", "golden.py")
    trajectory = golden.trajectory(name)
    if "sequence" in trajectory:
        shared_path("sequences", trajectory["sequence"])
    preset = "smooth" if trajectory.get("config_change") == {"smooth": True} else None
    tracker = Tracker(published_bundle(trajectory["weights"]), threads=1, preset=preset)
    frames = list(zip(golden.frames(trajectory), trajectory["frames"], strict=True))
    assert len(frames) == trajectory["valid_until_frame"] >= 30
    for path, frame in frames:
        image = golden.image(path)
        if tracker.state is None:
            tracker.init(image, trajectory["init_xywh"])
            found = tracker.state.target.box
        else:
            result = tracker.update(image)
            found = result.box
            assert result.score == pytest.approx(frame.get("score_at_best", frame["score"]), abs=SCORE)
        pixels = LIGHT_PIXELS[tracker.manifest.model]
        if pixels == 0 and frame["frame"] > trajectory["strict_until_frame"]:
            pixels = FLIPPED
        np.testing.assert_allclose(found, frame["box"], atol=pixels, rtol=0, err_msg=f"frame {frame['frame']}")
