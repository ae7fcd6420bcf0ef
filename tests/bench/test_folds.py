import numpy as np
import pytest

from trk.bench.folds import cross_validate, fold_clips
from trk.bench.metrics import FIGURES, Score
from trk.errors import UsageError

START = {"lr": 0.3, "window_influence": 0.4}
SPACE = {"lr": (0.0, 1.0)}
CLIPS = [f"c{number}" for number in range(12)]


def scored(value, weight=1):
    return Score(np.zeros(21), np.zeros(51), np.zeros(51), dict.fromkeys(FIGURES, value), weight)


class Peaks:
    """Each clip is best at an lr of its own; counts what it was asked for."""

    def __init__(self, **peaks):
        self.peaks = peaks
        self.asked = []

    def __call__(self, params, names):
        self.asked.append((dict(params), sorted(names)))
        return {name: scored(1 - abs(params["lr"] - self.peaks[name])) for name in names if name in self.peaks}


def test_every_clip_is_in_one_fold():
    folds = fold_clips(CLIPS, 5)
    assert [len(fold) for fold in folds] == [3, 3, 2, 2, 2]
    assert sorted(name for fold in folds for name in fold) == sorted(CLIPS)


def test_more_folds_than_clips_are_refused():
    with pytest.raises(UsageError, match="3 clips can't be shared out over 4 folds: --folds 3 is the most"):
        fold_clips(CLIPS[:3], 4)


def test_a_clip_is_reported_with_values_that_were_chosen_without_it():
    """The clips of one fold want another lr than all the rest, so nothing is gained on them, whatever is chosen."""
    odd = CLIPS[::4]
    peaks = Peaks(**{name: 0.1 if name in odd else 0.9 for name in CLIPS})
    trials = []
    found = cross_validate(peaks, fold_clips(CLIPS, 4), START, SPACE, 30, tell=trials.append)
    assert peaks.asked[0] == ({"lr": 0.3}, sorted(CLIPS))
    assert len(peaks.asked) == len(trials) == 30
    assert found.params["lr"] == pytest.approx(0.9, abs=0.1)
    for fold in found.folds:
        seen = [name for name in CLIPS if name not in fold.clips]
        assert fold.chosen.mean(seen).figures["auc"] == max(trial.mean(seen).figures["auc"] for trial in trials)
        assert fold.chosen.params["lr"] == pytest.approx(0.9, abs=0.1)
    by_hand = [1 - abs(found.folds[i % 4].chosen.params["lr"] - peaks.peaks[name]) for i, name in enumerate(CLIPS)]
    assert found.after.figures["auc"] == pytest.approx(np.mean(by_hand))
    assert found.before.figures["auc"] == pytest.approx(np.mean([0.8 if name in odd else 0.4 for name in CLIPS]))
    low, high = found.gain
    assert low < found.after.figures["auc"] - found.before.figures["auc"] < high


def test_the_bundles_own_values_stay_where_nothing_is_better():
    found = cross_validate(Peaks(**dict.fromkeys(CLIPS, 0.3)), fold_clips(CLIPS, 3), START, SPACE, 10)
    assert found.params == {"lr": 0.3}
    assert found.gain == (0, 0)
    assert found.after.figures == found.before.figures


def test_clips_that_do_not_count_are_left_out():
    """As those whose ground truth is withheld, be it all of a fold."""
    counted = CLIPS[1:3]
    found = cross_validate(Peaks(**dict.fromkeys(counted, 0.9)), fold_clips(CLIPS, 12), START, SPACE, 5)
    assert [fold.clips for fold in found.folds] == [("c1",), ("c2",)]
    assert found.after.weight == 2


def test_where_only_one_fold_counts_nothing_can_be_chosen_without_it():
    with pytest.raises(UsageError, match="all in one fold"):
        cross_validate(Peaks(c1=0.9), fold_clips(CLIPS, 12), START, SPACE, 5)


def test_long_clips_count_for_more_where_the_rule_says_so():
    def evaluate(params, names):
        return {name: scored(params["lr"] if name == "long" else 0.5, 9 if name == "long" else 1) for name in names}

    found = cross_validate(evaluate, fold_clips(["long", "short"], 2), START, SPACE, 5)
    assert found.before.figures["auc"] == pytest.approx(0.9 * 0.3 + 0.1 * 0.5)


def test_a_seed_gives_the_same_sets():
    def sets(seed):
        peaks = Peaks(**dict.fromkeys(CLIPS, 0.5))
        cross_validate(peaks, fold_clips(CLIPS, 2), START, SPACE, 6, seed=seed)
        return [params for params, _ in peaks.asked]

    assert sets(1) == sets(1) != sets(2)
    assert all(0 <= params["lr"] <= 1 for params in sets(1))
