import numpy as np
import pytest

from trk.bench.datasets.sequence import Sequence
from trk.bench.metrics import FIGURES, Score
from trk.bench.tuning import RANGES, search_space, split, tune
from trk.errors import UsageError

pytest.importorskip("optuna", reason="optuna is not installed (trk-engine[eval])")

START = {"penalty_k": 0.1, "window_influence": 0.4, "lr": 0.3}


def clips(*names):
    return [Sequence(name, (None,), np.array([[1.0, 1, 5, 5]])) for name in names]


def scored(value):
    return Score(np.zeros(21), np.zeros(51), np.zeros(51), dict.fromkeys(FIGURES, value), 1)


class Hill:
    """Best at lr 0.6, whatever the others are; counts what it was asked for."""

    def __init__(self, top=0.6):
        self.top = top
        self.asked = []

    def __call__(self, params, reported):
        self.asked.append((dict(params), reported))
        return scored(1 - abs(params["lr"] - self.top))


def test_the_search_climbs_and_reports_on_what_was_held_out():
    hill = Hill()
    found = tune(hill, START, search_space(START, []), 40)
    assert found.params["lr"] == pytest.approx(0.6, abs=0.1)
    assert hill.asked[0] == (START, False)
    assert [reported for _, reported in hill.asked] == [False] * 40 + [True, True]
    assert hill.asked[-2] == (START, True)
    assert hill.asked[-1] == (found.params, True)
    assert found.after.figures["auc"] > found.before.figures["auc"]
    assert len(found.trials) == 40


def test_the_bundles_values_stay_where_nothing_is_better():
    hill = Hill(top=START["lr"])
    found = tune(hill, START, search_space(START, ["lr"]), 10)
    assert found.params == {"lr": 0.3}
    assert found.before is found.after
    assert [reported for _, reported in hill.asked].count(True) == 1


def test_a_seed_gives_the_same_search():
    first, second = (tune(Hill(), START, search_space(START, []), 8, seed=3) for _ in range(2))
    assert first.trials == second.trials
    assert first.trials != tune(Hill(), START, search_space(START, []), 8, seed=4).trials


def test_values_lie_in_their_ranges():
    found = tune(Hill(), START, search_space(START, []), 12)
    for trial in found.trials[1:]:
        for name, value in trial.params.items():
            assert RANGES[name][0] <= value <= RANGES[name][1]


def test_no_clip_is_on_both_sides_and_targets_of_a_clip_stay_together():
    names = [f"c{number}" for number in range(20)] + ["Jogging-1", "Jogging-2", "bird1_1", "bird1_2", "bird1_3"]
    tuned_on, held_out = split(clips(*names), 0.3)
    a, b = {one.name for one in tuned_on}, {one.name for one in held_out}
    assert not a & b
    assert a | b == set(names)
    for together in ({"Jogging-1", "Jogging-2"}, {"bird1_1", "bird1_2", "bird1_3"}):
        assert together <= a or together <= b
    assert 4 <= len(held_out) <= 11
    again = split(clips(*reversed(names)), 0.3)
    assert {one.name for one in again[1]} == b


@pytest.mark.parametrize("share", [0.01, 0.99])
def test_neither_side_is_empty(share):
    assert all(len(side) >= 1 for side in split(clips("a", "b", "c"), share))


def test_one_clip_is_too_few():
    with pytest.raises(UsageError, match="1 clip: tuning needs at least two"):
        split(clips("Jogging-1", "Jogging-2"), 0.5)


def test_what_cannot_be_tuned_is_told():
    with pytest.raises(UsageError, match="no parameter 'zoom' in this bundle: it has penalty_k"):
        search_space(START, ["zoom"])
    with pytest.raises(UsageError, match="no range is known for 'depth'"):
        search_space({**START, "depth": 1.0}, ["depth"])
    with pytest.raises(UsageError, match="nothing to tune"):
        search_space({"depth": 1.0}, [])
