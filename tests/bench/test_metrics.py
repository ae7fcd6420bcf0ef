import numpy as np
import pytest

from trk.bench.conventions import CONVENTIONS, convention
from trk.bench.datasets.sequence import Sequence
from trk.bench.metrics import FIGURES, clipped, compare, intervals, mean_score, overlap, score
from trk.errors import SourceError, UsageError

FRAME_WH = (320, 240)
LIMIT = 1e-9


def track_of(seed, frames=60):
    """Ground truth that wanders (out of the frame, too), and boxes that follow it badly."""
    random = np.random.default_rng(seed)
    centre = np.cumsum(random.normal(0, 6, (frames, 2)), axis=0) + random.uniform(20, (300, 220))
    truth = np.concatenate([centre - 20, random.uniform(20, 60, (frames, 2))], axis=1)
    off = random.normal(0, random.uniform(1, 12), (frames, 4))
    boxes = truth + off * (random.random((frames, 1)) < 0.8)
    boxes[frames // 2 :: 7] += 300  # lost here and there
    boxes[:, 2:] = np.maximum(boxes[:, 2:], 1)
    return truth, boxes


def sequence_of(truth, hidden=None, name="one"):
    return Sequence(name, (None,) * len(truth), truth, hidden=hidden)


def figures(rule, truth, boxes, hidden=None):
    rule = convention(rule)
    return score(compare(boxes, sequence_of(truth, hidden), rule, FRAME_WH), rule)


def official(name):
    """An experiment of the got10k package without its data."""
    experiments = pytest.importorskip("got10k.experiments", reason="got10k is not installed (trk-engine[dev])")
    kind = getattr(experiments, name)
    experiment = kind.__new__(kind)
    experiment.nbins_iou, experiment.nbins_ce = (101 if name == "ExperimentGOT10k" else 21), 51
    return experiment


@pytest.mark.parametrize("seed", range(8))
def test_otb_figures_are_those_of_the_got10k_package(seed):
    truth, boxes = track_of(seed)
    experiment = official("ExperimentOTB")
    given = np.concatenate([truth[:1], boxes[1:]])  # as its report does
    success, precision = experiment._calc_curves(*experiment._calc_metrics(given, truth))
    ours = figures("ope", truth, boxes)
    np.testing.assert_allclose(ours.success, success, atol=LIMIT)
    np.testing.assert_allclose(ours.precision, precision, atol=LIMIT)
    assert ours.figures["auc"] == pytest.approx(success.mean(), abs=LIMIT)
    assert ours.figures["precision"] == pytest.approx(precision[20], abs=LIMIT)
    assert ours.figures["sr50"] == pytest.approx(success[10], abs=LIMIT)


@pytest.mark.parametrize("seed", range(4))
def test_uav123_leaves_out_what_was_not_annotated_as_got10k_does(seed):
    truth, boxes = track_of(seed)
    truth[5:15] = np.nan
    experiment = official("ExperimentUAV123")
    given = np.concatenate([truth[:1], boxes[1:]])
    success, precision = experiment._calc_curves(*experiment._calc_metrics(given, truth))
    ours = figures("ope", truth, boxes)
    np.testing.assert_allclose(ours.success, success, atol=LIMIT)
    np.testing.assert_allclose(ours.precision, precision, atol=LIMIT)


def test_got10k_figures_are_those_of_its_package():
    experiment = official("ExperimentGOT10k")
    from got10k.utils.metrics import rect_iou

    ious, ours = [], []
    for seed in range(6):
        truth, boxes = track_of(seed, 40 + 10 * seed)
        covers = np.random.default_rng(seed).integers(0, 4, len(truth))
        covers[0] = 8
        # Its function changes what it is given.
        found = rect_iou(boxes[1:].copy(), truth[1:].copy(), bound=FRAME_WH)[covers[1:] > 0]
        alone, rate, _, curve = experiment._evaluate(found, np.ones(1))
        one = figures("got10k", truth, boxes, covers <= 0)
        assert one.figures["ao"] == pytest.approx(alone, abs=LIMIT)
        assert one.figures["sr50"] == pytest.approx(rate, abs=LIMIT)
        assert one.figures["sr75"] == pytest.approx(curve[75], abs=LIMIT)
        ious.append(found)
        ours.append(one)
    overall, rate, _, curve = experiment._evaluate(np.concatenate(ious), np.ones(1))
    mean = mean_score(ours).figures
    assert mean["ao"] == pytest.approx(overall, abs=LIMIT)
    assert mean["sr50"] == pytest.approx(rate, abs=LIMIT)
    assert mean["sr75"] == pytest.approx(curve[75], abs=LIMIT)
    assert mean["ao"] != pytest.approx(np.mean([one.figures["ao"] for one in ours]), abs=1e-4)


def by_hand_as_pysot(truth, boxes, present, threshold, kind):
    """The definition in STVIR/pysot:toolkit/utils/statistics.py, frame by frame."""
    hits = 0
    for (x, y, w, h), (u, v, p, q), there in zip(truth, boxes, present, strict=True):
        if not there:
            continue
        if kind == "success":
            if w > 0 and h > 0:
                shared = max(0, min(x + w, u + p) - max(x, u)) * max(0, min(y + h, v + q) - max(y, v))
                hits += shared / (w * h + p * q - shared) > threshold
            continue
        divide = (1, 1) if kind == "precision" else (w + 1e-16, h + 1e-16)
        theirs = (x + (w - 1) / 2) / divide[0], (y + (h - 1) / 2) / divide[1]
        ours = (u + (p - 1) / 2) / divide[0], (v + (q - 1) / 2) / divide[1]
        if theirs[0] > 0 and theirs[1] > 0:
            hits += np.hypot(theirs[0] - ours[0], theirs[1] - ours[1]) <= threshold
        else:
            hits += 1
    return hits / len(truth)


@pytest.mark.parametrize("seed", range(4))
def test_pysot_counts_absent_frames_and_centres_its_own_way(seed):
    truth, boxes = track_of(seed)
    truth[5:9] = np.nan
    truth[12, 2:] = 0
    truth[20, :2] = -300
    hidden = np.zeros(len(truth), bool)
    hidden[30:34] = True
    ours = figures("pysot", truth, boxes, hidden)
    for kind, curve, at in (("success", ours.success, (0, 0.3, 0.5)), ("precision", ours.precision, (0, 20, 50))):
        for threshold in at:
            index = round(threshold * 20) if kind == "success" else threshold
            expected = by_hand_as_pysot(truth, boxes, ~hidden, threshold, kind)
            assert curve[index] == pytest.approx(expected, abs=LIMIT), (kind, threshold)
    expected = by_hand_as_pysot(truth, boxes, ~hidden, 0.2, "normalised")
    assert ours.figures["norm_precision"] == pytest.approx(expected, abs=LIMIT)


def test_a_perfect_tracker_reaches_20_of_21_because_the_last_threshold_is_1():
    truth, _ = track_of(0)
    found = figures("ope", truth, truth).figures
    assert found["auc"] == pytest.approx(20 / 21)
    assert {name: found[name] for name in FIGURES[1:]} == dict.fromkeys(FIGURES[1:], pytest.approx(1))


def test_the_first_frame_counts_as_the_convention_says():
    truth = np.array([[10.0, 10, 20, 20]] * 4)
    boxes = truth + np.array([1000, 0, 0, 0])
    assert figures("ope", truth, boxes).figures["sr50"] == 0.25
    assert figures("got10k", truth, boxes).figures["sr50"] == 0
    assert figures("pysot", truth, boxes).figures["sr50"] == 0


@pytest.mark.parametrize("rule", [row.name for row in CONVENTIONS])
def test_a_tracker_that_answers_nan_fails_and_spoils_nothing(rule):
    truth, boxes = track_of(1)
    boxes[10:] = np.nan
    found = figures(rule, truth, boxes)
    assert all(0 <= value < 0.3 for value in found.figures.values())


def test_a_sequence_without_counted_frames_has_no_score():
    truth = np.array([[10.0, 10, 20, 20], [np.nan] * 4])
    assert figures("got10k", truth, truth) is None


def test_boxes_of_another_length_are_refused():
    truth, boxes = track_of(0)
    with pytest.raises(SourceError, match="59 boxes of the tracker for 60 images"):
        figures("ope", truth, boxes[:-1])


def test_overlap_is_nan_without_a_box():
    boxes = np.array([[0, 0, 10, 10], [0, 0, 0, 10], [np.nan] * 4, [5.0, 0, 10, 10]])
    whole = np.array([[0, 0, 10.0, 10]] * 4)
    np.testing.assert_allclose(overlap(boxes, whole), [1, np.nan, np.nan, 1 / 3])


def test_clipping_leaves_the_given_boxes_alone():
    boxes = np.array([[-10.0, -10, 30, 30], [310, 230, 50, 50]])
    before = boxes.copy()
    np.testing.assert_array_equal(clipped(boxes, FRAME_WH), [[0, 0, 30, 30], [310, 230, 10, 10]])
    np.testing.assert_array_equal(boxes, before)


def test_the_interval_holds_the_mean_and_narrows_with_sequences():
    few = [figures("ope", *track_of(seed)) for seed in range(6)]
    many = [figures("ope", *track_of(seed)) for seed in range(96)]
    widths = []
    for scores in (few, many):
        low, high = intervals(scores)["auc"]
        assert low < mean_score(scores).figures["auc"] < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 2
    assert intervals(few) == intervals(few)


def test_the_interval_of_a_mean_is_about_two_standard_errors_wide():
    scores = [figures("ope", *track_of(seed)) for seed in range(96)]
    low, high = intervals(scores)["auc"]
    error = np.std([one.figures["auc"] for one in scores]) / np.sqrt(len(scores))
    assert (high - low) / error == pytest.approx(2 * 1.96, rel=0.1)


def test_an_unknown_convention_is_told():
    with pytest.raises(UsageError, match="no convention 'vot': there are ope, got10k, pysot"):
        convention("vot")
