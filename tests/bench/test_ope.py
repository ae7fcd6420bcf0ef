import shutil

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trk import SourceError, Tracker
from trk.bench.ope import overlap, read_groundtruth, run_folder, run_sequence, sequences
from trk.bench.peers import Stay

NAN = float("nan")


@pytest.fixture
def sequence(clip, tmp_path):
    folder = tmp_path / "set" / "square"
    shutil.copytree(clip.folder, folder)
    np.savetxt(folder / "groundtruth.txt", clip.boxes, "%g", ",")
    return folder


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ((0, 0, 10, 10), (0, 0, 10, 10), 1.0),
        ((0, 0, 10, 10), (5, 0, 10, 10), 1 / 3),
        ((0, 0, 10, 10), (10, 0, 10, 10), 0.0),
        ((0, 0, 10, 10), (500, 500, 10, 10), 0.0),
        ((0, 0, 10, 10), (2, 2, 5, 5), 0.25),
        ((-5, -5, 10, 10), (-5, -5, 5, 10), 0.5),
        ((0, 0, 10, 10), (0, 0, 0, 10), NAN),
        ((0, 0, -10, 10), (0, 0, 10, 10), NAN),
        ((0, 0, 10, 10), (NAN, NAN, NAN, NAN), NAN),
    ],
)
def test_overlap(a, b, expected):
    both = overlap(np.array([a], float), np.array([b], float)), overlap(np.array([b], float), np.array([a], float))
    np.testing.assert_allclose(both, expected, equal_nan=True)


boxes = st.tuples(*[st.floats(-1000, 1000)] * 2, *[st.floats(0.1, 1000)] * 2)


@given(a=boxes, b=boxes, shift=st.tuples(st.floats(-100, 100), st.floats(-100, 100)))
def test_overlap_is_a_share_the_same_both_ways_and_anywhere(a, b, shift):
    pair = np.array([a, b])
    value = overlap(pair[:1], pair[1:])[0]
    assert 0 <= value <= 1 + 1e-9
    assert overlap(pair[1:], pair[:1])[0] == pytest.approx(value)
    pair[:, :2] += shift
    assert overlap(pair[:1], pair[1:])[0] == pytest.approx(value, abs=1e-6)


def test_run_through_a_sequence(sequence, tiny_bundle, clip):
    run = run_sequence(Tracker(tiny_bundle, threads=1), sequence)
    assert run.name == "square"
    assert run.boxes.shape == (20, 4)
    np.testing.assert_array_equal(run.boxes[0], clip.boxes[0])
    assert np.isnan(run.overlaps[0])
    assert run.mean_overlap == pytest.approx(overlap(run.boxes, clip.boxes)[1:].mean())
    assert run.mean_overlap > 0.8
    assert run.seconds > 0


def test_frames_without_a_target_do_not_count(sequence, tiny_bundle, clip):
    truth = clip.boxes.copy()
    truth[3:7] = NAN
    np.savetxt(sequence / "groundtruth.txt", truth, "%g", ",")
    run = run_sequence(Tracker(tiny_bundle, threads=1), sequence)
    assert np.flatnonzero(np.isnan(run.overlaps)).tolist() == [0, 3, 4, 5, 6]
    assert run.mean_overlap > 0.8


def test_folder_of_sequences_in_order(sequence, tiny_bundle):
    shutil.copytree(sequence, sequence.parent / "again")
    (sequence.parent / "notes").mkdir()
    assert [path.name for path in sequences(sequence.parent)] == ["again", "square"]
    first, second = run_folder(Tracker(tiny_bundle, threads=1), sequence.parent)
    np.testing.assert_array_equal(first.boxes, second.boxes)


def test_folder_without_sequences(tmp_path):
    with pytest.raises(SourceError, match=r"groundtruth\.txt"):
        sequences(tmp_path)


@pytest.mark.parametrize("text", ["", "a,b,c,d\n", "1,2,3\n", "1,2,3,4\n1,2,3\n"])
def test_groundtruth_that_is_none(sequence, text):
    (sequence / "groundtruth.txt").write_text(text)
    with pytest.raises(SourceError, match="x,y,w,h"):
        read_groundtruth(sequence)


def test_groundtruth_of_another_length(sequence, tiny_bundle, clip):
    np.savetxt(sequence / "groundtruth.txt", clip.boxes[:-1], "%g", ",")
    with pytest.raises(SourceError, match="20 images and 19 lines"):
        run_sequence(Tracker(tiny_bundle, threads=1), sequence)


def test_groundtruth_without_a_first_box(sequence, tiny_bundle, clip):
    truth = clip.boxes.copy()
    truth[0] = NAN
    np.savetxt(sequence / "groundtruth.txt", truth, "%g", ",")
    with pytest.raises(SourceError, match="first box of the ground truth has no area"):
        run_sequence(Tracker(tiny_bundle, threads=1), sequence)


def test_a_tracker_that_stays_loses_a_target_that_moves(sequence, clip):
    run = run_sequence(Stay(), sequence)
    assert (run.boxes == clip.boxes[0]).all()
    assert run.overlaps[1] > 0.5
    assert run.overlaps[-1] == 0


def test_an_image_of_another_size_is_named(sequence):
    cv2.imwrite(str(sequence / "007.png"), np.zeros((100, 100, 3), np.uint8))
    with pytest.raises(SourceError, match=r"007.png \(frame 7\) is 100x100, the images before it are 320x240"):
        run_sequence(Stay(), sequence)


def test_a_damaged_image_is_named(sequence):
    (sequence / "007.png").write_bytes(b"")
    with pytest.raises(SourceError, match=r"007.png is empty"):
        run_sequence(Stay(), sequence)
