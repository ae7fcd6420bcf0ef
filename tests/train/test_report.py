"""The table of accuracy, and what scores say of a loss."""

import numpy as np

from trk.bench.ope import Run
from trk.train.report import area_under_roc, judged, table


def _run(name: str, overlaps: list[float], scores: list[float]) -> Run:
    count = len(overlaps)
    return Run(name, np.zeros((count, 4)), np.array(scores), np.array(overlaps), 0.1, np.zeros(count), (9, 9))


def test_the_area_is_one_for_scores_that_fall_with_a_loss_and_a_half_for_scores_that_say_nothing() -> None:
    lost = np.array([True, True, False, False])
    assert area_under_roc(np.array([0.1, 0.2, 0.8, 0.9]), lost) == 1.0
    assert area_under_roc(np.array([0.5, 0.5, 0.5, 0.5]), lost) == 0.5
    assert np.isnan(area_under_roc(np.array([0.5]), np.array([True])))


def test_absent_frames_count_as_lost_and_unclear_ones_not_at_all() -> None:
    score, lost, value = judged([_run("one", [np.nan, 0.9, 0.3, np.nan], [1.0, 0.8, 0.5, 0.1])])
    assert score.tolist() == [0.8, 0.1]
    assert lost.tolist() == [False, True]
    assert value.tolist() == [0.9, 0.0]


def test_the_table_has_a_line_a_sequence_and_their_mean() -> None:
    text = table({"a": [_run("one", [np.nan, 0.5], [1, 1]), _run("two", [np.nan, 0.7], [1, 1])]})
    assert "| two | 0.700 |" in text
    assert "**0.600**" in text
