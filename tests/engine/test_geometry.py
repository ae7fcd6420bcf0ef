"""The rules of a manifest: which numbers are taken, and what stands where none is given."""

import pytest
from pydantic import ValidationError

from trk.engine.geometry import CropRule, Geometry, Limits, Squares, exemplar_side, round_as

BOUNDS = [
    (CropRule, "centre_shift", -1.0, 1.0),
    (CropRule, "origin_shift", -1.0, 1.0),
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
        "template_steps": (0,),
        "search_steps": (0,),
        "side": "derived",
        "round_exemplar": False,
        "crop": {
            "centre_shift": 0.0,
            "origin_shift": 0.5,
            "origin_rounding": "half_up",
            "side_rounding": "half_even",
            "fill": "truncate",
            "fill_from": "first",
            "sampling": "resize",
            "pyramid": "direct",
            "recentre": False,
        },
        "limits": {
            "of": "state",
            "centre_in_frame": True,
            "min_size": 10.0,
            "max_size_frame": True,
            "relative_size": None,
            "relative_side": None,
        },
        "small_target_area": None,
        "hysteresis": None,
    }


def test_rules_can_not_be_changed_and_know_their_words():
    with pytest.raises(ValidationError, match="frozen"):
        Geometry().template_size = 99
    with pytest.raises(ValidationError, match="Extra inputs"):
        Geometry(template=127)
    with pytest.raises(ValidationError, match="finite"):
        Limits(min_size=float("inf"))


@pytest.mark.parametrize(
    ("rounding", "expected"),
    [("half_even", [-2, 0, 0, 2, 3]), ("half_up", [-1, 0, 1, 2, 3]), ("half_away", [-2, -1, 1, 2, 3])],
)
def test_ways_to_round_differ_at_halves(rounding, expected):
    assert [round_as(value, rounding) for value in (-1.5, -0.5, 0.5, 1.5, 2.6)] == expected


def test_a_square_holds_the_target_with_its_context():
    assert exemplar_side(60.0, 40.0, 0.5) == pytest.approx((110 * 90) ** 0.5)
    assert exemplar_side(60.0, 40.0, 0.0) == pytest.approx(2400**0.5)
    assert exemplar_side(30.0, 30.0, 0.25) == 45.0


def test_a_square_is_whole_pixels_and_knows_its_middle():
    assert Squares(CropRule()).at((100.0, 50.0), 20.6) == (89, 39, 21, (99.5, 49.5))
    assert Squares(CropRule(origin_shift=-0.5, centre_shift=-0.5)).at((100.0, 50.0), 20.0) == (
        90,
        40,
        20,
        (100.5, 50.5),
    )
    assert Squares(CropRule(side_rounding="half_up", origin_rounding="half_away")).at((3.0, -7.25), 4.5) == (
        *(0, -10, 5),
        (2.5, -7.5),
    )
    assert Squares(CropRule()).at((5.25, 5.75), 0.2)[2] == 1
