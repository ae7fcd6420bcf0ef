import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trk import FrameError
from trk.engine.crop import Cropper, check_frame, fill_colour, mean_colour
from trk.engine.geometry import CropRule, round_as

from shared import shared_module

RULES = {
    "pysot": CropRule(),
    "nanotrack": CropRule(),
    "dasiamrpn": CropRule(origin_rounding="half_even"),
    "siamdw": CropRule(origin_rounding="half_even", pyramid="nested"),
    "dasiamrpn_py2": CropRule(origin_rounding="half_away", side_rounding="half_away"),
    "siamfc": CropRule(origin_rounding="half_even", origin_shift=-0.5, fill="round"),
}


@pytest.mark.parametrize("family", RULES)
def test_crops_equal_upstreams_to_the_byte(family):
    golden = shared_module("goldens", "golden.py")
    rule, cropper = RULES[family], Cropper(RULES[family])
    cases = golden.read_json("crops", f"{family}.json")["cases"]
    assert len(cases) >= 32
    for case in cases:
        mean = case["avg"][::-1] if family == "siamfc" else case["avg"]  # the goldens state it as RGB there
        out = np.empty((case["model_sz"], case["model_sz"], 3), np.uint8)
        frame = golden.crop_frame(case["frame"])
        before = frame.copy()
        cropper.cut(frame, (case["cx"], case["cy"]), case["original_sz"], fill_colour(mean, rule), out)
        expected = cv2.imread(golden.path("crops", case["png"]))
        np.testing.assert_array_equal(out, expected, err_msg=case["name"])
        np.testing.assert_array_equal(frame, before, err_msg="the frame was modified")


def test_nested_pyramid_equals_siamdws_to_the_byte():
    golden = shared_module("goldens", "golden.py")
    rule, cropper = RULES["siamdw"], Cropper(RULES["siamdw"])
    cases = golden.read_json("crops", "siamdw.json")["pyramid"]
    assert cases
    for case in cases:
        out = np.empty((3, case["out_side"], case["out_side"], 3), np.uint8)
        cropper.cut_pyramid(
            golden.crop_frame(case["frame"]),
            (case["cx"], case["cy"]),
            case["in_side_scaled"],
            fill_colour(case["avg"], rule),
            out,
        )
        expected = cv2.imread(golden.path("crops", case["png"]))
        np.testing.assert_array_equal(np.concatenate(list(out), axis=1), expected, err_msg=case["name"])


def padded(frame, centre, side, fill, m, rule):
    """The crop as upstreams make it: a canvas of the whole side, filled, the frame pasted, resized."""
    x0, y0 = (round_as(c - side / 2 - rule.origin_shift, rule.origin_rounding) for c in centre)
    canvas = np.empty((side, side, 3), np.uint8)
    canvas[:] = fill
    height, width = frame.shape[:2]
    left, right, top, bottom = max(0, -x0), min(side, width - x0), max(0, -y0), min(side, height - y0)
    if left < right and top < bottom:
        canvas[top:bottom, left:right] = frame[y0 + top : y0 + bottom, x0 + left : x0 + right]
    return canvas if side == m else cv2.resize(canvas, (m, m))


@settings(max_examples=300, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 120), st.integers(1, 120)),
    centre=st.tuples(st.floats(-40, 160), st.floats(-40, 160)),
    side=st.integers(1, 1200),
    m=st.sampled_from([17, 127, 255]),
    seed=st.integers(0, 2**32 - 1),
)
def test_crop_equals_a_padded_canvas_wherever_the_target_is(shape, centre, side, m, seed):
    random = np.random.default_rng(seed)
    frame = random.integers(0, 256, (*shape, 3), np.uint8)
    fill = random.integers(0, 256, 3, np.uint8)
    out = np.empty((m, m, 3), np.uint8)
    Cropper(CropRule()).cut(frame, centre, side, fill, out)
    np.testing.assert_array_equal(out, padded(frame, centre, side, fill, m, CropRule()))


def test_crop_of_a_frame_that_is_not_contiguous():
    frame = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    view = frame[::-1, ::2, ::-1]
    out, expected = np.empty((2, 63, 63, 3), np.uint8)
    Cropper(CropRule()).cut(view, (30, 40), 50, np.zeros(3, np.uint8), out)
    Cropper(CropRule()).cut(np.ascontiguousarray(view), (30, 40), 50, np.zeros(3, np.uint8), expected)
    np.testing.assert_array_equal(out, expected)


def test_centre_that_was_cut_differs_by_less_than_a_pixel():
    frame = np.zeros((100, 100, 3), np.uint8)
    out = np.empty((31, 31, 3), np.uint8)
    rule = CropRule(origin_shift=0.0)
    for x in np.linspace(20, 60, 57):
        cut = Cropper(rule).cut(frame, (x, 50.25), 21.4, np.zeros(3, np.uint8), out)
        assert abs(cut[0] - x) <= 0.5
        assert abs(cut[1] - 50.25) <= 0.5


def test_affine_crop_samples_the_corners_of_the_box():
    x, y = np.meshgrid(np.arange(200), np.arange(150))
    frame = np.stack([x, y, x * 0], axis=2).astype(np.uint8)
    out = np.empty((101, 101, 3), np.uint8)
    rule = CropRule(sampling="affine", centre_shift=-0.5)
    # A side of 51 pixels around pixel 80.5 - 0.5 begins at pixel 55 and ends at 105: half a pixel a sample.
    Cropper(rule).cut(frame, (80.5, 60.5), 51.0, np.zeros(3, np.uint8), out)
    np.testing.assert_allclose(out[50, :, 0], np.linspace(55, 105, 101), atol=1)
    np.testing.assert_allclose(out[:, 50, 1], np.linspace(35, 85, 101), atol=1)


def test_mean_colour_equals_numpys():
    frame = np.random.default_rng(3).integers(0, 256, (71, 97, 3), np.uint8)
    assert mean_colour(frame) == tuple(np.mean(frame, axis=(0, 1)))
    assert mean_colour(frame[::2, ::-1]) == tuple(np.mean(frame[::2, ::-1], axis=(0, 1)))


def test_fill_truncates_or_rounds_as_the_rule_says():
    mean = (104.9, 0.5, 254.6)
    assert fill_colour(mean, CropRule()).tolist() == [104, 0, 254]
    assert fill_colour(mean, CropRule(fill="round")).tolist() == [105, 0, 255]


@pytest.mark.parametrize(
    ("rounding", "expected"),
    [("half_even", [10, 0, 12, -2]), ("half_up", [11, 0, 12, -1]), ("half_away", [11, -1, 12, -2])],
)
def test_roundings_differ_at_halves(rounding, expected):
    assert [round_as(value, rounding) for value in (10.5, -0.5, 11.5, -1.5)] == expected


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (None, "NumPy array"),
        (np.zeros((4, 4), np.uint8), "COLOR_GRAY2BGR"),
        (np.zeros((4, 4, 4), np.uint8), "[4, 4, 4]"),
        (np.zeros((4, 4, 3), np.uint16), "uint16"),
        (np.zeros((4, 4, 3), np.float32), "float32"),
        (np.zeros((0, 4, 3), np.uint8), "at least one pixel"),
    ],
)
def test_a_frame_of_another_kind_is_refused_with_the_reason(frame, message):
    with pytest.raises(FrameError, match=message.replace("[", r"\[").replace("]", r"\]")):
        check_frame(frame)
