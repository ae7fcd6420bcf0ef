from pathlib import Path

import numpy as np
import pytest

from trk.bench.datasets.sequence import Sequence
from trk.bench.datasets.varied import OFF, original, varied
from trk.bench.tuning import split

BOXES = np.array([[10, 10, 5, 4], [12, 11, 5, 4], [0, 0, 0, 0], [16, 13, 5, 4], [np.nan] * 4], float)


def sequence(**changes):
    about = {
        "name": "walk-1",
        "images": tuple(Path(f"{number}.png") for number in range(5)),
        "groundtruth": BOXES.copy(),
    }
    return Sequence(**about | changes)


def names(one):
    return [path.stem for path in one.images]


def test_the_first_run_is_the_sequence_itself():
    one = sequence()
    assert varied(one, 1) == [one]
    assert varied(one, 4)[0] is one


def test_every_second_run_is_backwards_from_the_last_known_box():
    forwards, backwards, moved, moved_back = varied(sequence(), 4)

    assert names(backwards) == names(moved_back) == ["3", "2", "1", "0"]
    np.testing.assert_array_equal(backwards.groundtruth, BOXES[3::-1])
    assert names(moved) == names(forwards)
    np.testing.assert_array_equal(moved.groundtruth[1:], BOXES[1:])


def test_a_hidden_target_begins_no_run():
    hidden = np.array([False, False, False, True, False])
    backwards = varied(sequence(hidden=hidden), 2)[1]
    assert names(backwards) == ["1", "0"]
    np.testing.assert_array_equal(backwards.hidden, [False, False])


def test_first_boxes_are_moved_a_little_differently_and_the_same_every_time():
    first, again = varied(sequence(), 9), varied(sequence(), 9)
    shifts = [run.groundtruth[0] - varied(sequence(), 2)[at % 2].groundtruth[0] for at, run in enumerate(first)][2:]

    assert all((np.abs(shift) > 0).all() and (np.abs(shift) <= OFF).all() for shift in shifts)
    assert len({tuple(shift) for shift in shifts[::2]}) == len(shifts[::2])
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.groundtruth, other.groundtruth)


@pytest.mark.parametrize("side", [1.0, 2.5])
def test_a_tiny_target_stays_a_target(side):
    boxes = np.tile([10, 10, side, side], (5, 1))
    for run in varied(sequence(groundtruth=boxes), 40):
        assert run.groundtruth[0, 2:].min() >= min(side, 2)


def test_runs_of_a_sequence_are_told_apart_and_belong_together():
    runs = varied(sequence(), 3)
    assert [run.name for run in runs] == ["walk-1", "walk-1~2", "walk-1~3"]
    assert {original(run.name) for run in runs} == {"walk-1"}
    other = sequence(name="other~side")
    assert original(other.name) == "other~side"
    tuned_on, held_out = split([*runs, *varied(other, 3)], 0.5)
    assert {len(tuned_on), len(held_out)} == {3}


def test_a_sequence_whose_boxes_are_withheld_has_one_run():
    one = sequence(withheld=True)
    assert varied(one, 5) == [one]
