"""Whole frames into the search graph: boxes as where the host cuts the crops, whatever else a tracker does."""

import numpy as np
import pytest

from trk import BackendError, FrameError, MultiTracker, Tracker
from trk.engine.backends import load_backend
from trk.engine.bundle import Bundle
from trk.engine.confidence import Calibration
from trk.engine.policy import POLICIES
from trk.engine.regions import REGION, new_regions, write_regions
from trk.engine.stateless import Step

PIXELS = 0.05


def track(tracker, clip, frames=8):
    tracker.init(clip.frames[0], clip.boxes[0])
    return [tracker.update(frame) for frame in clip.frames[1:frames]]


def boxes(results):
    return np.array([result.box for result in results])


@pytest.mark.parametrize("backend", ["onnxruntime", "torch"])
def test_boxes_are_those_of_the_hosts_crops(whole_bundle, clip, backend):
    expected = track(Tracker(whole_bundle, "onnxruntime", threads=1), clip)
    tracker = Tracker(whole_bundle, backend, threads=1, whole_frame=True)
    assert tracker.whole is tracker.backend
    found = track(tracker, clip)
    np.testing.assert_allclose(boxes(found), boxes(expected), atol=PIXELS)
    assert [result.score for result in found] == pytest.approx([result.score for result in expected], rel=1e-3)
    assert tracker.stages.network > 0


def test_on_a_cpu_the_host_cuts_unless_asked(whole_bundle):
    assert Tracker(whole_bundle, threads=1).whole is None
    assert Tracker(whole_bundle, threads=1, whole_frame=False).whole is None


def test_every_frame_may_have_another_size_and_lie_in_pieces(whole_bundle, clip):
    found = []
    for whole in (False, True):
        tracker = Tracker(whole_bundle, threads=1, whole_frame=whole)
        tracker.init(clip.frames[0], clip.boxes[0])
        wide = [np.pad(frame, ((0, 40 * n), (0, 30 * n), (0, 0))) for n, frame in enumerate(clip.frames[1:6])]
        pieces = [frame[:, ::-1][:, ::-1] for frame in wide]
        found.append(boxes(tracker.update(frame) for frame in pieces))
    np.testing.assert_allclose(*found, atol=PIXELS)


def test_several_targets_go_in_one_run_out_of_the_same_frame(whole_bundle, clip):
    found = []
    for whole in (False, True):
        tracker = MultiTracker(whole_bundle, threads=1, together=True, whole_frame=whole)
        x, y, w, h = clip.boxes[0]
        for number in range(3):
            tracker.add(clip.frames[0], (x + 3 * number, y, w, h))
        found.append([boxes(tracker.update(frame).values()) for frame in clip.frames[1:5]])
    np.testing.assert_allclose(*found, atol=PIXELS)


def test_targets_that_are_shared_out_to_the_cores_take_frames_each(whole_bundle, clip):
    tracker = MultiTracker(whole_bundle, threads=2, together=False, whole_frame=True)
    alone = Tracker(whole_bundle, threads=1, whole_frame=True)
    x, y, w, h = clip.boxes[0]
    for number in range(3):
        tracker.add(clip.frames[0], (x + number, y, w, h))
    alone.init(clip.frames[0], (x + 2, y, w, h))
    for frame in clip.frames[1:4]:
        assert tracker.update(frame)[3].box == alone.update(frame).box


def test_states_twins_and_stateless_steps_go_on_where_others_stopped(whole_bundle, clip):
    tracker = Tracker(whole_bundle, threads=1, whole_frame=True)
    expected = track(tracker, clip, 6)
    tracker.init(clip.frames[0], clip.boxes[0])
    tracker.update(clip.frames[1])
    twin, kept = tracker.twin(), tracker.state.copy()
    twin.state = kept
    assert [tracker.update(frame).box for frame in clip.frames[2:6]] == [result.box for result in expected[1:]]
    assert [twin.update(frame).box for frame in clip.frames[2:6]] == [result.box for result in expected[1:]]
    step = Step(tracker)
    results, _ = step.run(step.start(clip.frames[0], clip.boxes[0]), clip.frames[1:6])
    assert [result.box for result in results] == [result.box for result in expected]


@pytest.mark.parametrize("policy", ["follow", "hold", "search", "stop"])
def test_lost_targets_and_templates_that_follow_do_as_with_the_hosts_crops(whole_bundle, clip, policy):
    plain = Tracker(whole_bundle, threads=1)
    there = [result.score for result in track(plain, clip, 10)]
    ground = clip.frames[0].copy()
    x, y, w, h = clip.boxes[0].astype(int)
    ground[y : y + h, x : x + w] = ground[y : y + h, x + 2 * w : x + 3 * w]
    bare = [ground] * 3
    gone = plain.update(bare[0]).score
    slope = 12 / (min(there) - gone)
    calibration = Calibration(bias=-slope * (min(there) + gone) / 2, score=slope, recent=0.0, low=0.3, high=0.6)
    found = []
    for whole in (False, True):
        tracker = Tracker(whole_bundle, threads=1, whole_frame=whole)
        tracker.manifest = tracker.manifest.model_copy(update={"calibration": calibration})
        tracker.policy, tracker.template_rate = POLICIES[policy], 0.3
        tracker.init(clip.frames[0], clip.boxes[0])
        first = tracker.state.kernels
        found.append([tracker.update(frame)[:4] for frame in [*clip.frames[1:8], *bare, *clip.frames[8:12]]])
        assert tracker.state.kernels is not first  # learned
    for number, (ours, expected) in enumerate(zip(*found, strict=True)):
        # Where the target is gone, what the ground resembles most may be found a little off.
        np.testing.assert_allclose(ours[0], expected[0], atol=PIXELS if number < 7 else 2.0)
        assert ours[2] == expected[2]
        assert ours[3] == pytest.approx(expected[3], abs=0.05)
    assert any(lost for _, _, lost, _ in found[0])


def test_rows_say_where_the_host_would_cut(whole_bundle, clip):
    geometry, out = Bundle(whole_bundle).manifest.geometry, new_regions(3)
    centre = write_regions(geometry, (320, 240), (100.2, 81.2), [50.0, 60.4, 71.0], np.array([1, 2, 3], np.uint8), out)
    assert out[1].tolist() == [70.0, 51.0, 60.0, 1.0, 2.0, 3.0, 320.0, 240.0]
    assert centre == (100.0, 81.0)
    assert len(REGION) == out.shape[1]


def test_bundle_without_such_graphs_says_how_to_get_them(tiny_bundle):
    with pytest.raises(BackendError, match="trk-export --whole-frame"):
        Tracker(tiny_bundle, threads=1, whole_frame=True)


def test_backend_that_takes_no_frames_says_so(whole_bundle):
    with pytest.raises(BackendError, match="openvino takes no whole frames"):
        load_backend(Bundle(whole_bundle), "openvino", frames=True)


@pytest.mark.parametrize("frame", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), [1, 2], None])
def test_frame_that_is_none_is_refused_before_anything_is_searched(whole_bundle, clip, frame):
    tracker = Tracker(whole_bundle, threads=1, whole_frame=True)
    tracker.init(clip.frames[0], clip.boxes[0])
    before = tracker.state.copy()
    for call in (tracker.update, tracker.prefetch):
        with pytest.raises(FrameError, match=r"a frame is"):
            call(frame)
    assert tracker.state.target == before.target


def test_frame_that_was_named_before_is_the_one_that_is_searched(whole_bundle, clip):
    tracker = Tracker(whole_bundle, threads=1, whole_frame=True)
    expected = boxes(track(tracker, clip, 6))
    tracker.init(clip.frames[0], clip.boxes[0])
    found = []
    for number in range(1, 6):
        tracker.prefetch(clip.frames[number + 1])
        found.append(tracker.update(clip.frames[number]))
    np.testing.assert_array_equal(boxes(found), expected)


def test_command_tracks_out_of_whole_frames(whole_bundle, clip, tmp_path):
    from click.testing import CliRunner

    from trk.cli.run import command

    told = []
    for how in ("--whole-frame", "--host-crop"):
        out = tmp_path / f"{how}.csv"
        words = [str(clip.folder), "--init", clip.init, "--bundle", str(whole_bundle), how, "--boxes", str(out)]
        done = CliRunner().invoke(command, [*words, "--threads", "1", "--quiet"], standalone_mode=False)
        assert done.exception is None, done.output
        told.append(np.loadtxt(out, delimiter=",", skiprows=1, usecols=range(2, 6)))
    np.testing.assert_allclose(*told, atol=PIXELS)


def test_pictures_of_why_come_of_the_hosts_crops(whole_bundle, clip):
    from trk.bench.why_falls import Recorder

    tracker = Tracker(whole_bundle, threads=1, whole_frame=True)
    tracker.backend = Recorder(tracker.backend, lambda crop, size, params: {})
    tracker.init(clip.frames[0], clip.boxes[0])
    tracker.update(clip.frames[1])
    assert tracker.whole is None
    assert tracker.backend.take() is not None
