from pathlib import Path

import cv2
import numpy as np
import pytest
from nano import nano_bundle

from trk.bench.why import Why
from trk.bench.why_falls import AROUND, MOST, Call, Falls, Recorder
from trk.bench.why_maps import Explainer, Maps, Peak
from trk.bench.why_picture import COLUMNS, GAP, TILE, _lines, reasons
from trk.engine.bundle import Bundle
from trk.engine.result import Result
from trk.engine.tracker import Tracker
from trk.weights.shipped import default_bundle

HIDDEN = 9


def call(side: int = 8) -> Call:
    nothing = np.zeros((1, 2), np.float32)
    return Call({}, 0, np.zeros((1, side, side, 3), np.uint8), nothing, nothing[0], (0.0, 0.0, 1.0, 1.0))


def falls_of(scores: list[float]) -> Falls:
    falls = Falls()
    for number, score in enumerate(scores):
        falls.add(100 + number, call(), Result((0, 0, 1, 1), score, False, number, 0.0))
    return falls


def recorded(bundle: Path, clip) -> tuple[Tracker, list[Call], list[Result]]:
    tracker = Tracker(bundle, threads=1)
    recorder = tracker.backend = Recorder(tracker.backend, Explainer(Bundle(bundle)).template)
    tracker.init(clip.frames[0], clip.boxes[0])
    assert recorder.take() is None
    results, calls = [], []
    for frame in clip.frames[1:5]:
        results.append(tracker.update(frame))
        calls.append(recorder.take())
    return tracker, calls, results


def test_a_fall_is_found_with_the_frames_around_it():
    (moment,) = falls_of([1.0] * 20 + [0.9, 0.3, 0.6] + [1.0] * 20).moments()
    assert moment.worst.frame_index == 121
    assert [seen.frame_index - 121 for seen in moment.seen] == list(AROUND)
    assert moment.fall == pytest.approx(0.7)


def test_without_a_fall_the_least_sure_frame_is_kept():
    (moment,) = falls_of([1.0] * 30 + [0.9] + [1.0] * 30).moments()
    assert moment.worst.frame_index == 130
    assert moment.fall < 0.3


def test_only_the_deepest_falls_are_kept_in_the_order_of_the_run():
    depths = [0.5, 0.2, 0.4, 0.1, 0.6, 0.3, 0.0, 0.55, 0.45]
    scores = [score for depth in depths for score in [1.0] * 40 + [depth]] + [1.0] * 10
    moments = falls_of(scores).moments()
    assert len(moments) == MOST
    assert [round(1 - moment.fall, 2) for moment in moments] == [0.2, 0.4, 0.1, 0.3, 0.0, 0.45]


def test_a_fall_at_the_end_or_to_no_number_is_kept():
    assert falls_of([1.0] * 30 + [float("nan")]).moments()[0].worst.frame_index == 130
    assert falls_of([1.0, 1.0]).moments() == []


def test_scores_below_zero_fall_too():
    (moment,) = falls_of([-1.0] * 30 + [-2.0] + [-1.0] * 9).moments()
    assert moment.worst.score == -2.0


@pytest.mark.parametrize("which", ["nano", "tiny", "default"])
def test_the_chosen_peak_is_the_one_the_tracker_took(which, clip, tiny_trk, tmp_path_factory):
    bundle = {"nano": lambda: nano_bundle(tmp_path_factory), "tiny": lambda: tiny_trk, "default": default_bundle}[
        which
    ]()
    tracker, calls, _ = recorded(bundle, clip)
    explainer = Explainer(Bundle(bundle))
    # The default takes the mean of the chosen place's box and its neighbours', whose cells are 8 px apart.
    atol = 4.0 if which == "default" else 1e-3
    for one in calls:
        maps = explainer.explain(one)
        np.testing.assert_allclose(maps.peaks[0].box[:2], one.box[:2], atol=atol)
        column, row = maps.peaks[0].cell
        assert maps.ranking[row, column] == maps.ranking.max() == pytest.approx(maps.peaks[0].ranking)
        assert maps.score.shape == maps.window.shape == maps.ranking.shape
        assert all(peak.ranking <= maps.peaks[0].ranking for peak in maps.peaks)
        influence = tracker.params["window_influence"]
        made = maps.penalised * (1 - influence) + maps.window * influence
        np.testing.assert_allclose(made, maps.ranking, atol=1e-4)


def test_a_template_that_was_updated_is_explained_with_what_became_of_it(clip):
    bundle = default_bundle()
    explainer = Explainer(Bundle(bundle))
    tracker = Tracker(bundle, threads=1, template_rate=0.5)
    recorder = tracker.backend = Recorder(tracker.backend, explainer.template)
    tracker.init(clip.frames[0], clip.boxes[0])
    first = tracker.state.kernels
    for frame in clip.frames[1:13]:
        tracker.update(frame)
        call = recorder.take()
        _, _, offset, _ = explainer._run(call, dict(tracker.params))
        np.testing.assert_allclose(offset, call.box[:2], atol=1e-3)
    assert any(not np.array_equal(call.kernels[name], first.arrays[name]) for name in call.kernels)


def test_the_score_of_the_chosen_peak_is_the_trackers_score(clip, tmp_path_factory):
    bundle = nano_bundle(tmp_path_factory)
    _, calls, results = recorded(bundle, clip)
    explainer = Explainer(Bundle(bundle))
    for one, result in zip(calls, results, strict=True):
        chosen = explainer.explain(one).peaks[0]
        assert chosen.score == pytest.approx(result.score, abs=1e-5)
        assert 0 < chosen.penalty <= 1


def test_tracking_is_the_same_while_it_is_watched(clip, tiny_trk):
    _, _, results = recorded(tiny_trk, clip)
    alone = Tracker(tiny_trk, threads=1)
    alone.init(clip.frames[0], clip.boxes[0])
    assert [alone.update(frame).box for frame in clip.frames[1:5]] == [result.box for result in results]


def test_a_hidden_target_makes_a_picture_that_says_so(clip, tiny_trk, tmp_path):
    tracker = Tracker(tiny_trk, threads=1)
    why = Why(tracker, tmp_path / "why")
    tracker.init(clip.frames[0], clip.boxes[0])
    for number, frame in enumerate(clip.frames[1:], 1):
        if number == HIDDEN:
            frame = np.full_like(frame, 90)
        why.add(number, tracker.update(frame))
    paths, lines = why.write()
    assert [path.name for path in paths] == [f"why-{HIDDEN:06d}.png"]
    assert f"frame {HIDDEN}" in lines[0]
    assert "nothing in the crop looks much like the target" in lines[0]
    picture = cv2.imread(str(paths[0]))
    assert picture.shape[1] == len(COLUMNS) * (TILE + GAP) + GAP
    assert picture.shape[0] > len(AROUND) * TILE
    assert not list((tmp_path / "why").glob(".*"))


def test_rivals_are_told_with_what_kept_them_back():
    def maps(*peaks: Peak) -> Maps:
        square = np.zeros((3, 3), np.float32)
        return Maps(square, square, square, square, list(peaks))

    (moment,) = falls_of([1.0] * 30 + [0.6] + [1.0] * 9).moments()
    chosen = Peak(0.5, 0.6, 1.0, 1.0, (1, 1), (0.0, 0.0, 20.0, 20.0))
    far = chosen._replace(score=0.8, box=(60.0, 0.0, 20.0, 20.0), window=0.1)
    assert reasons(moment.worst, maps(chosen, far)) == [
        "peak 2, 60 crop pixels away, scored higher (0.8 to 0.6): the window kept it back"
    ]
    (words,) = reasons(moment.worst, maps(chosen, far._replace(penalty=0.5)))
    assert words.endswith("penalties kept it back")
    (words,) = reasons(moment.worst, maps(chosen, far._replace(score=0.55)))
    assert "nearly as like the target" in words
    (words,) = reasons(moment.worst, maps(chosen, far._replace(box=(4.0, 0.0, 20.0, 20.0))))
    assert words.startswith("no rival")


def test_a_graph_with_two_searches_and_shared_weights_is_explained(clip, long_trk):
    _, calls, _ = recorded(long_trk, clip)
    assert Explainer(Bundle(long_trk)).explain(calls[0]).peaks


def test_reasons_are_broken_between_words():
    text = "nothing in the crop looks much like the target: hidden, blurred, turned, or outside"
    lines = _lines(text, 200)
    assert len(lines) > 2
    assert " ".join(lines) == text
    assert _lines(text, 2000) == [text]
    assert _lines("", 200) == [""]
