"""What the runtimes on the CPU have in common: kernels are arrays, lanes run beside each other, errors are one line."""

from threading import Thread

import numpy as np
import pytest
from trackers import PARAMS, boxes, track

from trk import BackendError, MultiTracker, Tracker
from trk.engine.backends import load_backend
from trk.engine.bundle import Bundle

SIZE = np.ones((1, 2), np.float32)


@pytest.fixture(params=["onnxruntime", "torch", "openvino"])
def name(request):
    if request.param == "openvino":
        pytest.importorskip("openvino", reason="OpenVINO is not installed (trk-engine[openvino])")
    return request.param


def templates(name, bundle):
    backend, made = load_backend(Bundle(bundle), name, threads=1), []
    for seed in range(2):
        backend.template_crop[:] = np.random.default_rng(seed).integers(0, 256, backend.template_crop.shape, np.uint8)
        made.append(backend.template(SIZE, PARAMS))
    return backend, made


def test_kernels_of_two_templates_lie_apart_and_are_mixed_as_numbers(name, tiny_bundle):
    backend, (first, second) = templates(name, tiny_bundle)
    a, b = first["kernel_zf"], second["kernel_zf"]
    _, (same, _) = templates("onnxruntime", tiny_bundle)
    np.testing.assert_allclose(a, same["kernel_zf"], rtol=1e-4, atol=1e-6)
    assert not np.allclose(a, b)
    mixed = backend.mix(first, second, 0.25)["kernel_zf"]
    np.testing.assert_allclose(mixed, 0.75 * a + 0.25 * b, rtol=1e-4, atol=1e-6)
    assert mixed.dtype == a.dtype


def test_a_new_target_takes_new_kernels_and_leaves_the_old_ones(name, tiny_bundle, clip):
    tracker = Tracker(tiny_bundle, name, threads=1)
    first = boxes(track(tracker, clip.frames[:8], clip.boxes[0]))
    tracker.init(clip.frames[0], clip.boxes[0])
    state = tracker.state.copy()
    track(tracker, clip.frames[:2], (5, 5, 30, 30))
    tracker.state = state
    np.testing.assert_array_equal(boxes(tracker.update(frame) for frame in clip.frames[1:8]), first)


def test_several_targets_on_two_cores_are_as_if_alone(name, tiny_bundle, clip):
    many = MultiTracker(tiny_bundle, name, threads=2)
    target = many.add(clip.frames[0], clip.boxes[0])
    for x in (5, 60, 120):
        many.add(clip.frames[0], (x, 10, 40, 40))
    found = [many.update(frame)[target] for frame in clip.frames[1:8]]
    alone = track(Tracker(tiny_bundle, name, threads=1), clip.frames[:8], clip.boxes[0])
    np.testing.assert_array_equal(boxes(found), boxes(alone))


def test_lanes_have_memory_of_their_own_and_run_beside_each_other(name, tiny_bundle, clip):
    tracker, found = Tracker(tiny_bundle, name, threads=1), {}
    lanes = [tracker.twin() for _ in range(3)]
    assert not any(np.shares_memory(lane.backend.template_crop, tracker.backend.template_crop) for lane in lanes)

    def work(number):
        found[number] = boxes(track(lanes[number], clip.frames[:8], clip.boxes[0]))

    threads = [Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = boxes(track(tracker, clip.frames[:8], clip.boxes[0]))
    for number in range(3):
        np.testing.assert_array_equal(found[number], expected)


def test_what_is_wrong_with_the_request_is_told(name, tiny_bundle):
    for options in ({"threads": 0}, {"device": "tpu"}):
        with pytest.raises(BackendError) as caught:
            load_backend(Bundle(tiny_bundle), name, **options)
        assert "\n" not in str(caught.value)
