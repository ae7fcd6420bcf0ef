"""Many targets in one run of the network: the same results as one after the other."""

import json

import numpy as np
import pytest

from trk import BundleError, MultiTracker, Tracker
from trk.engine.bundle import Bundle
from trk.engine.confidence import Calibration
from trk.export.write import write_bundle

BOXES = [(10.0 + 9 * number, 20.0 + 5 * number, 60.0 - 2 * number, 50.0) for number in range(7)]


def close(one, other):
    np.testing.assert_allclose(one.box, other.box, atol=1e-3)
    assert one.score == pytest.approx(other.score, abs=1e-4)
    assert (one.lost, one.frame_index) == (other.lost, other.frame_index)


def test_targets_are_searched_for_in_as_few_runs_as_there_are_graphs_for(many_bundle, clip, runs):
    tracker = MultiTracker(many_bundle, threads=1, together=True)
    for box in BOXES:
        tracker.add(clip.frames[0], box)
    tracker.update(clip.frames[1])
    assert runs == [4, 2, 1]


def test_results_are_those_of_single_runs_while_targets_come_and_go(many_bundle, clip):
    together = MultiTracker(many_bundle, threads=1, together=True)
    apart = MultiTracker(many_bundle, threads=1, together=False)
    for number, frame in enumerate(clip.frames[:-1]):
        for tracker in (together, apart):
            if number < len(BOXES):
                tracker.add(frame, BOXES[number])
            if number == 9:
                tracker.remove(2)
        found, expected = (tracker.update(clip.frames[number + 1]) for tracker in (together, apart))
        assert list(found) == list(expected) == together.ids
        for target, result in expected.items():
            close(found[target], result)
    assert sum(together.stages) == pytest.approx(sum(result.time for result in found.values()))


def test_windows_of_a_scan_are_searched_together(many_bundle, clip, runs, tmp_path):
    bundle = Bundle(many_bundle)
    calibration = Calibration(bias=-50, score=0, recent=0, low=0.3, high=0.6)  # always lost
    files = {file.name: bundle.read(file.name) for file in bundle.manifest.files}
    write_bundle(tmp_path / "lost.trk", bundle.manifest.model_copy(update={"calibration": calibration}), files)
    trackers = [MultiTracker(tmp_path / "lost.trk", threads=1, on_lost="search", together=one) for one in (True, False)]
    for tracker in trackers:
        for box in BOXES[:3]:
            tracker.add(clip.frames[0], box)
    for frame in clip.frames[1:4]:
        found = trackers[0].update(frame)
        for target, result in trackers[1].update(frame).items():
            close(found[target], result)
    assert runs[:5] == [2, 1, 4, 4, 4]


def test_bundle_without_such_graphs_gives_the_same_one_by_one(tiny_bundle, clip, runs):
    tracker = MultiTracker(tiny_bundle, threads=1, together=True)
    for box in BOXES[:3]:
        tracker.add(clip.frames[0], box)
    results = tracker.update(clip.frames[1])
    assert runs == [1, 1, 1]
    alone = Tracker(tiny_bundle, threads=1)
    alone.init(clip.frames[0], BOXES[0])
    close(results[1], alone.update(clip.frames[1]))
    assert MultiTracker(tiny_bundle, together=True).update(clip.frames[0]) == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda batch: batch.update(targets=3), "inputs of search_x2.onnx: crop is"),
        (lambda batch: batch.update(file="other.onnx"), "not among the listed files"),
        (lambda batch: batch.update(targets=1), "targets"),
        (lambda batch: batch["outputs"].pop(), "is missing"),
    ],
)
def test_graph_for_several_that_does_not_fit_is_refused(many_bundle, tmp_path, change, message):
    import shutil

    folder = shutil.copytree(many_bundle, tmp_path / "bundle")
    document = json.loads((folder / "bundle.json").read_text())
    change(document["searches"][0]["batches"][0])
    (folder / "bundle.json").write_text(json.dumps(document))
    with pytest.raises(BundleError, match=message):
        Bundle(folder)
