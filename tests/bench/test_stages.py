import numpy as np
import pytest

from trk.bench.stages import STAGES, StageTimes


def filled(frames=100):
    times = StageTimes()
    for number in range(frames):
        times.add({"decode": 0.002, "crop": 0.001, "search": number / 1000, "host": 0.001})
    return times


def test_nothing_was_measured():
    times = StageTimes()
    assert times.summary() == {}
    assert times.tracking_fps() == 0.0


def test_stages_come_in_the_order_of_a_frame_and_only_those_that_ran():
    assert list(filled().summary()) == [stage for stage in STAGES if stage not in ("draw", "write")]


def test_median_and_tails():
    search = filled().summary()["search"]
    expected = np.percentile(np.arange(100), (50, 95, 99))
    assert [search[name] for name in ("median_ms", "p95_ms", "p99_ms")] == pytest.approx(expected.tolist())
    assert search["frames"] == 100
    assert search["total_s"] == pytest.approx(4.95)


def test_first_frames_may_be_left_out():
    assert filled().summary(skip=40)["search"]["frames"] == 60
    assert filled().summary(skip=100) == {}


def test_fps_is_of_the_tracker_alone():
    times = StageTimes()
    for _ in range(10):
        times.add({"decode": 1.0, "crop": 0.001, "search": 0.008, "host": 0.001, "draw": 1.0, "write": 1.0})
    assert times.tracking_fps() == pytest.approx(100)
    assert times.tracking_fps(skip=9) == pytest.approx(100)
    assert times.tracking_fps(skip=10) == 0.0
