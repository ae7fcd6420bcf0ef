"""Golden steps: maps and state of upstream trackers in, the next state out, in PyTorch and through ONNX Runtime."""

from collections.abc import Callable
from functools import cache
from math import sqrt
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from trk.engine.ask import Cut, look_at
from trk.engine.geometry import Geometry, Regions
from trk.engine.manifest import Search
from trk.engine.target import Motion, Target
from trk.export.onnx_graph import to_onnx
from trk.models.registry import find
from trk.models.row import Row
from trk.models.scales import cubic_matrix

from golden_params import params_from
from shared import shared_module

PIXELS = 1e-3
SCORE = 2e-6

ROWS: dict[str, Row] = {
    "siamrpn": find("siamrpnpp", "resnet50"),
    "siamrpn_lt": find("siamrpnpp", "resnet50_lt"),
    "dasiamrpn_py2": find("dasiamrpn", "vot"),
    "siamdw_rpn": find("siamdw_rpn", "res22"),
    "nanotrack": find("nanotrack", "v3"),
    "siamfc": find("siamfc", "alexnet"),
    "siamdw_fc": find("siamdw_fc", "res22"),
    "lightfc": find("lightfc"),
    "fearxs": find("fear", "xs"),
}
LIGHT = ("lightfc", "fearxs")
"""Families whose goldens lie in a folder of their own, and whose crops are checked with the steps."""
CHANNELS = {"nanotrack": (2, 4), "siamfc": (1,), "siamdw_fc": (1,), "lightfc": (1, 2, 2), "fearxs": (1, 4)}
"""Of each map of a family; of the others, class and box deltas of five anchors."""


def golden_of(family: str) -> ModuleType:
    return shared_module("goldens_light" if family in LIGHT else "goldens", "golden.py")


def step_of(row: Row, side: int) -> nn.Module:
    return row.step(side, row.searches[0].size).eval()


def params_of(row: Row, case: dict[str, Any]) -> torch.Tensor:
    # LightFC's upstream has none of the parameters: the row's defaults switch them off.
    values = dict(row.params) if row.family == "centre" else params_from(case["hyper"], row.params)
    if case["state"].get("longterm_state"):
        values["window_influence"] = case["hyper"]["lost_window_influence"]
    return torch.tensor(list(values.values()), dtype=torch.float32)


def in_pytorch(step: nn.Module) -> Callable[..., tuple[np.ndarray, ...]]:
    return lambda *inputs: tuple(output.numpy() for output in step(*inputs))


@cache
def session(family: str, side: int, shapes: tuple[tuple[int, ...], ...]) -> Any:
    step = step_of(ROWS[family], side)
    inputs = [torch.rand(shape) for shape in shapes]
    names = [f"map{i}" for i in range(len(shapes) - 2)] + ["size", "params"]
    model = to_onnx(step, tuple(inputs), names, ["box", "score", "best"])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return names, onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def in_onnx_runtime(family: str, side: int) -> Callable[..., tuple[np.ndarray, ...]]:
    def call(*inputs: torch.Tensor) -> tuple[np.ndarray, ...]:
        names, loaded = session(family, side, tuple(tuple(values.shape) for values in inputs))
        box, score, best = loaded.run(None, dict(zip(names, (values.numpy() for values in inputs), strict=True)))
        return box, score, best

    return call


def state_of(case: dict[str, Any]) -> tuple[float, float, float, float]:
    state = case["state"]
    if "box" in state:
        x, y, w, h = state["box"]
        return x + w / 2, y + h / 2, w, h
    cx, cy = state.get("center") or state["center_yx"][::-1]
    w, h = state.get("size") or state["target_sz_hw"][::-1]
    return cx, cy, w, h


@pytest.mark.parametrize("runtime", ["pytorch", "onnxruntime"])
@pytest.mark.parametrize("family", ROWS)
def test_step_equals_upstreams(family, runtime):
    golden = golden_of(family)
    row = ROWS[family]
    cases = golden.read_json("steps", f"{family}.json")["cases"]
    assert len(cases) >= 14
    for case in cases:
        side = case.get("score_size") or case["state"].get("score_size", 17)
        step = in_pytorch(step_of(row, side)) if runtime == "pytorch" else in_onnx_runtime(family, side)
        maps = [torch.from_numpy(values) for values in golden.step_maps(case["maps"]).values()]
        check(case, row, *search(case, row, step, maps))


def search(case: dict[str, Any], row: Row, step: Callable[..., Any], maps: list[torch.Tensor]) -> tuple[Any, ...]:
    """Run the step as the engine does; return its score, its index, the target after the move and the report."""
    cx, cy, w, h = state_of(case)
    hyper, state, out = case["hyper"], case["state"], case["out"]
    size = out.get("crop_model_sz") or hyper.get("instance_size") or hyper["instance_sz"]
    exemplar = state.get("exemplar_size", row.geometry.get("exemplar_size", 127))
    geometry = Geometry.model_validate({**row.geometry, "exemplar_size": exemplar})
    motion = Motion(geometry, (Search(file="search.onnx", inputs=(), outputs=(), size=size),))
    target = motion.start((cx - w / 2, cy - h / 2, w, h), (0.0, 0.0, 0.0), tuple(case["image"]))
    target.cx, target.cy, target.w, target.h = cx, cy, w, h  # what is given is limited, a state was before
    target.lost = bool(state.get("longterm_state"))
    if "min_s_x" in state:
        target.side, target.first_side = state["s_x"], state["min_s_x"] / 0.2
    cut = cut_of(case, motion, target, size) if "box" in state else upstreams_cut(case, size / exemplar, size)
    _, across, down = cut
    box, score, best = step(*maps, torch.tensor([[w / across, h / down]]), params_of(row, case))
    look = look_at(cut, box[0].tolist(), float(score[0]))
    report = motion.advance(target, look.centre, look.moved, look.score, tuple(case["image"]))
    return look.score, int(best[0]), target, report


def upstreams_cut(case: dict[str, Any], share: float, size: int) -> Cut:
    """Return the crop as it is before rounding, by which these upstreams scale."""
    cx, cy, w, h = state_of(case)
    side = case["state"].get("s_x") or case["state"].get("x_sz")
    if side is None:
        padding = (w + h) / 2
        side = sqrt((w + padding) * (h + padding)) * share
    return (cx, cy), side / size, side / size


def cut_of(case: dict[str, Any], motion: Motion, target: Target, size: int) -> Cut:
    """Return the crop as `Tracker.cut` has it, once its pixels were found to be upstream's."""
    rule, out = motion.geometry.crop, case["out"]
    asked = (target.cx, target.cy)
    x, y, width, height, middle = Regions(rule).at(asked, motion.search_extent(target, 0))
    region = out.get("crop_box") or [out[key] for key in ("crop_x1", "crop_y1", "crop_original_sz", "crop_original_sz")]
    assert [x, y, width, height] == region, case["name"]
    assert rule.scale == "cut"
    return middle if rule.recentre else asked, width / size, height / size


def check(case: dict[str, Any], row: Row, score: float, best: int, target: Any, report: Any) -> None:
    out, name = case["out"], case["name"]
    assert best == expected_index(case), name
    if "best_score" in out:
        assert score == pytest.approx(out["best_score"], abs=SCORE), name
    if "box" in out:
        whole = row.geometry["limits"].get("whole_pixels", False)
        np.testing.assert_allclose(report, out["box"], atol=0 if whole else PIXELS, rtol=0, err_msg=name)
        assert report == target.box
        return
    centre = out.get("center") or out["center_yx"][::-1]
    size = out.get("size") or out["target_sz_hw"][::-1]
    found = (target.cx, target.cy, target.w, target.h)
    np.testing.assert_allclose(found, [*centre, *size], atol=PIXELS, rtol=0, err_msg=name)
    if "s_x" in out:
        assert target.side == pytest.approx(out["s_x"], abs=PIXELS), name
    if "longterm_state" in out:
        assert target.lost == out["longterm_state"], name
        np.testing.assert_allclose(report, out["bbox"], atol=PIXELS, rtol=0, err_msg=name)


def expected_index(case: dict[str, Any]) -> int:
    out = case["out"]
    if "best_idx" in out:
        return int(out["best_idx"])
    if "best_arc" in out:
        anchor, row, column = out["best_arc"]
        return int((anchor * case["score_size"] + row) * case["score_size"] + column)
    row, column = out["peak_rc"]
    return int(row * 272 + column)


@pytest.mark.parametrize("family", ROWS)
def test_a_batch_of_targets_equals_single_ones(family):
    random = torch.Generator().manual_seed(0)
    row = ROWS[family]
    crops = len(row.geometry.get("search_steps", (0,)))
    shapes = [(crops, channels, 17, 17) for channels in CHANNELS.get(family, (10, 20))]
    step = step_of(row, 17)
    singles = [[torch.rand(shape, generator=random) for shape in shapes] for _ in range(3)]
    sizes = 40 + 40 * torch.rand(3, 2, generator=random)
    for preset in row.presets.values():
        params = torch.tensor(list({**row.params, **preset.params}.values()))
        together = step(*(torch.cat(maps) for maps in zip(*singles, strict=True)), sizes, params)
        for i, maps in enumerate(singles):
            for batched, single in zip(together, step(*maps, sizes[i : i + 1], params), strict=True):
                torch.testing.assert_close(batched[i : i + 1], single)


def test_cubic_matrix_with_aligned_corners_keeps_the_corners_and_constants():
    matrix = cubic_matrix(17, 272, align_corners=True)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-12)
    np.testing.assert_allclose(matrix[[0, -1]], np.eye(17)[[0, -1]], atol=1e-12)


def test_cubic_matrix_equals_opencvs_resize():
    score = np.random.default_rng(0).normal(size=(17, 17)).astype(np.float32)
    matrix = cubic_matrix(17, 272)
    expected = cv2.resize(score, (272, 272), interpolation=cv2.INTER_CUBIC)
    np.testing.assert_allclose(matrix @ score @ matrix.T, expected, atol=1e-5)
