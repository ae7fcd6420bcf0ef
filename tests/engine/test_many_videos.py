"""Targets in different videos, a frame for each: the results of a tracker alone, however they are searched for.

On a GPU: backends/device/test_backend.py.
"""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trk import FrameError, MultiTracker, Tracker, TrkError
from trk.engine.confidence import Calibration
from trk.engine.policy import POLICIES

VIDEO = st.fixed_dictionaries(
    {
        "wh": st.tuples(st.integers(200, 320), st.integers(170, 240)),
        "begins": st.integers(0, 2),
        "length": st.integers(2, 5),
        "first": st.integers(0, 12),
        "targets": st.integers(1, 2),
    }
)


@pytest.fixture(scope="module")
def alone(tiny_bundle, clip):
    """A tracker that counts its target lost and found again as the clip goes on."""
    tracker = Tracker(tiny_bundle, threads=1)
    tracker.init(clip.frames[0], clip.boxes[0])
    scores = sorted(tracker.update(frame).score for frame in clip.frames[1:])
    middle, width = scores[len(scores) // 2], scores[-1] - scores[0]
    calibration = Calibration(bias=-4 * middle / width, score=4 / width, recent=0, low=0.45, high=0.55)
    tracker.manifest = tracker.manifest.model_copy(update={"calibration": calibration})
    return tracker


def frames_of(clip, video):
    (width, height), first = video["wh"], video["first"]
    return [frame[:height, :width].copy() for frame in clip.frames[first : first + video["length"]]]


def boxes_of(clip, video):
    x, y, w, h = clip.boxes[video["first"]]
    return [(x - 6 * number, y, w, h) for number in range(video["targets"])]


def untimed(result):
    return result._replace(time=0)


@pytest.mark.parametrize("together", [False, True], ids=["lanes", "together"])
@settings(max_examples=4, deadline=None)
@given(videos=st.lists(VIDEO, min_size=2, max_size=4), policy=st.sampled_from(list(POLICIES)))
def test_every_target_is_followed_to_the_bit_as_if_alone(alone, clip, together, videos, policy):
    alone.policy = POLICIES[policy]
    multi = MultiTracker(alone, threads=2, together=together)
    frames = [frames_of(clip, video) for video in videos]
    found: dict[int, list] = {}
    targets: dict[int, int] = {}  # target: its video
    for time in range(max(video["begins"] + video["length"] for video in videos)):
        now = {
            n: frames[n][at] for n, video in enumerate(videos) if 0 <= (at := time - video["begins"]) < len(frames[n])
        }
        for target in [target for target, n in targets.items() if n not in now]:
            multi.remove(target)
            del targets[target]
        results = multi.update_each({target: now[n] for target, n in targets.items()})
        assert list(results) == list(targets)
        for target, result in results.items():
            found[target].append(result)
        for n in now:
            if n not in targets.values():
                for box in boxes_of(clip, videos[n]):
                    target = multi.add(now[n], box)
                    targets[target], found[target] = n, []
    order = sorted(range(len(videos)), key=lambda n: videos[n]["begins"])
    expected = []
    for n in order:
        for box in boxes_of(clip, videos[n]):
            alone.init(frames[n][0], box)
            expected.append([untimed(alone.update(frame)) for frame in frames[n][1:]])
    assert [[untimed(result) for result in results] for results in found.values()] == expected


@pytest.fixture
def cameras(clip):
    """Frames of three videos of different sizes, and the box that each begins with."""
    sizes = [(200, 160), (190, 150), (180, 140)]
    return [SimpleNamespace(frames=[f[:h, :w].copy() for f in clip.frames[:6]], box=clip.boxes[0]) for w, h in sizes]


def begin(multi, cameras):
    return [multi.add(camera.frames[0], camera.box) for camera in cameras]


def step(multi, cameras, number):
    return multi.update_each({n: camera.frames[number] for n, camera in enumerate(cameras, start=1)})


def test_targets_of_several_videos_share_runs_where_the_host_cuts(many_bundle, cameras, runs):
    together, apart = (MultiTracker(many_bundle, threads=1, together=one) for one in (True, False))
    for multi in (together, apart):
        begin(multi, cameras)
    found = [step(together, cameras, number) for number in range(1, 4)]
    assert runs == [2, 1] * 3
    for number, results in enumerate(found, start=1):
        for target, result in step(apart, cameras, number).items():
            np.testing.assert_allclose(results[target].box, result.box, atol=1e-3)
    assert sum(together.stages) == pytest.approx(sum(result.time for result in found[-1].values()))


def test_target_without_a_frame_stays_where_it_is(tiny_bundle, cameras):
    multi = MultiTracker(tiny_bundle, threads=2)
    first, second, _ = begin(multi, cameras)
    kept = multi.snapshot()[second]
    assert list(multi.update_each({first: cameras[0].frames[1]})) == [first]
    assert multi.snapshot()[second].target == kept.target
    assert multi.update_each({}) == {}


@pytest.mark.parametrize("together", [False, True])
def test_one_frame_that_is_refused_moves_no_target_of_any_video(tiny_bundle, cameras, together):
    multi = MultiTracker(tiny_bundle, threads=1, together=together)
    first, second, third = begin(multi, cameras)
    frames = {first: cameras[0].frames[1], second: np.zeros((4, 4), np.uint8), third: cameras[2].frames[1]}
    with pytest.raises(FrameError, match="a frame is"):
        multi.update_each(frames)
    with pytest.raises(TrkError, match=r"no target 9 is followed: .*there are \[1, 2, 3\]"):
        multi.update_each({first: cameras[0].frames[1], 9: cameras[0].frames[1]})
    assert [state.target.frame_index for state in multi.snapshot().values()] == [0, 0, 0]
    assert {result.frame_index for result in step(multi, cameras, 1).values()} == {1}
