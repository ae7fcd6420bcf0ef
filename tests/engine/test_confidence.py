import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from trk.engine.confidence import RATE, Calibration, running_mean

NUMBERS = st.floats(-1e30, 1e30)


def calibration(**changes):
    return Calibration(**{"bias": -2.0, "score": 3.0, "recent": 1.0, "low": 0.3, "high": 0.6, **changes})


@given(score=NUMBERS, more=st.floats(0, 1e30), recent=NUMBERS)
def test_probability_lies_between_0_and_1_and_grows_with_the_score(score, more, recent):
    low, high = (calibration().probability(value, recent) for value in (score, score + more))
    assert 0 <= low <= high <= 1


def test_probability_is_the_logistic_function():
    assert calibration().probability(0.5, 0.5) == 0.5
    assert calibration().probability(1.0, 0.0) == pytest.approx(0.7310585786)


def test_running_mean_begins_with_the_first_score_and_forgets():
    assert running_mean(None, 4.0) == 4.0
    assert running_mean(4.0, 0.0) == pytest.approx(4 * (1 - RATE))


@pytest.mark.parametrize(("low", "high"), [(0.6, 0.3), (-0.1, 0.5), (0.5, 1.1)])
def test_thresholds_that_make_no_sense_are_refused(low, high):
    with pytest.raises(ValidationError, match="low and high have to be ordered"):
        calibration(low=low, high=high)
