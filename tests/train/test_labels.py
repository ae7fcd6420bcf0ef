"""What the cells of a map are told: anchors, points, score maps."""

import numpy as np
import torch

from trk.models.proposals import AnchorDecode
from trk.train.labels import IGNORED, NEGATIVE, POSITIVE, anchor_labels, anchors, overlaps, point_truth, score_labels
from trk.train.losses import giou

SIDE = 25
TARGET = np.array([8.0, -16.0, 60.0, 70.0], np.float32)


def test_anchors_are_positive_from_an_overlap_of_six_tenths_and_at_most_sixteen_of_sixty_four() -> None:
    grid = anchors(AnchorDecode(SIDE), SIDE)
    labels, _, weights = anchor_labels(grid, TARGET, np.random.default_rng(0))
    overlap = overlaps(grid, TARGET)
    assert 0 < (labels == POSITIVE).sum() <= 16
    assert (labels == NEGATIVE).sum() == 48
    assert (overlap[labels == POSITIVE] > 0.6).all()
    assert (overlap[labels == NEGATIVE] < 0.3).all()
    assert np.isclose(weights.sum(), 1.0, atol=1e-4)


def test_deltas_of_anchors_decode_to_the_target() -> None:
    decode = AnchorDecode(SIDE)
    _, deltas, _ = anchor_labels(anchors(decode, SIDE), TARGET, np.random.default_rng(0))
    boxes = torch.stack(decode(torch.from_numpy(deltas.reshape(1, -1, SIDE, SIDE))), -1)
    assert torch.allclose(boxes, torch.from_numpy(TARGET).expand_as(boxes), atol=1e-3)


def test_an_absent_target_has_negatives_near_its_place_and_no_positive() -> None:
    grid = anchors(AnchorDecode(SIDE), SIDE)
    labels, _, weights = anchor_labels(grid, TARGET, np.random.default_rng(0), absent=True)
    assert (labels == NEGATIVE).sum() == 16
    assert not (labels == POSITIVE).any()
    assert weights.sum() == 0
    assert (np.abs(grid[labels == NEGATIVE][:, :2] - TARGET[:2]) <= 28).all()


def test_points_are_positive_inside_a_quarter_and_ignored_up_to_half_of_the_target() -> None:
    truth, labels = point_truth(17, 8, torch.from_numpy(TARGET)[None])
    assert labels[0, 8 - 2, 8 + 1] == POSITIVE
    assert labels[0, 8 - 2, 8 + 1 + 3] == IGNORED
    assert labels[0, 0, 0] == NEGATIVE
    assert truth[0, :, 6, 9].tolist() == [30.0, 35.0, 30.0, 35.0]


def test_a_target_smaller_than_the_grid_still_has_a_positive_point() -> None:
    _, labels = point_truth(17, 8, torch.tensor([[4.0, 4.0, 3.0, 3.0]]))
    assert (labels == POSITIVE).any()


def test_score_maps_are_positive_within_sixteen_pixels() -> None:
    labels = score_labels(17, 8, np.array([8.0, 0.0, 50.0, 50.0], np.float32))
    assert labels[8, 9] == 1
    assert labels.sum() == 13  # the cells at a block distance of 2 at most


def test_generalised_overlap_is_one_for_equal_boxes_and_falls_apart_from_each_other() -> None:
    truth = torch.tensor([[10.0, 10, 10, 10], [10, 10, 10, 10], [10, 10, 10, 10]])
    ours = torch.tensor([[10.0, 10, 10, 10], [30, 10, -20, 10], [130, 10, -120, 10]])
    generalised, overlap = giou(ours, truth)
    assert generalised[0] == 1
    assert overlap[1] == overlap[2] == 0
    assert generalised[2] < generalised[1] <= 0
