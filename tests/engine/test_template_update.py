import cv2
import numpy as np
import pytest

from trk import Tracker, UsageError
from trk.engine.bundle import Bundle
from trk.engine.confidence import Calibration
from trk.engine.stateless import Step
from trk.engine.template_update import EVERY
from trk.export.write import write_bundle


@pytest.fixture
def sure(tiny_bundle, tmp_path):
    """Return the tiny bundle calibrated so that every frame has the given probability."""

    def make(bias):
        bundle = Bundle(tiny_bundle)
        calibration = Calibration(bias=bias, score=0.0, recent=0.0, low=0.3, high=0.6)
        files = {file.name: bundle.read(file.name) for file in bundle.manifest.files}
        out = tmp_path / f"{bias}.trk"
        write_bundle(out, bundle.manifest.model_copy(update={"calibration": calibration}), files)
        return out

    return make


@pytest.fixture
def changing(clip):
    """The clip, its square turning little by little into another one."""
    side = int(clip.boxes[0][2])
    other = cv2.resize(np.random.default_rng(3).integers(0, 256, (8, 8, 3), np.uint8), (side, side))
    frames = []
    for number, frame in enumerate(clip.frames):
        x, y = clip.boxes[number][:2].astype(int)
        frame, share = frame.copy(), number / len(clip.frames)
        inside = frame[y : y + side, x : x + side]
        inside[:] = ((1 - share) * inside + share * other).astype(np.uint8)
        frames.append(frame)
    return frames


def scores(tracker, frames, box):
    tracker.init(frames[0], box)
    return np.array([tracker.update(frame).score for frame in frames[1:]])


def test_template_that_is_updated_knows_a_target_that_changes(sure, changing, clip):
    fixed = scores(Tracker(sure(5), threads=1), changing, clip.boxes[0])
    updated = scores(Tracker(sure(5), threads=1, template_rate=0.5), changing, clip.boxes[0])
    np.testing.assert_array_equal(updated[:EVERY], fixed[:EVERY])
    assert (updated[2 * EVERY :] > fixed[2 * EVERY :]).all()


@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_every_backend_updates_alike(sure, changing, clip, backend):
    pytest.importorskip(backend, reason=f"{backend} is not installed")
    expected = scores(Tracker(sure(5), threads=1, template_rate=0.5), changing, clip.boxes[0])
    found = scores(Tracker(sure(5), backend, threads=1, template_rate=0.5), changing, clip.boxes[0])
    np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_nothing_is_learned_from_frames_that_are_not_sure(sure, changing, clip):
    fixed = scores(Tracker(sure(0), threads=1), changing, clip.boxes[0])
    np.testing.assert_array_equal(
        scores(Tracker(sure(0), threads=1, template_rate=0.5), changing, clip.boxes[0]), fixed
    )


def test_going_back_to_a_copied_state_takes_the_template_back(sure, changing, clip):
    tracker = Tracker(sure(5), threads=1, template_rate=0.5)
    scores(tracker, changing[:3], clip.boxes[0])
    kept = tracker.state.copy()
    first = [tracker.update(frame).score for frame in changing[3:]]
    tracker.state = kept
    assert [tracker.update(frame).score for frame in changing[3:]] == first


def test_next_target_begins_with_a_template_of_its_own(sure, changing, clip):
    tracker = Tracker(sure(5), threads=1, template_rate=0.5)
    first = scores(tracker, changing, clip.boxes[0])
    np.testing.assert_array_equal(scores(tracker, changing, clip.boxes[0]), first)


def test_rate_of_the_bundle_holds_unless_another_is_asked_for(sure, tiny_bundle, clip, tmp_path):
    path = sure(5)
    bundle = Bundle(path)
    files = {file.name: bundle.read(file.name) for file in bundle.manifest.files}
    own, uncalibrated = bundle.manifest.model_copy(update={"template_rate": 0.5}), Bundle(tiny_bundle).manifest
    write_bundle(tmp_path / "own.trk", own, files)
    assert Tracker(tmp_path / "own.trk").template_rate == 0.5
    assert Tracker(tmp_path / "own.trk", template_rate=0).template_rate == 0
    write_bundle(tmp_path / "plain.trk", uncalibrated.model_copy(update={"template_rate": 0.5}), files)
    assert Tracker(tmp_path / "plain.trk").template_rate == 0
    alone = Tracker(tmp_path / "own.trk", threads=1, template_rate=0)
    step = Step(Tracker(tmp_path / "own.trk", threads=1))
    results, _ = step.run(step.start(clip.frames[0], clip.boxes[0]), clip.frames[1:])
    np.testing.assert_array_equal([result.score for result in results], scores(alone, clip.frames, clip.boxes[0]))


def test_rates_that_make_no_sense_are_refused(sure, tiny_bundle):
    with pytest.raises(UsageError, match="share between 0 and 1"):
        Tracker(sure(5), template_rate=1.5)
    with pytest.raises(UsageError, match="not calibrated"):
        Tracker(tiny_bundle, template_rate=0.1)
    with pytest.raises(UsageError, match="holds one template"):
        Step(Tracker(sure(5), template_rate=0.1))
