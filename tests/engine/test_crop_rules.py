"""Crops against their rules, read off frames whose pixels say where they are."""

import math

import numpy as np
import pytest

from trk import FrameError
from trk.engine import crop
from trk.engine.crop import Cropper, check_frame
from trk.engine.geometry import CropRule, round_as, square

WIDTH, HEIGHT = 90, 70
ROUNDINGS = ("half_even", "half_up", "half_away")
CENTRES = [(45.0, 35.0), (44.5, 35.5), (44.25, 36.75), (41.9, 33.1)]


@pytest.fixture(scope="module")
def frame():
    """Blue is the column, green the row."""
    made = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    made[..., 0], made[..., 1] = np.arange(WIDTH)[None], np.arange(HEIGHT)[:, None]
    return made


FILL = np.array([200, 210, 220], np.uint8)


def cut(rule, frame, centre, side, size):
    out = np.empty((size, size, 3), np.uint8)
    middle, width, height = Cropper(rule).cut(frame, centre, square(side), FILL, out)
    assert width == height
    return middle, out


@pytest.mark.parametrize("centre", [*CENTRES, (20.25, 10.75)])
@pytest.mark.parametrize("sides", [(20.4, 30.6), (31.0, 17.0)])
@pytest.mark.parametrize("origin", ["cut", "asked"])
def test_region_begins_where_the_rule_says_from_the_sides_that_were_cut_or_asked_for(frame, centre, sides, origin):
    rule = CropRule(origin=origin, origin_shift=0.25, side_rounding="up", origin_rounding="half_even")
    reach = 0.4 * sides[0], 0.7 * sides[1]  # not its middle: only what was asked for knows
    whole = [math.ceil(side) for side in sides]
    out = np.empty((41, 41, 3), np.uint8)
    middle, width, height = Cropper(rule).cut(frame, centre, (*sides, *reach), FILL, out)
    assert [width, height] == whole
    counted = reach if origin == "asked" else (whole[0] / 2, whole[1] / 2)
    x, y = (round(value - far - 0.25) for value, far in zip(centre, counted, strict=True))
    assert middle == (x + width / 2, y + height / 2)
    one = frame[max(y, 0) : y + height, x : x + width]
    np.testing.assert_allclose(out[-1, :, 0], np.interp(*resize_places(41, width), one[0, :, 0]), atol=1)
    below = np.interp(*resize_places(41, height), np.arange(y, y + height))
    np.testing.assert_allclose(out[:, 0, 1][below >= 1], below[below >= 1], atol=1)


def resize_places(outputs, pixels):
    """Where a resize samples, and the places of the pixels."""
    return (np.arange(outputs) + 0.5) * pixels / outputs - 0.5, np.arange(pixels)


@pytest.mark.parametrize("centre", CENTRES)
@pytest.mark.parametrize("side", [20, 21])
@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize(("shift", "origin"), [(0.0, 0.5), (-0.5, 0.5), (0.25, -0.5), (1.0, 0.0)])
def test_square_begins_where_the_rule_says_and_its_middle_comes_back(frame, centre, side, rounding, shift, origin):
    rule = CropRule(centre_shift=shift, origin_shift=origin, origin_rounding=rounding)
    middle, out = cut(rule, frame, centre, side, side)
    x, y = (round_as(value + shift - (side / 2 + origin), rounding) for value in centre)
    assert out[0, 0, :2].tolist() == [x, y]
    assert out[-1, -1, :2].tolist() == [x + side - 1, y + side - 1]
    assert middle == (x + side / 2 - shift, y + side / 2 - shift)


@pytest.mark.parametrize(
    ("centre", "side"),
    [
        *[((20, 35), 50), ((70, 35), 50), ((45, 15), 50), ((45, 55), 50)],
        *[((24, 35), 50), ((66, 35), 50), ((45, 24), 50), ((45, 46), 50)],  # by one pixel
        *[((45, 36), HEIGHT), ((45, 34), HEIGHT)],
    ],
)
def test_what_lies_outside_on_one_side_is_filled_and_the_rest_is_the_frame(frame, centre, side):
    (cx, cy), out = cut(CropRule(), frame, centre, side, side)
    columns = np.arange(side) + round(cx - side / 2)
    rows = np.arange(side) + round(cy - side / 2)
    inside = ((rows >= 0) & (rows < HEIGHT))[:, None] & ((columns >= 0) & (columns < WIDTH))[None]
    assert 0 < inside.sum() < side * side
    np.testing.assert_array_equal(out[~inside], np.broadcast_to(FILL, (int((~inside).sum()), 3)))
    row, column = np.nonzero(inside)
    np.testing.assert_array_equal(out[inside][:, 0], columns[column])
    np.testing.assert_array_equal(out[inside][:, 1], rows[row])


def test_a_square_as_wide_as_the_frame_one_pixel_to_the_right_shows_its_fill(frame):
    turned = np.ascontiguousarray(frame.transpose(1, 0, 2))
    _, out = cut(CropRule(), turned, (HEIGHT / 2 + 1, 45), HEIGHT, HEIGHT)
    assert (out[:, -1] == FILL).all()
    np.testing.assert_array_equal(out[:, :-1], turned[10 : 10 + HEIGHT, 1:])


@pytest.mark.parametrize("side", [0.0, 0.2, 1.0, 1.4])
def test_a_square_is_a_pixel_at_least(frame, side):
    middle, out = cut(CropRule(), frame, (45.0, 35.0), side, 9)
    assert middle == (44.5, 34.5)
    assert (out[..., :2] == (44, 34)).all()


def test_sides_of_frames_end_where_opencv_can_still_sample_them():
    line = np.zeros((1, 1, 3), np.uint8)
    check_frame(np.broadcast_to(line, (1, 32767, 3)))
    check_frame(np.broadcast_to(line, (32767, 1, 3)))
    for shape in ((1, 32768, 3), (32768, 1, 3)):
        with pytest.raises(FrameError, match="at most 32767 pixels a side"):
            check_frame(np.broadcast_to(line, shape))


@pytest.mark.parametrize(
    "shape", [(), (9,), (9, 9), (9, 9, 1), (9, 9, 2), (9, 9, 4), (9, 9, 3, 1), (0, 9, 3), (9, 0, 3)]
)
def test_arrays_of_another_shape_are_no_frames(shape):
    with pytest.raises(FrameError, match="convert with" if len(shape) == 2 else "BGR|one pixel") as caught:
        check_frame(np.zeros(shape, np.uint8))
    assert ("convert with" in str(caught.value)) == (len(shape) == 2)


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint16, np.int32, np.float32, np.float64])
def test_numbers_of_another_type_are_no_frames(dtype):
    with pytest.raises(FrameError, match=np.dtype(dtype).name):
        check_frame(np.zeros((9, 9, 3), dtype))


@pytest.mark.parametrize("centre", [(45.0, 35.0), (40.3, 30.9), (2.0, 35.0), (45.0, 69.0), (-30.0, -30.0)])
@pytest.mark.parametrize("side", [0.3, 1.0, 1.8, 30.5, 64.0, 130.0])
@pytest.mark.parametrize("shift", [0.0, -0.5])
def test_affine_crop_has_its_outer_samples_on_the_corners_of_the_box(frame, centre, side, shift):
    size = 33
    middle, out = cut(CropRule(sampling="affine", centre_shift=shift), frame, centre, side, size)
    assert middle == centre
    reach = (max(side, 1.0) - 1) / 2
    columns, rows = (np.linspace(value + shift - reach, value + shift + reach, size) for value in centre)
    inside = ((rows >= 0) & (rows <= HEIGHT - 1))[:, None] & ((columns >= 0) & (columns <= WIDTH - 1))[None]
    expected = np.stack(np.broadcast_arrays(columns[None], rows[:, None]), -1)
    assert np.abs(out[..., :2] - expected)[inside].max(initial=0) <= 0.6
    far = ((rows < -1) | (rows > HEIGHT))[:, None] & np.ones(size, bool) | ((columns < -1) | (columns > WIDTH))[None]
    assert (out[far] == FILL).all()


@pytest.mark.parametrize("centre", [(45.0, 35.0), (20.0, 50.0), (80.0, 10.0)])
@pytest.mark.parametrize("side", [150, 171, 300])
def test_square_too_large_for_a_canvas_is_sampled_where_its_pixels_would_lie(frame, centre, side, monkeypatch):
    size = 64
    laid_out, one = cut(CropRule(), frame, centre, side, size)
    monkeypatch.setattr(crop, "MAX_CANVAS_SIDE", 100)
    sampled, other = cut(CropRule(), frame, centre, side, size)
    assert laid_out == sampled
    step = side / size
    columns, rows = (value - side / 2 + (np.arange(size) + 0.5) * step - 0.5 for value in laid_out)
    inside = ((rows >= 1) & (rows <= HEIGHT - 2))[:, None] & ((columns >= 1) & (columns <= WIDTH - 2))[None]
    expected = np.stack(np.broadcast_arrays(columns[None], rows[:, None]), -1)
    assert inside.any()
    for out in (one, other):
        assert (
            np.abs(out[..., :2] - expected)[inside].max() <= 0.75
        )  # half a grey level of rounding, and sampling in steps of 1/32 pixel


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_pyramid_is_the_crops_one_by_one_and_the_middle_ones_centre_comes_back(frame, count):
    sides, centre = [20.0, 27.0, 34.0, 41.0][:count], (44.3, 35.2)
    out = np.empty((count, 25, 25, 3), np.uint8)
    extents = [square(side) for side in sides]
    told = Cropper(CropRule()).cut_pyramid(frame, centre, extents, FILL, out)
    alone = [cut(CropRule(), frame, centre, side, 25) for side in sides]
    for made, (_, expected) in zip(out, alone, strict=True):
        np.testing.assert_array_equal(made, expected)
    assert told == (alone[count // 2][0], sides[count // 2], sides[count // 2])


@pytest.mark.parametrize("sides", [[20.0, 30.0], [20.4, 27.0, 34.0]])
def test_nested_pyramid_is_cut_out_of_the_crop_of_its_largest_scale(frame, sides):
    # Source: researchmm/SiamDW:lib/utils/utils.py (make_scale_pyramid).
    size, centre = 25, (44.3, 35.2)
    out = np.empty((len(sides), size, size, 3), np.uint8)
    rule = CropRule(pyramid="nested")
    told = Cropper(rule).cut_pyramid(frame, centre, [square(side) for side in sides], FILL, out)
    zoom = size / round(sides[0])
    expected, region = cut(rule, frame, centre, sides[-1], round(zoom * round(sides[-1])))
    assert told == (expected, round(sides[len(sides) // 2]), round(sides[len(sides) // 2]))
    for made, side in zip(out, sides, strict=True):
        at = (1 + len(region)) / 2
        np.testing.assert_array_equal(made, cut(rule, region, (at, at), zoom * round(side), size)[1])


def test_nested_pyramid_of_one_scale_is_a_plain_crop(frame):
    out = np.empty((1, 25, 25, 3), np.uint8)
    nested = CropRule(pyramid="nested")
    told = Cropper(nested).cut_pyramid(frame, (44.3, 35.2), [square(40.0)], FILL, out)
    middle, expected = cut(nested, frame, (44.3, 35.2), 40.0, 25)
    assert told == (middle, 40, 40)
    np.testing.assert_array_equal(out[0], expected)


@pytest.mark.parametrize(
    ("value", "up", "toward_zero"),
    [(0.5, 1, 0), (2.01, 3, 2), (2.0, 2, 2), (-0.99, 0, 0), (-2.51, -2, -2), (-3.0, -3, -3)],
)
def test_up_and_toward_zero_look_at_no_halves(value, up, toward_zero):
    assert [round_as(value, rounding) for rounding in ("up", "toward_zero")] == [up, toward_zero]


@pytest.mark.parametrize(
    ("value", "half_even", "half_up", "half_away"),
    [(0.5, 0, 1, 1), (1.5, 2, 2, 2), (-0.5, 0, 0, -1), (-1.5, -2, -1, -2), (2.49, 2, 2, 2), (-2.51, -3, -3, -3)],
)
def test_the_three_roundings_differ_at_halves_only(value, half_even, half_up, half_away):
    assert [round_as(value, rounding) for rounding in ROUNDINGS] == [half_even, half_up, half_away]
