from types import SimpleNamespace

import numpy as np
import pytest

from trk.bench.accuracy import OnSequence, OnSet, ahead
from trk.bench.metrics import FIGURES, Score, intervals


def on_set(values, weights=None):
    """A tracker that has `values` by sequence in every figure."""
    found = []
    for name, value in values.items():
        weight = 1 if weights is None else weights[name]
        figures = Score(np.zeros(21), np.zeros(51), np.zeros(51), dict.fromkeys(FIGURES, value), weight)
        found.append(OnSequence(SimpleNamespace(name=name), None, None, figures))
    return OnSet(None, found)


def test_what_both_find_hard_or_easy_does_not_widen_the_interval():
    hard = dict(zip("abcdefghij", np.linspace(0.1, 0.9, 10), strict=True))
    one, other = on_set({name: value + 0.02 for name, value in hard.items()}), on_set(hard)
    found = ahead(one, other)["ao"]
    assert found.mean == pytest.approx(0.02)
    assert found.interval_95 == pytest.approx((0.02, 0.02))
    low, high = intervals(one.scores)["ao"]
    assert high - low > 0.2
    back = ahead(other, one)["ao"]
    assert back.mean == pytest.approx(-0.02)


def test_only_sequences_of_both_are_compared():
    found = ahead(on_set({"a": 0.5, "b": 0.9}), on_set({"a": 0.4, "c": 0.1}))
    assert found["auc"].mean == pytest.approx(0.1)
    assert ahead(on_set({"a": 0.5}), on_set({"c": 0.1})) == {}


def test_runs_of_a_sequence_are_one_sequence():
    one = on_set({"a": 0.5, "a~2": 0.7, "b": 0.4})
    assert {name: found.figures["ao"] for name, found in one.by_sequence().items()} == pytest.approx(
        {"a": 0.6, "b": 0.4}
    )
    assert ahead(one, on_set({"a": 0.6, "b": 0.4}))["ao"].interval_95 == pytest.approx((0, 0))


def test_long_sequences_count_for_more_where_the_rule_says_so():
    weights = {"a": 9, "b": 1}
    found = ahead(on_set({"a": 0.5, "b": 0.5}, weights), on_set({"a": 0.4, "b": 0.9}, weights))
    assert found["sr50"].mean == pytest.approx(0.9 * 0.1 - 0.1 * 0.4)
