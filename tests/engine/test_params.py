"""Hyper-parameters: the preset's, single ones of the caller's, none that makes no sense."""

from types import SimpleNamespace

import pytest

from trk import ModelError
from trk.engine.params import check_params, choose_params

BUNDLE = SimpleNamespace(
    model="tiny",
    params={"scale_step": 1.04, "lr": 0.3},
    presets={"default": {"scale_step": 1.04, "lr": 0.3}, "steady": {"lr": 0.1}},
)


@pytest.mark.parametrize("step", [0.5, 1.0, 2.0])
def test_a_step_of_the_pyramid_halves_at_least_and_doubles_at_most(step):
    check_params({"scale_step": step})
    check_params({})
    for refused in (0.499, 2.001):
        with pytest.raises(ModelError, match=f"scale_step is {refused:g}: it has to lie between 0.5 and 2"):
            check_params({"scale_step": refused})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_is_not_finite_is_named(value):
    with pytest.raises(ModelError, match=f"parameter lr is {value}: a finite number is needed"):
        check_params({"scale_step": 1.0, "lr": value})


@pytest.mark.parametrize(
    ("preset", "overrides", "expected"),
    [
        (None, None, {"scale_step": 1.04, "lr": 0.3}),
        ("default", {}, {"scale_step": 1.04, "lr": 0.3}),
        ("steady", None, {"scale_step": 1.04, "lr": 0.1}),
        ("steady", {"lr": 1}, {"scale_step": 1.04, "lr": 1.0}),
        (None, {"scale_step": 1.1}, {"scale_step": 1.1, "lr": 0.3}),
    ],
)
def test_the_callers_numbers_stand_over_the_presets_and_those_over_the_bundles(preset, overrides, expected):
    assert choose_params(BUNDLE, preset, overrides) == expected
    assert BUNDLE.params == {"scale_step": 1.04, "lr": 0.3}


def test_names_that_are_none_are_told_with_those_there_are():
    with pytest.raises(ModelError, match="no preset 'wild' in this bundle of tiny: it has default, steady"):
        choose_params(BUNDLE, "wild")
    with pytest.raises(ModelError, match="no preset 'wild' in this bundle of tiny: it has none"):
        choose_params(SimpleNamespace(model="tiny", params={}, presets={}), "wild")
    with pytest.raises(ModelError, match="no parameter 'rl' in this bundle of tiny: it has scale_step, lr"):
        choose_params(BUNDLE, None, {"rl": 1.0})
    with pytest.raises(ModelError, match="scale_step is 5"):
        choose_params(BUNDLE, None, {"scale_step": 5.0})
