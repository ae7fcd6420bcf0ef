from time import monotonic, sleep

import numpy as np
import pytest

from trk.bench.age import Played, age_data, jitter, measure_age
from trk.engine.result import Result, StageTimes
from trk.engine.tracker import Tracker

BOX = (10.0, 10.0, 20.0, 20.0)


class Slow:
    """Takes a while for each frame; its box creeps."""

    def __init__(self, seconds: float, step: float = 0.0) -> None:
        self.seconds, self.step = seconds, step
        self.stages = StageTimes(0.0, 0.0, 0.0)
        self.numbers: list[int] = []

    def init(self, frame, box):
        self.x = box[0]

    def update(self, frame):
        sleep(self.seconds)
        self.x += self.step
        self.numbers.append(int(frame[0, 0, 0]))
        return Result((self.x, *BOX[1:]), 1.0, False, 1, 0.0)


def frames(count: int) -> list[np.ndarray]:
    return [np.full((8, 8, 3), number, np.uint8) for number in range(count)]


def test_a_clip_plays_at_its_rate_there_and_back():
    played = Played(frames(4), 200.0)
    began = monotonic()
    numbers = [int(next(played).image[0, 0, 0]) for _ in range(9)]
    assert monotonic() - began >= 8 / 200.0
    assert numbers == [0, 1, 2, 3, 2, 1, 0, 1, 2]


def test_arrivals_are_those_of_the_frames_given_out():
    played = Played(frames(3), 1000.0)
    given = [next(played) for _ in range(6)]
    found = [played.arrival(frame.image) for frame in given]
    assert [index for index, _ in found] == list(range(6))
    moments = [moment for _, moment in found]
    assert moments == sorted(moments)


def test_results_are_as_old_as_the_tracker_took_and_frames_are_skipped_meanwhile():
    slow = Slow(0.05)
    ages = measure_age(slow, frames(50), BOX, 100.0, 8)
    assert len(ages.seconds) == 8
    assert (ages.seconds >= 0.05).all()
    # At 100 frames a second four or more come during each update, however slow the machine is.
    assert ages.skipped >= 8 * 3
    assert slow.numbers[1:] == sorted(slow.numbers[1:])


def test_ages_are_told_in_milliseconds():
    ages = measure_age(Slow(0.0), frames(5), BOX, 100.0, 10)
    found = age_data(ages, 100.0)
    assert found["tracked"] == 10
    assert 0 <= found["p50_ms"] <= found["p90_ms"] <= found["p99_ms"] <= found["largest_ms"]


def test_a_box_that_creeps_on_a_still_picture_is_found_out():
    found = jitter(Slow(0.0, step=0.25), frames(1)[0], BOX)
    assert found == {"step_px": 0.25, "largest_step_px": 0.25, "drift_px": 15.0}
    assert jitter(Slow(0.0), frames(1)[0], BOX) == {"step_px": 0.0, "largest_step_px": 0.0, "drift_px": 0.0}


def test_a_bundle_stays_where_nothing_moves(clip, tiny_trk):
    found = jitter(Tracker(tiny_trk, threads=1), clip.frames[0], tuple(clip.boxes[0]))
    assert found["step_px"] <= found["largest_step_px"] < 1
    assert found["drift_px"] == pytest.approx(0, abs=6)
