import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trk import Tracker, UsageError
from trk.bench.calibration import COVERED_FRAMES, Observed, calibrate, cover, observe, roc_area
from trk.bench.datasets.sequence import Sequence
from trk.engine.confidence import running_mean


def observed(name, seed, frames=400, slope=6.0):
    """Frames whose share on the target is exactly the logistic function of their score."""
    random = np.random.default_rng(seed)
    scores = random.uniform(0, 1, frames)
    on_target = random.uniform(0, 1, frames) < 1 / (1 + np.exp(-slope * (scores - 0.4)))
    recents, recent = [], None
    for score in scores:
        recent = running_mean(recent, score)
        recents.append(recent)
    return Observed(
        name, scores, np.array(recents), np.where(on_target, 0.8, 0.0), ~on_target & (random.random() < 0.5)
    )


def test_probabilities_are_the_shares_that_they_promise():
    fitted = calibrate([observed(f"clip{number}", number) for number in range(8)], "made up")
    assert fitted.calibration.score == pytest.approx(6, abs=0.8)
    assert fitted.calibration.bias == pytest.approx(-2.4, abs=0.5)
    assert abs(fitted.calibration.recent) < 1
    for probability, on_target, frames in fitted.reliability():
        assert abs(probability - on_target) < 4 * 0.5 / np.sqrt(frames) + 0.02
    measured = fitted.calibration.measured
    assert measured["roc_area"] > 0.8
    assert measured["brier"] < measured["on_target"] * (1 - measured["on_target"])


def test_a_weight_is_never_negative():
    runs = [observed(f"clip{number}", number) for number in range(4)]
    backwards = [Observed(r.name, r.scores, -r.scores, r.overlaps, r.gone) for r in runs]
    calibration = calibrate(backwards, "made up").calibration
    assert calibration.score > 0
    assert calibration.recent == 0
    with pytest.raises(UsageError, match="say nothing"):
        calibrate([Observed(r.name, -r.scores, -r.scores, r.overlaps, r.gone) for r in runs], "made up")


def test_too_little_to_fit_is_refused():
    with pytest.raises(UsageError, match="two sequences or more"):
        calibrate([observed("one", 1)], "made up")
    always = [observed(name, seed) for name, seed in (("one", 1), ("two", 2))]
    for run in always:
        run.overlaps[:] = 1
    with pytest.raises(UsageError, match="on the target and off it"):
        calibrate(always, "made up")


@settings(max_examples=50)
@given(seed=st.integers(0, 1000), count=st.integers(4, 60), levels=st.integers(1, 9))
def test_roc_area_is_how_often_a_positive_lies_above_a_negative(seed, count, levels):
    random = np.random.default_rng(seed)
    scores = random.integers(0, levels, count).astype(float)
    positive = (np.arange(count) % 3 == 0).astype(float)
    pairs = [(a > b) + 0.5 * (a == b) for a in scores[positive == 1] for b in scores[positive == 0]]
    assert roc_area(scores, positive) == pytest.approx(np.mean(pairs))


@settings(max_examples=60)
@given(x=st.floats(-30, 100), y=st.floats(-30, 70), w=st.floats(1, 120), h=st.floats(1, 90), seed=st.integers(0, 99))
def test_cover_changes_the_box_and_nothing_around_it(x, y, w, h, seed):
    image = np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8)
    covered = cover(image, np.array([x, y, w, h]), seed)
    ys, xs = np.nonzero((covered != image).any(2))
    if len(xs):
        assert xs.min() >= x - 3
        assert xs.max() <= x + w + 3
        assert ys.min() >= y - 3
        assert ys.max() <= y + h + 3


def test_a_run_knows_when_the_target_was_covered(clip, tiny_bundle):
    images = tuple(sorted(clip.folder.glob("*.png")))
    sequence = Sequence("clip", images * 4, np.concatenate([clip.boxes] * 4))
    plain, covered = (observe(Tracker(tiny_bundle, threads=1), sequence, covered=one) for one in (False, True))
    assert not plain.gone.any()
    assert covered.gone.sum() == 2 * COVERED_FRAMES
    assert (covered.overlaps[covered.gone] == 0).all()
    assert plain.scores.shape == plain.recents.shape == (79,)
    assert covered.scores[covered.gone].mean() < plain.scores[covered.gone].mean()
