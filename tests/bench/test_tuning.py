import numpy as np
import pytest

from trk.bench.datasets.sequence import Sequence
from trk.bench.metrics import FIGURES, Score
from trk.bench.tuning import RANGES, clips, search_space, split, tune
from trk.errors import UsageError

pytest.importorskip("optuna", reason="optuna is not installed (trk-engine[eval])")

START = {"penalty_k": 0.1, "window_influence": 0.4, "lr": 0.3}


def named(*names):
    return [Sequence(name, (None,), np.array([[1.0, 1, 5, 5]])) for name in names]


def scored(value):
    return Score(np.zeros(21), np.zeros(51), np.zeros(51), dict.fromkeys(FIGURES, value), 1)


class Hill:
    """Best at lr 0.6, whatever the others are; counts what it was asked for."""

    def __init__(self, top=0.6):
        self.top = top
        self.asked = []

    def __call__(self, params, names):
        self.asked.append((dict(params), [*names]))
        return {name: scored(1 - abs(params["lr"] - self.top)) for name in names}


SPLIT = (["a", "b"], ["c"])


def test_the_search_climbs_and_reports_on_what_was_held_out():
    hill = Hill()
    trials = []
    found = tune(hill, *SPLIT, START, search_space(START, []), 40, tell=trials.append)
    assert found.params["lr"] == pytest.approx(0.6, abs=0.1)
    assert hill.asked[0] == (START, ["a", "b"])
    assert [names for _, names in hill.asked] == [["a", "b"]] * 40 + [["c"]] * 2
    assert hill.asked[-2] == (START, ["c"])
    assert hill.asked[-1] == (found.params, ["c"])
    assert found.after.figures["auc"] > found.before.figures["auc"]
    assert [trial.params for trial in trials] == [params for params, _ in hill.asked[:40]]


def test_the_bundles_values_stay_where_nothing_is_better():
    hill = Hill(top=START["lr"])
    found = tune(hill, *SPLIT, START, search_space(START, ["lr"]), 10)
    assert found.params == {"lr": 0.3}
    assert found.before is found.after
    assert [names for _, names in hill.asked].count(["c"]) == 1


def asked_for(seed, trials=8):
    hill = Hill()
    tune(hill, *SPLIT, START, search_space(START, []), trials, seed=seed)
    return [params for params, _ in hill.asked[:trials]]


def test_a_seed_gives_the_same_search():
    assert asked_for(3) == asked_for(3) != asked_for(4)


def test_values_lie_in_their_ranges():
    for params in asked_for(0, 12)[1:]:
        for name, value in params.items():
            assert RANGES[name][0] <= value <= RANGES[name][1]


def test_no_clip_is_on_both_sides_and_targets_of_a_clip_stay_together():
    names = [f"c{number}" for number in range(20)] + ["Jogging-1", "Jogging-2", "bird1_1", "bird1_2", "bird1_3"]
    parts = clips(named(*names))
    assert sorted(one.name for part in parts.values() for one in part) == sorted(names)
    assert [one.name for one in parts["Jogging"]] == ["Jogging-1", "Jogging-2"]
    assert [one.name for one in parts["bird1"]] == ["bird1_1", "bird1_2", "bird1_3"]
    tuned_on, held_out = split([*parts], 0.3)
    assert sorted(tuned_on + held_out) == sorted(parts)
    assert len(held_out) == 7
    assert split([*clips(named(*reversed(names)))], 0.3) == (tuned_on, held_out)


@pytest.mark.parametrize("share", [0.01, 0.99])
def test_neither_side_is_empty(share):
    assert all(len(side) >= 1 for side in split(["a", "b", "c"], share))


def test_one_clip_is_too_few():
    with pytest.raises(UsageError, match="1 clip: tuning needs at least two"):
        split([*clips(named("Jogging-1", "Jogging-2"))], 0.5)


def test_what_cannot_be_tuned_is_told():
    with pytest.raises(UsageError, match="no parameter 'zoom' in this bundle: it has penalty_k"):
        search_space(START, ["zoom"])
    with pytest.raises(UsageError, match="no range is known for 'depth'"):
        search_space({**START, "depth": 1.0}, ["depth"])
    with pytest.raises(UsageError, match="nothing to tune"):
        search_space({"depth": 1.0}, [])
