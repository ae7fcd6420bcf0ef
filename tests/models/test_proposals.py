"""The proposals' step against the papers' formulas, written once more in NumPy, one proposal at a time."""

from math import exp, hypot, sqrt

import numpy as np
import pytest
import torch

from trk.models.proposals import (
    PARAMS,
    RATIOS,
    AnchorDecode,
    PointDecode,
    ProposalStep,
    anchor_sizes,
    anchor_step,
    cosine_window,
    grid,
    point_step,
)

SIDES = (5, 6)


def test_anchors_have_the_sides_that_pysot_has():
    # Source: STVIR/pysot:pysot/utils/anchor.py, base 8, scale 8.
    assert anchor_sizes(8, (8.0,), RATIOS) == [(104, 32), (88, 40), (64, 64), (40, 80), (32, 96)]
    assert anchor_sizes(8, (1.0, 2.0), (1.0,)) == [(8, 8), (16, 16)]
    assert anchor_sizes(7, (1.0,), (0.5,)) == [(9, 4)]  # 9.9 x 4.5: truncated before they are scaled


@pytest.mark.parametrize(("side", "first"), [(5, -16), (6, -24), (1, 0)])
def test_cells_count_from_the_middle_row_by_row(side, first):
    x, y = grid(side, 8)
    steps = [first + 8 * number for number in range(side)]
    assert x.tolist() == steps * side
    assert y.tolist() == [step for step in steps for _ in range(side)]


@pytest.mark.parametrize("side", SIDES)
def test_window_is_a_cosine_that_ends_in_zero_and_is_the_same_for_every_anchor(side):
    window = cosine_window(side, 3).reshape(3, side, side).numpy()
    line = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(side) / (side - 1))
    for copy in window:
        np.testing.assert_allclose(copy, np.outer(line, line), atol=1e-7)


def decoded(step, loc, index):
    """Box of one proposal, cx, cy, w, h, by the formulas."""
    side = loc.shape[-1]
    anchor, cell = divmod(index, side * side)
    row, column = divmod(cell, side)
    stride = 16 if isinstance(step.decode, PointDecode) else 8
    x, y = ((at - side // 2) * stride for at in (column, row))
    if isinstance(step.decode, PointDecode):
        left, top, right, bottom = loc[0, :, row, column]
        return x + (right - left) / 2, y + (bottom - top) / 2, left + right, top + bottom
    w, h = anchor_sizes(8, (8.0,), RATIOS)[anchor]
    dx, dy, dw, dh = loc.reshape(4, -1, side, side)[:, anchor, row, column]
    return x + dx * w, y + dy * h, w * exp(dw), h * exp(dh)


def chosen(step, cls, loc, size, params):
    """Box, score and index by the formulas of SiamRPN sec. 4.3."""
    penalty_k, influence, lr = params
    side, copies = loc.shape[-1], step.decode.copies
    line = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(side) / (side - 1))
    found = []
    for index in range(copies * side * side):
        cell = index % (side * side)
        cx, cy, w, h = decoded(step, loc, index)
        flat = cls.reshape(-1)
        if cls.shape[1] == copies:
            score = 1 / (1 + exp(-flat[index]))
        else:
            background, target = flat[index], flat[index + copies * side * side]
            score = exp(target) / (exp(target) + exp(background))

        def context(w, h):
            return sqrt((w + (w + h) / 2) * (h + (w + h) / 2))

        scale = context(w, h) / context(*size)
        ratio = (w / h) / (size[0] / size[1])
        penalty = exp(-penalty_k * (max(scale, 1 / scale) * max(ratio, 1 / ratio) - 1))
        ranked = penalty * score * (1 - influence) + line[cell // side] * line[cell % side] * influence
        rate = penalty * score * lr
        box = (cx, cy, size[0] * (1 - rate) + w * rate, size[1] * (1 - rate) + h * rate)
        found.append((ranked, box, score, index))
    return max(found, key=lambda one: one[0])[1:]


def maps(kind, side, seed):
    random = np.random.default_rng(seed)
    if kind == "points":
        return random.normal(0, 1, (1, 2, side, side)), random.uniform(4, 60, (1, 4, side, side))
    return random.normal(0, 1, (1, 10 if kind == "pairs" else 5, side, side)), random.normal(
        0, 0.4, (1, 20, side, side)
    )


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("kind", ["pairs", "targets", "points"])
@pytest.mark.parametrize("params", [(0.05, 0.4, 0.3), (1.5, 0.0, 1.0), (0.0, 1.0, 0.5), (4.0, 0.2, 0.0)])
def test_step_chooses_and_smooths_as_the_formulas_say(kind, side, params):
    step = point_step(side, 255) if kind == "points" else anchor_step(side, 255)
    for seed in range(6):
        cls, loc = maps(kind, side, seed)
        size = (20.0 + 15 * seed, 70.0 - 9 * seed)
        box, score, best = step(
            torch.tensor(cls, dtype=torch.float32),
            torch.tensor(loc, dtype=torch.float32),
            torch.tensor([size]),
            torch.tensor(params),
        )
        expected_box, expected_score, expected_best = chosen(step, cls, loc, size, params)
        assert int(best) == expected_best
        assert best.dtype == torch.int32
        assert float(score) == pytest.approx(expected_score, abs=1e-6)
        np.testing.assert_allclose(box[0], expected_box, rtol=1e-5, atol=1e-4)


def test_two_targets_at_once_are_each_their_own():
    step, params = anchor_step(5, 255), torch.tensor((0.05, 0.4, 0.3))
    given = [(*maps("pairs", 5, seed), (30.0 + seed, 50.0)) for seed in range(2)]
    cls, loc = (torch.tensor(np.concatenate([one[part] for one in given]), dtype=torch.float32) for part in (0, 1))
    box, score, best = step(cls, loc, torch.tensor([one[2] for one in given]), params)
    assert (box.shape, score.shape, best.shape) == ((2, 4), (2,), (2,))
    for number, (one_cls, one_loc, size) in enumerate(given):
        expected_box, expected_score, expected_best = chosen(step, one_cls, one_loc, size, params.tolist())
        assert int(best[number]) == expected_best
        assert float(score[number]) == pytest.approx(expected_score, abs=1e-6)
        np.testing.assert_allclose(box[number], expected_box, rtol=1e-5, atol=1e-4)


def test_what_is_not_asked_for_is_as_pysot_and_nanotrack_have_it():
    plain, whole = AnchorDecode(5), AnchorDecode(5, stride=8, base=8, scales=(8.0,), ratios=RATIOS)
    for name in ("x", "y", "w", "h"):
        assert torch.equal(getattr(plain, name), getattr(whole, name))
    assert torch.equal(PointDecode(5).x, PointDecode(5, stride=16).x)
    assert torch.equal(anchor_step(5, 255).decode.x, plain.x)


def test_the_first_of_equal_proposals_wins():
    step = ProposalStep(AnchorDecode(5, stride=16), 5)
    assert step.param_names == PARAMS
    box, _, best = step(
        torch.zeros(1, 10, 5, 5), torch.zeros(1, 20, 5, 5), torch.tensor([[64.0, 64.0]]), torch.zeros(3)
    )
    assert int(best) == 0
    assert hypot(*box[0, :2]) == pytest.approx(hypot(32, 32))
