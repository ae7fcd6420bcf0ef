import numpy as np
import pytest
from data_sets import boxes, images, lines, numbered

from trk.bench.datasets import folder as plain
from trk.bench.realtime import run_realtime
from trk.engine.result import Result

FPS = 10.0
FRAMES = 12


class Slow:
    """Answers x = number of the frame it was asked about, after as many seconds as it is told."""

    def __init__(self, seconds):
        self.seconds = seconds
        self.now = 0.0
        self.asked = 0

    def init(self, frame, box):
        self.now += 5.0  # costs nothing: it is outside the clock
        self.asked = 0

    def clock(self):
        return self.now

    def update(self, frame):
        self.asked += 1
        self.now += self.seconds
        return Result((float(frame[0, 0, 0]), 20.0, 5.0, 6.0), 0.5, False, 0, 0.0)


@pytest.fixture
def sequence(tmp_path, monkeypatch):
    images(tmp_path, numbered(FRAMES))
    lines(tmp_path / "groundtruth.txt", boxes(FRAMES))
    monkeypatch.setattr("trk.bench.ope.read_image", lambda path, number: np.full((4, 4, 3), 100 + number, np.uint8))
    return plain.read(tmp_path)


# x of the boxes that were shown; the first frame is given (10), frame n is answered by 100 + n. Worked out by hand: at
# 0.17 s an answer, frame 1 is asked about at 0.10 and answered at 0.27, which is too late for it (0.20) and in time for
# frame 2 (0.30), which is then asked about; its answer at 0.44 is too late for frame 3; and so on.
EXPECTED = {
    0.05: [10, *range(101, 112)],
    0.1: [10, *range(101, 112)],
    0.17: [10, 10, 101, 101, 102, 102, 104, 106, 106, 107, 107, 109],
    0.23: [10, 10, 10, 101, 101, 103, 103, 105, 105, 105, 107, 107],
    5.0: [10] * 12,
}


@pytest.mark.parametrize("seconds", EXPECTED)
def test_a_late_answer_counts_as_the_old_box(sequence, seconds):
    tracker = Slow(seconds * (1 - 1e-6))
    found = run_realtime(tracker, sequence, FPS, tracker.clock)
    assert found.boxes[:, 0].tolist() == EXPECTED[seconds]
    asked = np.flatnonzero(found.times)
    assert len(asked) == tracker.asked
    np.testing.assert_allclose(found.times[asked], seconds, rtol=1e-3)
    assert found.boxes.shape == (FRAMES, 4)
