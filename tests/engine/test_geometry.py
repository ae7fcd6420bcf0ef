"""The rules of a manifest: which numbers are taken, and what stands where none is given."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from trk.engine.geometry import (
    BoxContext,
    CropRule,
    Geometry,
    InFrame,
    Limits,
    Regions,
    box_extent,
    exemplar_side,
    round_as,
    scaled,
    square,
)

BOUNDS = [
    (CropRule, "centre_shift", -1.0, 1.0),
    (CropRule, "origin_shift", -1.0, 1.0),
    (CropRule, "unseen_edge", 0, 8),
    (Limits, "min_size", 0.001, 1000.0),
    (Geometry, "template_size", 16, 1024),
    (Geometry, "exemplar_size", 16, 1024),
    (Geometry, "context_amount", 0.0, 4.0),
]


@pytest.mark.parametrize(("rule", "name", "least", "most"), BOUNDS)
def test_numbers_are_taken_between_their_bounds(rule, name, least, most):
    step = 1 if isinstance(least, int) else 0.001
    for value in (least, most):
        assert getattr(rule(**{name: value}), name) == value
    for value in (least - step, most + step):
        with pytest.raises(ValidationError):
            rule(**{name: value})


@pytest.mark.parametrize("name", ["template", "search"])
def test_context_of_a_box_is_up_to_ten_times_as_large_as_it_and_stated_for_both_crops(name):
    for taken in (0.0, 0.2, 10.0):
        assert getattr(BoxContext(**{"template": 1.0, "search": 1.0, name: taken}), name) == taken
    for refused in (-0.01, 10.01, float("nan")):
        with pytest.raises(ValidationError):
            BoxContext(**{"template": 1.0, "search": 1.0, name: refused})
    with pytest.raises(ValidationError, match="required"):
        BoxContext(**{name: 1.0})


def test_smallest_side_in_the_frame_is_more_than_nothing_and_has_to_be_said():
    for taken in (0.5, 100.0):
        assert InFrame(min_side=taken).min_side == taken
    for refused in (0.0, -1.0, 100.5):
        with pytest.raises(ValidationError):
            InFrame(min_side=refused)
    with pytest.raises(ValidationError, match="required"):
        InFrame()


@pytest.mark.parametrize("name", ["relative_size", "relative_side"])
def test_shares_are_in_order_and_between_a_thousandth_and_a_thousand(name):
    for taken in ((0.001, 1000.0), (2.0, 2.0)):
        assert getattr(Limits(**{name: taken}), name) == taken
    for refused in ((0.0009, 1.0), (1.0, 1000.1)):
        with pytest.raises(ValidationError):
            Limits(**{name: refused})
    with pytest.raises(ValidationError, match="the lower limit 3 is above the upper one 2"):
        Limits(**{name: (3.0, 2.0)})


@pytest.mark.parametrize("name", ["template_steps", "search_steps"])
def test_steps_of_a_pyramid_are_one_to_sixteen_and_eight_at_most_either_way(name):
    for taken in ((-8, 8), (0,), tuple(range(-8, 8))):
        assert getattr(Geometry(**{name: taken}), name) == taken
    for refused in ((-9,), (9,), (), (0,) * 17):
        with pytest.raises(ValidationError):
            Geometry(**{name: refused})


def test_what_is_not_given_is_as_pysot_has_it():
    # Source: STVIR/pysot:pysot/tracker/base_tracker.py, siamrpn_tracker.py.
    assert Geometry().model_dump() == {
        "template_size": 127,
        "exemplar_size": 127,
        "context_amount": 0.5,
        "box_context": None,
        "template_steps": (0,),
        "search_steps": (0,),
        "side": "derived",
        "round_exemplar": False,
        "crop": {
            "centre_shift": 0.0,
            "origin_shift": 0.5,
            "origin_rounding": "half_up",
            "origin": "cut",
            "side_rounding": "half_even",
            "scale": "asked",
            "fill": "truncate",
            "fill_from": "first",
            "sampling": "resize",
            "pyramid": "direct",
            "unseen_edge": 0,
            "recentre": False,
        },
        "limits": {
            "of": "state",
            "centre_in_frame": True,
            "min_size": 10.0,
            "max_size_frame": True,
            "relative_size": None,
            "relative_side": None,
            "in_frame": None,
            "whole_pixels": False,
        },
        "small_target_area": None,
        "hysteresis": None,
    }


UNLIKE_ANY_OTHER = {
    "template_size": 128,
    "box_context": {"template": 0.25, "search": 2.0},
    "crop": {
        "origin": "asked",
        "origin_rounding": "toward_zero",
        "side_rounding": "up",
        "scale": "cut",
        "fill": "black",
        "unseen_edge": 1,
    },
    "limits": {"in_frame": {"min_side": 3.0, "beyond": "move"}, "whole_pixels": True},
}


def test_rules_of_crops_that_are_not_square_survive_a_manifest():
    geometry = Geometry.model_validate(UNLIKE_ANY_OTHER)
    assert geometry.model_dump(exclude_unset=True) == UNLIKE_ANY_OTHER
    assert Geometry.model_validate(geometry.model_dump()) == geometry
    assert Geometry.model_validate_json(geometry.model_dump_json()) == geometry
    assert geometry.limits.in_frame == InFrame(min_side=3.0, beyond="move")
    assert InFrame(min_side=3.0).beyond == "cut"


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("crop", "origin", "given"),
        ("crop", "scale", "whole"),
        ("crop", "fill", "white"),
        ("crop", "side_rounding", "down"),
        ("crop", "unseen_edge", 0.5),
        ("limits", "in_frame", {"min_side": 3.0, "beyond": "stay"}),
        ("limits", "in_frame", {"min_side": 3.0, "margin": 1.0}),
    ],
)
def test_word_that_no_rule_knows_is_refused(part, name, value):
    assert Geometry.model_validate(UNLIKE_ANY_OTHER)
    with pytest.raises(ValidationError, match=name):
        Geometry.model_validate({**UNLIKE_ANY_OTHER, part: {**UNLIKE_ANY_OTHER[part], name: value}})


@pytest.mark.parametrize(
    "other", [{"side": "running"}, {"crop": {"sampling": "affine"}}, {"crop": {"pyramid": "nested"}}]
)
def test_crops_that_keep_no_proportions_are_cut_plainly(other):
    context = {"box_context": {"template": 0.2, "search": 2.0}}
    Geometry.model_validate(context)
    with pytest.raises(ValidationError, match="box_context wants side derived, sampling resize and pyramid direct"):
        Geometry.model_validate({**context, **other})


def test_rules_can_not_be_changed_and_know_their_words():
    with pytest.raises(ValidationError, match="frozen"):
        Geometry().template_size = 99
    with pytest.raises(ValidationError, match="Extra inputs"):
        Geometry(template=127)
    with pytest.raises(ValidationError, match="finite"):
        Limits(min_size=float("inf"))


@pytest.mark.parametrize(
    ("rounding", "expected"),
    [
        ("half_even", [-2, 0, 0, 2, 3]),
        ("half_up", [-1, 0, 1, 2, 3]),
        ("half_away", [-2, -1, 1, 2, 3]),
        ("up", [-1, 0, 1, 2, 3]),
        ("toward_zero", [-1, 0, 0, 1, 2]),
    ],
)
def test_ways_to_round_differ_at_halves(rounding, expected):
    assert [round_as(value, rounding) for value in (-1.5, -0.5, 0.5, 1.5, 2.6)] == expected


def test_a_square_holds_the_target_with_its_context():
    assert exemplar_side(60.0, 40.0, 0.5) == pytest.approx((110 * 90) ** 0.5)
    assert exemplar_side(60.0, 40.0, 0.0) == pytest.approx(2400**0.5)
    assert exemplar_side(30.0, 30.0, 0.25) == 45.0


def test_a_square_reaches_half_its_side_to_every_side():
    assert square(21.0) == (21.0, 21.0, 10.5, 10.5)


def test_a_box_with_context_keeps_its_proportions():
    assert box_extent(40.0, 30.0, 2.0) == (200.0, 150.0, 100.0, 75.0)
    assert box_extent(40.0, 30.0, 0.0) == (40.0, 30.0, 20.0, 15.0)


def test_an_extent_is_scaled_as_a_whole():
    assert scaled((200.0, 150.0, 80.0, 75.0), [0.5, 1.0, 2.0]) == [
        (100.0, 75.0, 40.0, 37.5),
        (200.0, 150.0, 80.0, 75.0),
        (400.0, 300.0, 160.0, 150.0),
    ]


def test_a_square_is_whole_pixels_and_knows_its_middle():
    assert Regions(CropRule()).at((100.0, 50.0), square(20.6)) == (89, 39, 21, 21, (99.5, 49.5))
    assert Regions(CropRule(origin_shift=-0.5, centre_shift=-0.5)).at((100.0, 50.0), square(20.0)) == (
        *(90, 40, 20, 20),
        (100.5, 50.5),
    )
    assert Regions(CropRule(side_rounding="half_up", origin_rounding="half_away")).at((3.0, -7.25), square(4.5)) == (
        *(0, -10, 5, 5),
        (2.5, -7.5),
    )
    assert Regions(CropRule()).at((5.25, 5.75), square(0.2))[2:4] == (1, 1)


def test_a_region_has_sides_of_its_own_each_rounded_and_a_pixel_at_least():
    rule = CropRule(origin_shift=0.0, side_rounding="up")
    assert Regions(rule).at((100.0, 50.0), (20.2, 30.6, 10.1, 15.3)) == (90, 35, 21, 31, (100.5, 50.5))
    assert Regions(CropRule()).at((5.25, 5.75), (0.2, 30.0, 0.1, 15.0))[2:4] == (1, 30)
    assert Regions(CropRule()).at((5.25, 5.75), (30.0, 0.2, 15.0, 0.1))[2:4] == (30, 1)


FEARS = Regions(CropRule(origin="asked", origin_shift=0.0, origin_rounding="toward_zero", side_rounding="toward_zero"))


def test_corner_counted_from_what_was_asked_is_cut_toward_zero_on_both_sides_of_it():
    # Source: LIGHT_TRACKERS.md 2.3: 45 * 1.4 is 62.99999999999999; 33 * 0.2 is 6.6, and -2.6 becomes -2, 2.4 becomes 2.
    assert FEARS.at((4 + 45 / 2, 9 + 33 / 2), box_extent(45.0, 33.0, 0.2)) == (-5, 2, 62, 46, (26.0, 25.0))
    assert FEARS.at((9 + 33 / 2, 4 + 33 / 2), box_extent(33.0, 33.0, 0.2)) == (2, -2, 46, 46, (25.0, 21.0))
    from_cut = CropRule(origin_shift=0.0, origin_rounding="toward_zero", side_rounding="toward_zero")
    assert Regions(from_cut).at((4 + 45 / 2, 9 + 33 / 2), box_extent(45.0, 33.0, 0.2))[:2] == (-4, 2)


@given(
    corner=st.tuples(st.integers(-4000, 8000), st.integers(-4000, 8000)),
    size=st.tuples(st.integers(1, 4000), st.integers(1, 4000)),
    context=st.sampled_from([0.2, 2.0]),
)
def test_region_of_a_box_of_whole_pixels_is_that_of_its_corner_in_float64(corner, size, context):
    # Source: PinataFarms/FEARTracker, as LIGHT_TRACKERS.md 2.3 has it.
    first = [int(at - length * context) for at, length in zip(corner, size, strict=True)]
    sides = [int(length * (1 + context + context)) for length in size]
    centre = (corner[0] + size[0] / 2, corner[1] + size[1] / 2)
    *found, middle = FEARS.at(centre, box_extent(*map(float, size), context))
    assert found == [*first, *sides]
    assert middle == (first[0] + sides[0] / 2, first[1] + sides[1] / 2)
