"""What backends on a GPU have in common, by TensorRT on stand-ins: what is launched, copied, allocated and waited for.

ONNX Runtime stands for the engine and crops are OpenCV's to the byte, so that boxes are those of the CPU exactly.
"""

import ctypes
import gc
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from cuda_stand_in import ByDlpack, OnGpu, tensorrt
from trackers import PARAMS, boxes, changed, on_backend, track

from trk import BackendError, FrameError, MultiTracker, Tracker
from trk.bench.crowd import Crowd
from trk.engine.backends.device.graph_runner import Layout
from trk.engine.backends.onnxruntime import OnnxRuntimeBackend
from trk.engine.bundle import Bundle
from trk.engine.confidence import Calibration
from trk.engine.cuda.kernel_source import engine_kernels
from trk.engine.device_frame import DeviceFrame, as_frame
from trk.engine.manifest import Tensor
from trk.engine.policy import POLICIES
from trk.engine.stateless import Step
from trk.errors import TrkError

MOST_CALLS = 140
"""Of functions, Python's and C's, in a frame of the tiny bundle, whose searches have three crops."""
STREAM = 77
"""Of the first backend on the stand-in."""
SIZE = np.array([[60.0, 50.0]], np.float32)
MEMORY = {"cudaMalloc", "cudaFree", "cudaHostAlloc", "cudaFreeHost", "cudaGraphInstantiate"}


def on_gpu(bundle, runtime, cls=Tracker, refuses=None, **options):
    return on_backend(cls(bundle, threads=1, **options), tensorrt(bundle, runtime, refuses=refuses))


@pytest.fixture(scope="module")
def expected(tiny_bundle, clip):
    return [result.box for result in track(Tracker(tiny_bundle, threads=1), clip.frames[:6], clip.boxes[0])]


def test_a_frame_is_one_launch_and_one_wait(tiny_bundle, runtime, clip, expected):
    tracker = on_gpu(tiny_bundle, runtime)
    assert (tracker.backend.name, tracker.backend.device) == ("tensorrt", "cuda")
    tracker.init(clip.frames[0], clip.boxes[0])
    found = [tracker.update(clip.frames[1]).box]  # its kernels are put where the graph reads them
    made = runtime.made.copy()
    for frame in clip.frames[2:6]:
        runtime.calls.clear()
        found.append(tracker.update(frame).box)
        assert runtime.calls == [("launch", STREAM), ("wait", STREAM)]
    assert found == expected
    assert runtime.made - made == {"cudaGraphLaunch": 4, "cudaStreamSynchronize": 4}


def test_the_host_s_part_of_a_frame_stays_small(tiny_bundle, runtime, clip):
    tracker = on_gpu(tiny_bundle, runtime)
    tracker.init(clip.frames[0], clip.boxes[0])
    tracker.update(clip.frames[1])
    # Only the host counts: the device's answer is there at once.
    tracker.backend._cuda._launch = tracker.backend._cuda._synchronize = lambda *_: (runtime.cudaError_t.cudaSuccess,)
    calls = []
    sys.setprofile(lambda frame, event, argument: calls.append(event) if event in ("call", "c_call") else None)
    try:
        tracker.update(clip.frames[2])
    finally:
        sys.setprofile(None)
    assert 50 < len(calls) <= MOST_CALLS


def test_init_makes_all_ready_that_a_frame_needs_and_captures_nothing_again(tiny_bundle, runtime, clip):
    tracker, costs = on_gpu(tiny_bundle, runtime), []
    for _ in range(3):
        tracker.init(clip.frames[0], clip.boxes[0])
        made = runtime.made.copy()
        for frame in clip.frames[1:3]:
            runtime.calls.clear()
            tracker.update(frame)
            costs.append([call for call in runtime.calls if call != ("beside", STREAM)])  # the kernels, once
        assert not MEMORY & set(runtime.made - made)
    assert all(cost == costs[0] for cost in costs)
    made = runtime.made.copy()
    tracker.init(clip.frames[0], clip.boxes[0])
    assert not MEMORY & set(runtime.made - made)


def test_targets_that_begin_anew_capture_nothing_again(many_bundle, runtime, clip):
    crowd = Crowd(on_gpu(many_bundle, runtime), 5, 1)
    crowd.init(clip.frames[0], clip.boxes[0])
    crowd.update(clip.frames[1])
    captured = runtime.instantiated
    crowd.init(clip.frames[0], clip.boxes[0])
    crowd.update(clip.frames[1])
    assert runtime.instantiated == captured


def test_picture_may_be_written_over_once_it_was_searched(tiny_bundle, runtime, clip, expected):
    tracker, shared = on_gpu(tiny_bundle, runtime), clip.frames[0].copy()
    tracker.init(shared, clip.boxes[0])
    for frame, box in zip(clip.frames[1:6], expected, strict=True):
        shared[:] = frame
        assert tracker.update(shared).box == box


def test_all_is_given_back_with_the_backend_but_results_that_somebody_looks_at(many_bundle, runtime, clip):
    tracker = on_gpu(many_bundle, runtime)
    twin = tracker.twin()
    track(twin, [OnGpu(runtime, frame, stream=500) for frame in clip.frames[:3]], clip.boxes[0])
    for frame in [key for key in runtime.memory if runtime.memory[key].size == clip.frames[0].nbytes]:
        del runtime.memory[frame]  # which are not the backend's
    found = twin.backend.search(0, twin.state.kernels, SIZE, PARAMS)
    score = found.score.copy()
    assert runtime.instantiated
    assert runtime.dropped == runtime.ended == []
    del tracker, twin
    gc.collect()
    assert len(runtime.memory) == 1
    np.testing.assert_array_equal(found.score, score)
    del found
    gc.collect()
    assert runtime.memory == runtime.events == {}
    assert len(runtime.dropped) == runtime.instantiated
    assert sorted(runtime.ended) == [77, 78]


def test_targets_of_one_frame_and_of_several_videos_are_one_launch(many_bundle, runtime, clip):
    plain = MultiTracker(many_bundle, threads=1, together=True)
    multi = on_gpu(many_bundle, runtime, MultiTracker, together=True)
    for number in range(4):
        for one in (plain, multi):
            one.add(clip.frames[0], clip.boxes[0] + (3 * number, 0, 0, 0))
    captured = runtime.instantiated
    assert captured == 4  # template, search, searches for two and for four: once there are as many targets
    for number in range(1, 5):
        frame = clip.frames[number]
        videos = {target: frame[: 240 - 10 * target, : 320 - 9 * target] for target in multi.ids}
        for frames in (dict.fromkeys(multi.ids, frame), videos):
            runtime.calls.clear()
            found = multi.update_each(frames)
            assert [call for call in runtime.calls if call != ("beside", STREAM)] == [
                ("launch", STREAM),
                ("wait", STREAM),
            ]
            np.testing.assert_array_equal(boxes(found.values()), boxes(plain.update_each(frames).values()))
    assert runtime.instantiated == captured


def test_who_follows_one_target_has_nothing_for_several(many_bundle, runtime, clip):
    multi = on_gpu(many_bundle, runtime, MultiTracker, together=True)
    multi.add(clip.frames[0], clip.boxes[0])
    multi.update(clip.frames[1])
    assert runtime.instantiated == 2


def backends(bundle, runtime):
    return tensorrt(bundle, runtime), OnnxRuntimeBackend(Bundle(bundle), threads=1)


def templates(backend, count):
    """Kernels of random crops, the same ones for every backend."""
    random, made = np.random.default_rng(0), []
    for _ in range(count):
        backend.template_crop[:] = random.integers(0, 256, backend.template_crop.shape, np.uint8)
        made.append(backend.template(SIZE, PARAMS))
    return made


def test_kernels_are_each_targets_own_alone_in_turn_mixed_and_together(many_bundle, runtime):
    found = []
    for backend in backends(many_bundle, runtime):
        assert backend.batches(0) == [4, 2]
        kernels, random, answers = templates(backend, 5), np.random.default_rng(1), []
        kernels.append(backend.mix(kernels[0], kernels[1], 0.25))
        backend.search_crops[0][:] = random.integers(0, 256, (3, 255, 255, 3), np.uint8)
        for number in (0, 1, 0, 0, 5, 1):
            answers += [np.array(value) for value in backend.search(0, kernels[number], SIZE, PARAMS)]
        for chosen in ([0, 1], [0, 2], [4, 5, 3, 1], [1, 0]):
            crops = backend.batch_crops(0, len(chosen))
            crops[:] = random.integers(0, 256, crops.shape, np.uint8)
            sizes = np.arange(2 * len(chosen), dtype=np.float32).reshape(-1, 2) + 40
            answers += map(np.array, backend.search_batch(0, [kernels[at] for at in chosen], sizes, PARAMS))
        found.append(answers)
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_kernels_are_mixed_where_they_are_as_numpy_mixes_them(dtype, runtime):
    cuda, random, share = runtime.cuda, np.random.default_rng(0), 0.3
    one, other, out = (cuda.pinned(1000 * np.dtype(dtype).itemsize).view(dtype) for _ in range(3))
    one[:], other[:] = (random.normal(size=1000) * 300 for _ in range(2))
    places = (array.ctypes.data for array in (one, other, out))
    cuda.run_kernel(engine_kernels(cuda)[f"mix_{dtype}"], (4, 1), 256, *places, 999, share)
    cuda.synchronize()
    np.testing.assert_array_equal(out[:-1], (one + np.float32(share) * (other.astype("f4") - one)).astype(dtype)[:-1])
    assert out[-1] == 0


def test_stretches_of_one_type_are_mixed_in_one_launch():
    types = ["float16", "float16", "float32", "float16"]
    layout = Layout([Tensor(name=f"kernel_{n}", shape=(3, 70), dtype=dtype) for n, dtype in enumerate(types)])
    assert layout.runs == [("float16", 0, 466), ("float32", 1024, 210), ("float16", 2048, 210)]
    assert layout.size == 2560


def test_kernels_of_another_template_come_to_a_search_in_one_copy(runtime, clip, light_bundle):
    bundle = light_bundle
    tracker, plain = on_gpu(bundle, runtime), Tracker(bundle, threads=1)
    assert len(tracker.manifest.template.outputs) > 1
    for box in clip.boxes[:2]:
        for one in (tracker, plain):
            one.init(clip.frames[0], box)
        runtime.calls.clear()
        found = tracker.update(clip.frames[1])
        assert runtime.calls == [("beside", STREAM), ("launch", STREAM), ("wait", STREAM)]
        assert found.box == plain.update(clip.frames[1]).box


def test_other_parameters_count_from_the_search_on_that_they_are_given_to(tiny_bundle, runtime):
    others, found = PARAMS * np.float32([1, 5, 1, 1]), []  # with the window alone, the middle is best
    for backend in backends(tiny_bundle, runtime):
        (kernels,) = templates(backend, 1)
        backend.search_crops[0][:] = np.random.default_rng(1).integers(0, 256, (3, 255, 255, 3), np.uint8)
        given = (PARAMS, others, others, PARAMS)
        found.append([backend.search(0, kernels, SIZE, params).box.copy() for params in given])
    np.testing.assert_array_equal(*found)
    assert (found[0][0] != found[0][1]).any()


def test_kernels_of_which_some_could_not_be_put_in_place_are_put_there_the_next_time(many_bundle, runtime, monkeypatch):
    answers, copy = [], runtime.cudaMemcpyAsync
    for backend in backends(many_bundle, runtime):
        first, second, third, fourth = templates(backend, 4)
        backend.batch_crops(0, 2)[:] = np.random.default_rng(1).integers(0, 256, (6, 255, 255, 3), np.uint8)
        sizes = np.repeat(SIZE, 2, 0)
        backend.search_batch(0, (first, second), sizes, PARAMS)
        if backend.device == "cuda":
            codes = iter([None, runtime.cudaError_t.cudaErrorUnknown])
            monkeypatch.setattr(
                runtime, "cudaMemcpyAsync", lambda *a, codes=codes: copy(*a) if not (c := next(codes)) else (c,)
            )
            with pytest.raises(BackendError, match="can't copy memory: cudaErrorUnknown"):
                backend.search_batch(0, (third, fourth), sizes, PARAMS)
            monkeypatch.undo()
        answers.append(backend.search_batch(0, (first, second), sizes, PARAMS).score.copy())
    np.testing.assert_array_equal(*answers)


def test_memory_of_kernels_serves_the_next_template_and_none_is_pinned_or_freed_for_one(tiny_bundle, runtime):
    backend = tensorrt(tiny_bundle, runtime)
    kept = templates(backend, 2)
    backend.mix(*kept, 0.5)
    made = runtime.made.copy()
    for _ in range(5):
        backend.mix(*kept, 0.5)
        backend.template(SIZE, PARAMS)
    assert not MEMORY & set(runtime.made - made)


def test_lanes_have_memory_and_a_stream_of_their_own_and_share_kernels(tiny_bundle, runtime, clip, expected):
    tracker = on_gpu(tiny_bundle, runtime)
    twin = tracker.twin()
    assert twin.backend._cuda.stream != tracker.backend._cuda.stream
    tracker.init(clip.frames[0], clip.boxes[0])
    twin.state = tracker.state.copy()
    found = []
    for number in range(1, 6):
        tracker.update(clip.frames[15])
        found.append(twin.update(clip.frames[number]).box)
    assert found == expected


def test_states_and_stateless_steps_go_on_where_others_stopped(tiny_bundle, runtime, clip, expected):
    tracker = on_gpu(tiny_bundle, runtime)
    tracker.init(clip.frames[0], clip.boxes[0])
    tracker.update(clip.frames[1])
    kept = tracker.state.copy()
    for _ in range(2):
        tracker.state = kept.copy()
        assert [tracker.update(frame).box for frame in clip.frames[2:6]] == expected[1:]
    step, other = Step(tracker), Step(on_gpu(tiny_bundle, runtime))
    started = step.start(clip.frames[0], clip.boxes[0])
    assert started == Step(Tracker(tiny_bundle, threads=1)).start(clip.frames[0], clip.boxes[0])
    for one in (step, other):
        results, _ = one.run(started, clip.frames[1:6])
        assert [result.box for result in results] == expected


@pytest.mark.parametrize("policy", POLICIES)
def test_lost_targets_and_templates_that_follow_do_as_on_a_cpu(tiny_bundle, runtime, clip, policy, tmp_path):
    x, y, w, h = clip.boxes[0].astype(int)
    ground = clip.frames[0].copy()
    ground[y : y + h, x : x + w] = ground[y : y + h, x + 2 * w : x + 3 * w]
    frames = [*clip.frames[:8], *[ground] * 3, *clip.frames[8:12]]
    plain = Tracker(tiny_bundle, threads=1)
    scores = [result.score for result in track(plain, frames[:9], clip.boxes[0])]
    slope = 12 / (min(scores[:-1]) - scores[-1])
    middle = (min(scores[:-1]) + scores[-1]) / 2
    calibration = Calibration(bias=-slope * middle, score=slope, recent=0.0, low=0.3, high=0.6)
    bundle = changed(tiny_bundle, tmp_path / "calibrated.trk", calibration=calibration)
    options = {"on_lost": policy, "template_rate": 0.3}
    want = track(Tracker(bundle, threads=1, **options), frames, clip.boxes[0])
    tracker = on_gpu(bundle, runtime, **options)
    tracker.init(frames[0], clip.boxes[0])
    first = tracker.state.kernels
    found = [tracker.update(frame) for frame in frames[1:]]
    assert [result[:4] for result in found] == [result[:4] for result in want]
    assert any(result.lost for result in found)
    assert tracker.state.kernels is not first


def test_lost_target_is_sought_with_a_graph_and_crops_of_its_own(long_bundle, runtime, clip):
    ground = np.full_like(clip.frames[0], 90)
    frames = [*clip.frames[:2], ground, ground, *clip.frames[2:5]]
    found, want = (
        track(tracker, frames, clip.boxes[0])
        for tracker in (on_gpu(long_bundle, runtime), Tracker(long_bundle, threads=1))
    )
    assert [result[:3] for result in found] == [result[:3] for result in want]
    assert [result.lost for result in found] == [False, True, True, False, False, False]


KINDS = {
    "interface": lambda runtime, frame: OnGpu(runtime, frame, stream=500),  # in which nothing is left to wait for
    "rows with gaps": lambda runtime, frame: OnGpu(runtime, frame, gap=64),
    "DLPack": ByDlpack,
}


@pytest.mark.parametrize("kind", KINDS)
def test_frames_that_lie_on_the_gpu_are_cut_there_and_never_come_down(tiny_bundle, runtime, clip, expected, kind):
    tracker = on_gpu(tiny_bundle, runtime)
    frames = [KINDS[kind](runtime, frame) for frame in clip.frames[:6]]
    tracker.init(frames[0], clip.boxes[0])
    made, found = runtime.made.copy(), []
    runtime.calls.clear()
    for frame in frames[1:]:
        found.append(tracker.update(frame).box)
        assert tracker.backend._staging.used == 0
    assert found == expected
    assert {name for name, _ in runtime.calls} == {"beside", "launch", "wait"}
    assert not MEMORY & set(runtime.made - made)


def test_frame_on_the_gpu_comes_to_the_host_where_its_mean_is_asked_for(tiny_bundle, runtime, clip):
    backend = tensorrt(tiny_bundle, runtime)
    frame = as_frame(OnGpu(runtime, clip.frames[0], gap=5), "cuda")
    made = runtime.made.copy()
    np.testing.assert_array_equal(backend.pixels(frame), clip.frames[0])
    assert runtime.made - made == {"cudaMemcpyAsync": 1, "cudaStreamSynchronize": 1}
    assert backend.pixels(clip.frames[0]) is clip.frames[0]
    late, right = OnGpu(runtime, clip.frames[0], stream=500), np.ascontiguousarray(clip.frames[1])
    runtime.put(lambda: ctypes.memmove(late.address, right.ctypes.data, right.nbytes), 500)
    np.testing.assert_array_equal(backend.pixels(as_frame(late, "cuda")), right)
    with pytest.raises(FrameError, match="lies on GPU 1"):
        backend.pixels(as_frame(ByDlpack(runtime, clip.frames[0], device=1), "cuda"))


@pytest.mark.parametrize("kind", [lambda runtime, frame: OnGpu(runtime, frame, stream=500), ByDlpack])
def test_what_makes_a_frame_is_waited_for(tiny_bundle, runtime, clip, expected, kind):
    tracker = on_gpu(tiny_bundle, runtime)
    late = [kind(runtime, np.zeros_like(frame)) for frame in clip.frames[:3]]
    right = [np.ascontiguousarray(frame) for frame in clip.frames[:3]]
    for number, (there, frame) in enumerate(zip(late, right, strict=True)):
        runtime.put(
            lambda at=there.address, frame=frame: ctypes.memmove(at, frame.ctypes.data, frame.nbytes), there.stream
        )
        if number:
            assert tracker.update(there).box == expected[number - 1]
        else:
            tracker.init(there, clip.boxes[0])
    if kind is ByDlpack:
        assert {stream for frame in late for stream in frame.asked} == {frame.stream for frame in late} == {1}


def test_maker_that_says_nothing_of_streams_used_the_default_one():
    described = {"shape": (4, 5, 3), "typestr": "|u1", "data": (4096, False), "version": 2}
    frame = as_frame(SimpleNamespace(__cuda_array_interface__=described), "cuda")
    assert (frame.address, frame.shape, frame.stream, frame.nbytes) == (4096, (4, 5, 3), 1, 60)
    assert as_frame(frame, "cuda") is frame


PIXELS = np.zeros((40, 50, 3), np.uint8)
WRONG = {
    "planes first": (lambda r: OnGpu(r, np.zeros((3, 40, 50), np.uint8)), r"permute\(1, 2, 0\)"),
    "grey": (lambda r: OnGpu(r, PIXELS[..., 0]), r"uint8 \[H, W, 3\] in BGR order, not \[40, 50\]"),
    "floats": (lambda r: OnGpu(r, PIXELS, typestr="<f4"), "not <f4: scale it"),
    "pixels with gaps": (lambda r: OnGpu(r, PIXELS, strides=(256, 4, 1)), "of a row have to be contiguous"),
    "rows upwards": (lambda r: ByDlpack(r, PIXELS, strides=(-150, 3, 1)), "rows in order"),
    "signed": (lambda r: ByDlpack(r, PIXELS, code=0), "not DLPack type"),
    "another GPU": (lambda r: ByDlpack(r, PIXELS, device=1), "lies on GPU 1 and the backend runs on GPU 0"),
    "nothing in it": (lambda r: OnGpu(r, PIXELS[:0]), "1 to 32767 pixels a side"),
    "the host's, DLPack": (lambda r: ByDlpack(r, PIXELS, kind=1), "a frame is a NumPy array"),
}


@pytest.mark.parametrize("name", WRONG)
def test_frame_that_is_wrong_on_the_gpu_is_told_in_one_line_and_moves_no_target(many_bundle, runtime, clip, name):
    make, words = WRONG[name]
    multi = on_gpu(many_bundle, runtime, MultiTracker, together=True)
    for _ in range(3):
        multi.add(clip.frames[0], clip.boxes[0])
    wrong = make(runtime)
    for call in (
        lambda: multi.add(wrong, (10, 10, 20, 20)),
        lambda: multi.update(wrong),
        lambda: multi.update_each({1: clip.frames[1], 2: clip.frames[1], 3: wrong}),
    ):
        with pytest.raises(FrameError, match=words) as caught:
            call()
        assert "\n" not in str(caught.value)
    assert multi.ids == [1, 2, 3]
    assert {state.target.frame_index for state in multi.snapshot().values()} == {0}


def test_frame_on_the_gpu_for_a_backend_on_the_cpu_is_told(tiny_bundle, runtime, clip):
    tracker = Tracker(tiny_bundle, threads=1)
    multi = MultiTracker(tracker)
    multi.add(clip.frames[0], clip.boxes[0])
    for call in (lambda frame: tracker.init(frame, (1, 2, 3, 4)), multi.update):
        with pytest.raises(FrameError, match=r"runs on the cpu: choose device cuda.*\.cpu\(\)\.numpy\(\)"):
            call(OnGpu(runtime, clip.frames[0]))


def test_memory_that_is_full_is_told_and_tracking_goes_on(tiny_bundle, runtime, clip, expected, monkeypatch):
    monkeypatch.setattr("trk.engine.backends.device.crops.CAPACITY", 160_000)
    tracker = on_gpu(tiny_bundle, runtime)
    tracker.init(clip.frames[0], clip.boxes[0])
    kept = tracker.state.copy()
    for call in ("cudaHostAlloc", "cudaMalloc"):
        runtime.fails = {call: "cudaErrorMemoryAllocation"}
        with pytest.raises(BackendError, match=r"MB.*cudaErrorMemoryAllocation: its memory is full: take"):
            tracker.update(clip.frames[1])
    runtime.fails = {}
    tracker.state = kept
    assert [tracker.update(frame).box for frame in clip.frames[1:6]] == expected


@pytest.mark.parametrize(
    "call", ["cudaGraphLaunch", "cudaStreamSynchronize", "cudaEventRecord", "cudaStreamWaitEvent", "cudaMemcpyAsync"]
)
def test_call_that_fails_on_the_way_is_one_line(tiny_bundle, runtime, clip, call):
    tracker = on_gpu(tiny_bundle, runtime)
    tracker.init(clip.frames[0], clip.boxes[0])
    frame = OnGpu(runtime, clip.frames[1], stream=500)
    runtime.put(lambda: None, 500)  # it is still being made
    runtime.fails = {call: "cudaErrorUnknown"}
    with pytest.raises(TrkError, match="cudaErrorUnknown") as caught:
        tracker.update(frame)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("how", "words"),
    [("fails", "CUDA can't capture a graph: cudaErrorUnknown"), ("refused", "its plan says so")],
)
def test_without_a_capture_kernels_are_launched_one_by_one_and_a_line_says_so(
    tiny_bundle, runtime, clip, expected, caplog, how, words
):
    runtime.fails = {"cudaStreamEndCapture": "cudaErrorUnknown"} if how == "fails" else {}
    tracker = on_gpu(tiny_bundle, runtime, refuses={"capture"} if how == "refused" else None)
    assert [record.getMessage() for record in caplog.records] == [
        f"{graph} can't be captured as a CUDA graph and runs kernel by kernel: {words}"
        for graph in ("template.onnx", "search.onnx")
    ]
    assert [result.box for result in track(tracker, clip.frames[:6], clip.boxes[0])] == expected


def test_device_frame_keeps_its_memory_until_it_was_searched(tiny_bundle, runtime, clip):
    tracker = on_gpu(tiny_bundle, runtime)
    tracker.init(clip.frames[0], clip.boxes[0])
    gone = []

    class Owner:
        def __del__(self):
            gone.append(runtime.waited)

    frame = OnGpu(runtime, clip.frames[1])
    seen = DeviceFrame(frame.address, clip.frames[1].shape, Owner())
    waited = runtime.waited
    tracker.update(seen)
    del seen
    gc.collect()
    assert gone == [waited + 1]
