"""Two ways to cut the same crop, written apart: the engine's, which never pads, against upstream's, which pads."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trk.bench.upstream_crop import (
    crop_and_resize,
    extended_crop,
    network_input,
    scale_pyramid,
    subwindow,
    target_square,
)
from trk.engine.crop import Cropper, fill_colour
from trk.engine.geometry import CropRule, Geometry, box_extent, square
from trk.models.registry import find

from shared import shared_module

WIDTH, HEIGHT = 97, 61
FRAME = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
MEAN = np.mean(FRAME, axis=(0, 1))
# Halves are where roundings differ, and integer sides with centres at halves are common.
HALVES = st.integers(-60, 260).map(lambda value: value / 2)
# Not finer: SiamFC's code holds centres in float32, to which a billionth beside a half is the half.
FINE = st.integers(-40 * 64, 140 * 64).map(lambda value: value / 64)
CENTRES = st.tuples(HALVES, HALVES) | st.tuples(FINE, FINE)


@pytest.mark.parametrize("rounding", ["half_up", "half_away", "half_even"])
@settings(deadline=None, max_examples=60)
@given(centre=CENTRES, side=st.integers(3, 150))
def test_subwindow_is_the_engines_crop(rounding, centre, side):
    rule = CropRule(origin_rounding=rounding)
    expected = np.empty((32, 32, 3), np.uint8)
    Cropper(rule).cut(FRAME, centre, square(float(side)), fill_colour(tuple(MEAN), rule), expected)
    np.testing.assert_array_equal(subwindow(FRAME, centre, 32, side, MEAN, rounding), expected)


@settings(deadline=None, max_examples=60)
@given(centre=CENTRES, side=st.integers(3 * 64, 150 * 64).map(lambda value: value / 64))
def test_siamfc_crop_is_the_engines_crop(centre, side):
    rule = CropRule(centre_shift=-0.5, origin_shift=-0.5, origin_rounding="half_even", fill="round")
    yx = np.array([centre[1], centre[0]], np.float32)
    expected = np.empty((32, 32, 3), np.uint8)
    engine_centre = float(yx[1]) + 0.5, float(yx[0]) + 0.5
    Cropper(rule).cut(FRAME, engine_centre, square(side), fill_colour(tuple(MEAN), rule), expected)
    np.testing.assert_array_equal(crop_and_resize(FRAME, yx, side, 32, MEAN), expected)


@settings(deadline=None, max_examples=40)
@given(centre=st.tuples(st.floats(0, WIDTH), st.floats(0, HEIGHT)), side=st.floats(20, 120))
def test_siamdw_pyramid_is_the_engines_pyramid(centre, side):
    rule = CropRule(origin_rounding="half_even", pyramid="nested")
    sides = side * 1.05 ** np.arange(-1.0, 2.0)
    expected = np.empty((3, 32, 32, 3), np.uint8)
    Cropper(rule).cut_pyramid(
        FRAME, centre, [square(one) for one in sides.tolist()], fill_colour(tuple(MEAN), rule), expected
    )
    np.testing.assert_array_equal(scale_pyramid(FRAME, centre, sides, 32, MEAN), expected)


def rule_of(model: str) -> CropRule:
    return Geometry.model_validate(find(model).geometry).crop


BOXES = st.tuples(st.integers(-20, 90), st.integers(-20, 55), st.integers(3, 60), st.integers(3, 60)).filter(
    lambda box: box[0] + box[2] > 0 and box[1] + box[3] > 0
)


@settings(deadline=None, max_examples=60)
@given(box=BOXES, shift=st.sampled_from([0.0, 0.5, 0.25]), factor=st.sampled_from([2.0, 4.0]))
def test_lightfc_crop_is_the_engines_crop(box, shift, factor):
    x, y, w, h = box[0] + shift, box[1], box[2] + shift, box[3]
    rule = rule_of("lightfc")
    expected = np.empty((32, 32, 3), np.uint8)
    side = math.sqrt(w * h) * factor
    Cropper(rule).cut(FRAME, (x + w / 2, y + h / 2), square(side), fill_colour(tuple(MEAN), rule), expected)
    crop, scale, _ = target_square(FRAME, (x, y, w, h), factor, 32)
    np.testing.assert_array_equal(crop, expected)
    assert scale == 32 / math.ceil(side)


@settings(deadline=None, max_examples=60)
@given(box=BOXES, context=st.sampled_from([0.2, 2.0]))
def test_fear_crop_is_the_engines_crop(box, context):
    x, y, w, h = box
    rule = rule_of("fear")
    expected = np.empty((32, 32, 3), np.uint8)
    extent = box_extent(w, h, context)
    told = Cropper(rule).cut(FRAME, (x + w / 2, y + h / 2), extent, fill_colour(tuple(MEAN), rule), expected)
    crop, (left, top, wide, high) = extended_crop(FRAME, box, context, 32, MEAN)
    np.testing.assert_array_equal(crop, expected)
    assert told == ((left + wide / 2, top + high / 2), wide, high)


@pytest.mark.parametrize("family", ["lightfc", "fearxs"])
def test_light_crops_are_upstreams_own(family):
    golden = shared_module("goldens_light", "golden.py")
    for case in golden.read_json("crops", f"{family}.json")["cases"]:
        frame, size = golden.crop_frame(case["frame"]), case["model_sz"]
        if family == "lightfc":
            crop, scale, _ = target_square(frame, case["box"], case["factor"], size)
            assert scale == case["resize_factor"], case["name"]
        else:
            crop, place = extended_crop(frame, case["box"], case["offset"], size, np.mean(frame, axis=(0, 1)))
            assert list(place) == case["original_box"], case["name"]
        assert golden.sha(crop) == case["sha256"], case["name"]


def test_network_input_keeps_values_and_colours_apart():
    crop = np.arange(2 * 2 * 3, dtype=np.uint8).reshape(2, 2, 3)
    found = network_input(crop)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [[[[0, 3], [6, 9]], [[1, 4], [7, 10]], [[2, 5], [8, 11]]]])
    np.testing.assert_array_equal(network_input(np.stack([crop, crop + 1]))[1], found[0] + 1)
