"""The step of SiamFC's family against its formulas, with OpenCV's own resize."""

import cv2
import numpy as np
import pytest
import torch

from trk.models.scales import PARAMS, ScaleStep, cubic_matrix

SIDE, UPSAMPLE, STRIDE = 7, 4, 8


def expected(score, size, params, *, penalise="maps", centre=None, scaled=True, reach=None):
    """Source: huanglianghua/siamfc-pytorch:siamfc/siamfc.py (update)."""
    penalty, influence, lr, step = params
    fine = SIDE * UPSAMPLE
    maps = [cv2.resize(one, (fine, fine), interpolation=cv2.INTER_CUBIC) for one in score]
    weights = [penalty, 1.0, penalty]
    chosen = int(np.argmax([one.max() * weight for one, weight in zip(maps, weights, strict=True)]))
    response = maps[chosen] * (weights[chosen] if penalise == "maps" else 1.0)
    peak = response.max()
    response = response - response.min()
    response /= response.sum() + 1e-16
    window = np.outer(np.hanning(fine), np.hanning(fine))
    response = response * (1 - influence) + window / window.sum() * influence
    row, column = np.unravel_index(response.argmax(), response.shape)
    factor = step ** (chosen - 1)
    middle = (fine - 1) / 2 if centre is None else centre
    offset = (np.array([column, row]) - middle) * STRIDE / UPSAMPLE
    if reach is not None:
        offset = offset.clip(-reach * STRIDE, reach * STRIDE)
    if scaled:
        offset = offset * factor
    return [*offset, *(np.array(size) * (1 - lr + lr * factor))], peak, row * fine + column


OPTIONS = [{}, {"penalise": "maxima"}, {"centre": 13.0}, {"scaled": False}, {"reach": 0.75}]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize(
    "params", [(0.97, 0.2, 0.6, 1.04), (0.5, 0.0, 1.0, 1.2), (1.0, 0.9, 0.0, 0.8), (1.5, 0.3, 0.3, 2)]
)
def test_step_chooses_scale_and_cell_as_the_formulas_say(options, params):
    step = ScaleStep(SIDE, STRIDE, UPSAMPLE, **options)
    assert step.param_names == PARAMS
    for seed in range(8):
        score = np.random.default_rng(seed).normal(2, 1, (3, SIDE, SIDE)).astype(np.float32)
        size = (30.0 + seed, 80.0 - 5 * seed)
        box, peak, best = step(torch.from_numpy(score).unsqueeze(1), torch.tensor([size]), torch.tensor(params))
        wanted_box, wanted_peak, wanted_best = expected(score, size, params, **options)
        assert int(best) == wanted_best
        assert best.dtype == torch.int32
        assert float(peak) == pytest.approx(wanted_peak, abs=1e-4)
        np.testing.assert_allclose(box[0], wanted_box, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("align", [False, True])
def test_cubic_upsampling_keeps_constants_and_where_they_are_aligned_the_cells(align):
    matrix = cubic_matrix(5, 17 if align else 20, align_corners=align)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-12)
    if align:
        np.testing.assert_allclose(matrix[::4], np.eye(5), atol=1e-12)
    else:
        line = np.random.default_rng(0).normal(size=(1, 5)).astype(np.float32)
        resized = cv2.resize(line, (20, 1), interpolation=cv2.INTER_CUBIC)
        np.testing.assert_allclose(matrix @ line[0], resized[0], atol=1e-5)
