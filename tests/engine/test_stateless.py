import base64
import copy
import json
import math
import threading

import cv2
import numpy as np
import pytest

from trk import BoxError, FrameError, Tracker, UsageError
from trk.engine.stateless import KEPT_TEMPLATES, Step


@pytest.fixture(params=["tiny_bundle", "long_bundle"])
def bundle(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def step(tiny_bundle):
    return Step(Tracker(tiny_bundle, threads=1))


def plain(results):
    return [result._replace(time=0.0) for result in results]


def followed(bundle, frames, box):
    tracker = Tracker(bundle, threads=1)
    tracker.init(frames[0], box)
    return plain([tracker.update(frame) for frame in frames[1:]])


@pytest.mark.parametrize("at_once", [1, 4, 100])
def test_results_are_those_of_a_tracker_that_remembers(bundle, clip, at_once):
    step = Step(Tracker(bundle, threads=1))
    state = step.start(clip.frames[0], clip.boxes[0])
    found = []
    for start in range(1, 20, at_once):
        results, state = step.run(state, clip.frames[start : start + at_once])
        found += results
    assert plain(found) == followed(bundle, clip.frames, clip.boxes[0])


def test_a_state_goes_through_json_to_another_process(bundle, clip):
    first, second = Step(Tracker(bundle, threads=1)), Step(Tracker(bundle, threads=1))
    state = first.start(clip.frames[0], clip.boxes[0])
    found, state = first.run(state, clip.frames[1:8])
    later, _ = second.run(json.loads(json.dumps(state)), clip.frames[8:])
    assert plain(found + later) == followed(bundle, clip.frames, clip.boxes[0])


def test_targets_take_turns(step, tiny_bundle, clip):
    boxes = [clip.boxes[0], (200, 150, 40, 40), (20, 20, 60, 30)]
    states = [step.start(clip.frames[0], box) for box in boxes]
    found = [[] for _ in boxes]
    for frame in clip.frames[1:]:
        for number, state in enumerate(states):
            results, states[number] = step.run(state, [frame])
            found[number] += results
    for box, results in zip(boxes, found, strict=True):
        assert plain(results) == followed(tiny_bundle, clip.frames, box)


def test_a_state_stays_good(step, clip):
    state = step.start(clip.frames[0], clip.boxes[0])
    before = copy.deepcopy(state)
    one, _ = step.run(state, clip.frames[1:6])
    other, _ = step.run(state, clip.frames[1:6])
    assert state == before
    assert plain(one) == plain(other)


def test_more_targets_than_are_kept(step, clip):
    state = step.start(clip.frames[0], clip.boxes[0])
    expected, _ = step.run(state, clip.frames[1:3])
    for number in range(KEPT_TEMPLATES + 5):
        step.start(clip.frames[0], (10.0 + number, 20.0, 30.0, 40.0))
    assert len(step._kernels) == KEPT_TEMPLATES
    again, _ = step.run(state, clip.frames[1:3])
    assert plain(again) == plain(expected)


def test_no_frames_change_nothing(step, clip):
    state = step.start(clip.frames[0], clip.boxes[0])
    assert step.run(state, []) == ([], state)


def test_threads_take_turns(step, tiny_bundle, clip):
    expected = followed(tiny_bundle, clip.frames, clip.boxes[0])
    found = {}

    def work(number):
        state = step.start(clip.frames[0], clip.boxes[0])
        results = []
        for frame in clip.frames[1:]:
            one, state = step.run(state, [frame])
            results += one
        found[number] = plain(results)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[number] for number in range(4)] == [expected] * 4


def test_errors_of_frames_and_boxes(step, clip):
    with pytest.raises(BoxError, match="outside the frame"):
        step.start(clip.frames[0], (900, 1, 20, 20))
    state = step.start(clip.frames[0], clip.boxes[0])
    with pytest.raises(FrameError):
        step.run(state, [clip.frames[1], np.zeros((4, 4), np.uint8)])
    assert len(step.run(state, clip.frames[1:3])[0]) == 2


def test_state_of_another_bundle(step, long_bundle, clip):
    other = Step(Tracker(long_bundle, threads=1)).start(clip.frames[0], clip.boxes[0])
    with pytest.raises(UsageError, match="another bundle"):
        step.run(other, clip.frames[1:2])


def png(width, height):
    return base64.b64encode(cv2.imencode(".png", np.zeros((height, width, 3), np.uint8))[1].tobytes()).decode()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema",), 2),
        (("schema",), None),
        (("target",), None),
        (("target", "cx"), math.nan),
        (("target", "cx"), 1e300),
        (("target", "w"), 0.0),
        (("target", "h"), -3.0),
        (("target", "side"), 0.0),
        (("target", "mean"), [1.0, 2.0]),
        (("target", "first_size"), "ab"),
        (("target", "frame_index"), "many"),
        (("size",), [1.0]),
        (("size",), [1.0, math.inf]),
        (("fill",), [1, 2, 300]),
        (("fill",), [1, 2]),
        (("template",), ""),
        (("template",), "no base64 at all!"),
        (("template",), base64.b64encode(b"a" * 100).decode()),
        (("template",), png(5, 5)),
        (("template",), 7),
    ],
)
def test_what_is_not_a_state(step, clip, path, value):
    state = step.start(clip.frames[0], clip.boxes[0])
    *above, last = path
    part = state
    for key in above:
        part = part[key]
    part[last] = value
    with pytest.raises(UsageError) as caught:
        step.run(state, clip.frames[1:2])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("state", [{}, {"schema": 1}])
def test_parts_that_are_missing(step, clip, state):
    with pytest.raises(UsageError, match="is missing"):
        step.run(state, clip.frames[1:2])


def test_a_cut_template(step, clip):
    state = step.start(clip.frames[0], clip.boxes[0])
    data = base64.b64decode(state["template"])
    state["template"] = base64.b64encode(data[: len(data) // 2]).decode()
    with pytest.raises(UsageError, match="template"):
        step.run(state, clip.frames[1:2])
