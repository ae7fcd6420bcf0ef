"""Cut-out objects, and scenes made of them."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from trk.train.augment import Augment, cut
from trk.train.compose import Companion, Pose, compose, first_pose
from trk.train.cutouts import Cutout, cut_out

STILL = Augment(scale=0, colour=0, grey=0, blur=0, noise=0)
UPRIGHT = Pose(np.eye(2), np.zeros((2, 4, 4)))


def disc(side=80, radius=24, colour=(20, 40, 220)):
    rng = np.random.default_rng(0)
    image = rng.integers(90, 140, (side, side, 3)).astype(np.uint8)
    cv2.circle(image, (side // 2, side // 2), radius, colour, -1)
    return image


def ellipse(w=60, h=30):
    mask = np.zeros((h, w), np.uint8)
    cv2.ellipse(mask, (w // 2, h // 2), (w // 2 - 1, h // 2 - 1), 0, 0, 360, 255, -1)
    return Cutout(np.full((h, w, 3), (0, 0, 255), np.uint8), mask, "ellipses")


def red(crop):
    """The bounds x, y, w, h of what is red in `crop`."""
    pixels = crop.astype(int)
    return cv2.boundingRect(((pixels[:, :, 2] - pixels[:, :, 0]) > 90).astype(np.uint8))


def test_an_object_on_another_ground_is_cut_out_at_its_edge():
    found = cut_out(disc(), (16, 16, 48, 48))
    assert found is not None
    image, mask = found
    assert image.shape[:2] == mask.shape
    assert abs(mask.shape[0] - 49) <= 3
    assert abs(mask.shape[1] - 49) <= 3
    assert (mask > 127).mean() == pytest.approx(np.pi / 4, abs=0.06)


@pytest.mark.parametrize("box", [(2, 2, 6, 6), (0, 0, 80, 80)])
def test_an_object_that_is_tiny_or_fills_the_picture_is_left_out(box):
    assert cut_out(disc(), box) is None


def test_one_colour_all_over_is_left_out():
    assert cut_out(np.full((80, 80, 3), 128, np.uint8), (20, 20, 40, 40)) is None


@pytest.mark.parametrize("seed", range(6))
def test_the_box_of_a_scene_is_that_of_the_painted_mask(seed):
    rng = np.random.default_rng(seed)
    pose = first_pose(rng).changed(rng, 1.0)
    ground = np.full((300, 300, 3), 100, np.uint8)
    crop, target = compose(ellipse(), pose, 223, replace(STILL, shift=30), ground, [], rng, alone=True)
    x, y, w, h = red(crop)
    middle = (223 - 1) / 2
    assert target == pytest.approx([x + (w - 1) / 2 - middle, y + (h - 1) / 2 - middle, w, h], abs=2.0)


def test_a_target_at_rest_is_as_large_as_the_engine_would_cut_it():
    rng = np.random.default_rng(0)
    ground = np.full((300, 300, 3), 100, np.uint8)
    _, target = compose(ellipse(), UPRIGHT, 223, STILL, ground, [], rng, alone=True)
    w, h = target[2:]
    assert np.sqrt((w + (w + h) / 2) * (h + (w + h) / 2)) == pytest.approx(127, abs=3)
    assert w / h == pytest.approx(2, abs=0.1)


def test_a_companion_is_painted_and_the_box_stays_the_targets():
    ground = np.full((300, 300, 3), 100, np.uint8)
    blue = ellipse()._replace(image=np.full((30, 60, 3), (255, 0, 0), np.uint8))
    beside = Companion(blue, np.array([0.0, 1.0]), 1.0)
    _, alone = compose(ellipse(), UPRIGHT, 223, STILL, ground, [], np.random.default_rng(0), alone=True)
    crop, target = compose(ellipse(), UPRIGHT, 223, STILL, ground, [], np.random.default_rng(0), beside, alone=True)
    assert target == pytest.approx(alone)
    pixels = crop.astype(int)
    assert ((pixels[:, :, 0] - pixels[:, :, 2]) > 90).sum() > 500


def test_no_more_than_half_of_a_target_is_hidden():
    ground = np.full((300, 300, 3), 100, np.uint8)
    blue = ellipse()._replace(image=np.full((30, 60, 3), (255, 0, 0), np.uint8), source="others")
    counts = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        crop, target = compose(ellipse(), UPRIGHT, 223, STILL, ground, [blue], rng)
        seen = ((crop[:, :, 2].astype(int) - crop[:, :, 0]) > 90).sum()
        counts.append(seen / (np.pi / 4 * target[2] * target[3]))
    assert min(counts) > 0.4
    assert min(counts) < 0.95


def test_a_turned_crop_has_the_bounds_of_the_turned_ellipse():
    image = np.full((200, 200, 3), 100, np.uint8)
    cv2.ellipse(image, (100, 100), (40, 20), 0, 0, 360, (0, 0, 255), -1)
    differences = []
    for seed in range(8):
        rule = Augment(0, 0, rotation=30, colour=0, grey=0, blur=0, noise=0)
        crop, target = cut(image, (60, 80, 81, 41), 159, rule, np.random.default_rng(seed))
        _, _, w, h = red(crop)
        differences.append(np.abs(target[2:] - [w, h]).max())
    assert max(differences) < 2.5
