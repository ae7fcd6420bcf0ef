"""ONNX Runtime on CUDA where there is none: bound on the device, captured, never a CPU session in its place.

The provider is a stand-in over CPU sessions.
"""

import gc
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from threading import current_thread, get_ident

import numpy as np
import onnxruntime
import pytest
from cuda_stand_in import OnGpu
from ort_stand_in import PLAIN, FakeCudaSession
from trackers import boxes, track

from trk import BackendError, BundleError, MultiTracker, Tracker
from trk.engine.backends import load_backend
from trk.engine.backends.device import onnxruntime as backend
from trk.engine.bundle import Bundle

CUDA = "CUDAExecutionProvider"
STREAM = 77
FRAME = [("launch", STREAM)] * 3 + [("wait", STREAM)]
"""What goes up and is cut, ONNX Runtime's own replay, and what comes down."""


@pytest.fixture
def silent(monkeypatch, runtime):
    """An ONNX Runtime that lists CUDA and, as the real one without its libraries, gives CPU sessions without a word."""
    if CUDA in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    real = onnxruntime.InferenceSession

    def session(model, options, providers, enable_fallback):
        # That CUDA can't be used shows as the CPU in its place; asked not to fall back, ONNX Runtime refuses that, too.
        if options.get_session_config_entry("session.disable_cpu_ep_fallback") == "1":
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "0")
        return real(model, options, providers=["CPUExecutionProvider"], enable_fallback=enable_fallback)

    loaded = []
    monkeypatch.setattr(backend, "Cuda", lambda: runtime.cuda)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, "CPUExecutionProvider"])
    monkeypatch.setattr(
        onnxruntime, "preload_dlls", lambda: loaded.append(True) or print("which it tells"), raising=False
    )
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    return loaded


@pytest.fixture
def sessions(monkeypatch, silent, runtime):
    """The same with a CUDA provider that works. Graphs can't be captured where `Setting` says so."""
    made, plain = [], onnxruntime.InferenceSession

    def session(model, options, providers, enable_fallback):
        assert enable_fallback == 0
        ((name, settings),) = providers
        if name != CUDA:
            return plain(model, options, providers, enable_fallback)
        assert silent  # its libraries were looked for first
        strict = options.get_session_config_entry("session.disable_cpu_ep_fallback") == "1"
        assert not (strict and "enable_cuda_graph" in settings)
        if Setting.refuses == "full":
            raise RuntimeError("CUDA failure 2: out of memory ; GPU=0\nand more")
        if ("enable_cuda_graph" in settings or strict) and Setting.refuses:
            raise RuntimeError("all compute graph nodes have not been partitioned to the CUDA EP\nand more")
        made.append(FakeCudaSession(plain(model, options, [name], enable_fallback), runtime, settings))
        return made[-1]

    monkeypatch.setattr(Setting, "refuses", False)
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    return made


class Setting:
    """Whether a part of each graph runs on the CPU, so that none can be captured; "full": there is no memory left."""

    refuses = False


def in_new_thread(work):
    """What `work` returns, in a thread that ends with it."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


@pytest.fixture(scope="module")
def expected(tiny_bundle, clip):
    return [result.box for result in track(Tracker(tiny_bundle, threads=1), clip.frames[:6], clip.boxes[0])]


def test_a_frame_is_a_launch_a_replay_a_launch_and_one_wait(
    tiny_bundle, silent, sessions, runtime, clip, expected, capfd
):
    tracker = Tracker(tiny_bundle, device="cuda")
    assert (tracker.backend.name, tracker.backend.device) == ("onnxruntime", "cuda")
    assert silent == [True]
    assert capfd.readouterr().out == ""
    assert [result.box for result in track(tracker, clip.frames[:6], clip.boxes[0])] == expected
    made = runtime.made.copy()
    for frame in (clip.frames[6], clip.frames[7][:200, :300], OnGpu(runtime, clip.frames[8], gap=8)):
        runtime.calls.clear()
        tracker.update(frame)
        assert runtime.calls == FRAME
    assert set(runtime.made - made) == {"cudaGraphLaunch", "cudaStreamSynchronize", "cudaMalloc"}
    assert (runtime.made - made)["cudaMalloc"] == 1  # the frame on the GPU


def test_every_set_of_addresses_is_a_graph_of_its_own(many_bundle, sessions, clip):
    found = []
    for device in ("cpu", "cuda"):
        multi = MultiTracker(many_bundle, device=device, threads=1, together=True)
        for number in range(3):
            multi.add(clip.frames[0], clip.boxes[0] + (3 * number, 0, 0, 0))
        found.append([boxes(multi.update(frame).values()) for frame in clip.frames[1:5]])
    np.testing.assert_array_equal(*found)
    twin = multi.tracker.twin()
    numbers = [number for session in sessions for _, number in session.captured]
    assert len(numbers) == len(set(numbers)) == 3  # for one target, for two, and of the twin, which follows one
    assert twin.state is None


def test_lanes_share_sessions_and_have_memory_of_their_own(tiny_bundle, sessions, clip, expected):
    tracker = Tracker(tiny_bundle, device="cuda")
    count = len(sessions)
    twin = tracker.twin()
    assert len(sessions) == count
    for one in (tracker, twin):
        one.init(clip.frames[0], clip.boxes[0])
    found = []
    for number in range(1, 6):
        tracker.update(clip.frames[15])
        found.append(twin.update(clip.frames[number]).box)
    assert found == expected


def test_thread_that_a_tracker_goes_on_in_is_warmed_up_once_and_finds_the_same(
    tiny_bundle, sessions, runtime, clip, expected
):
    tracker = Tracker(tiny_bundle, device="cuda")
    found = [result.box for result in track(tracker, clip.frames[:3], clip.boxes[0])]
    search = sessions[1]

    def rest():
        for frame in clip.frames[3:6]:
            runtime.calls.clear()
            found.append(tracker.update(frame).box)
        return runtime.calls.copy(), current_thread()

    calls, thread = in_new_thread(rest)
    assert found == expected
    assert calls == FRAME
    assert (search.plain[thread], search.captures(thread), search.replayed[thread]) == (PLAIN, 1, 3)


def test_new_target_in_another_thread_has_its_first_frame_replayed(tiny_bundle, sessions, runtime, clip, expected):
    tracker = Tracker(tiny_bundle, device="cuda")
    search = sessions[1]

    def follow():
        tracker.init(clip.frames[0], clip.boxes[0])
        warmed = search.plain[current_thread()], search.captures(current_thread())
        runtime.calls.clear()
        box = tracker.update(clip.frames[1]).box
        calls = runtime.calls.copy()
        found = [box, *(tracker.update(frame).box for frame in clip.frames[2:6])]
        return warmed, calls, found, search.plain[current_thread()]

    frame = [("beside", STREAM), *FRAME]  # the new target's kernels, and no more than in any other frame
    assert in_new_thread(follow) == ((PLAIN, 1), frame, expected, PLAIN)


def test_new_target_in_another_thread_warms_up_the_graphs_for_several_too(many_bundle, sessions, clip):
    multi = MultiTracker(many_bundle, device="cuda", together=True)
    for number in range(2):
        multi.add(clip.frames[0], clip.boxes[0] + (3 * number, 0, 0, 0))

    def follow():
        multi.add(clip.frames[0], clip.boxes[0] + (6, 0, 0, 0))
        warmed = [session.captures(current_thread()) for session in sessions]
        multi.update(clip.frames[1])
        return warmed, [session.captures(current_thread()) for session in sessions]

    warmed, after = in_new_thread(follow)
    assert warmed == after
    assert sum(warmed) == 2  # for one target and for two


def test_thread_that_gets_the_number_of_one_that_ended_is_warmed_up(tiny_bundle, sessions, clip):
    tracker = Tracker(tiny_bundle, device="cuda")

    def follow():
        tracker.init(clip.frames[0], clip.boxes[0])
        warmed = sessions[1].captures(current_thread())
        tracker.update(clip.frames[1])
        return get_ident(), warmed

    numbers, warmed = set(), []
    while len(numbers) == len(warmed) < 50:
        number, captures = in_new_thread(follow)
        numbers.add(number)
        warmed.append(captures)
    if len(numbers) == len(warmed):
        pytest.skip("no thread got another one's number")
    assert set(warmed) == {1}


def test_each_lane_is_warmed_up_in_each_thread(tiny_bundle, sessions, clip, expected):
    tracker = Tracker(tiny_bundle, device="cuda")
    twin = tracker.twin()

    def follow():
        found = [[result.box for result in track(one, clip.frames[:6], clip.boxes[0])] for one in (tracker, twin)]
        return found, sessions[1].captures(current_thread())

    for _ in range(2):
        assert in_new_thread(follow) == ([expected, expected], 2)


def test_thread_that_loaded_it_runs_nothing_more(tiny_bundle, sessions, clip):
    tracker = Tracker(tiny_bundle, device="cuda")
    search, here = sessions[1], current_thread()
    counts = [search.replayed[here]]
    for step in (tracker.init, tracker.init):
        step(clip.frames[0], clip.boxes[0])
        counts.append(search.replayed[here])
    for frame in clip.frames[1:3]:
        tracker.update(frame)
        counts.append(search.replayed[here])
    assert [after - before for before, after in pairwise(counts)] == [0, 0, 1, 1]
    assert (search.plain[here], search.captures(here)) == (PLAIN, 1)


def test_nothing_is_collected_while_it_captures(tiny_bundle, sessions, clip, monkeypatch):
    on = []
    monkeypatch.setattr(FakeCudaSession, "while_capturing", lambda session: on.append(gc.isenabled()))
    tracker = Tracker(tiny_bundle, device="cuda")
    tracker.init(clip.frames[0], clip.boxes[0])
    in_new_thread(lambda: tracker.update(clip.frames[1]))
    assert on == [False, False]
    assert gc.isenabled()


def test_what_is_captured_in_lanes_shared_stream_waits_for_their_frames(many_bundle, sessions, monkeypatch):
    tracker, free = Tracker(many_bundle, device="cuda"), []
    lock = tracker.backend._lock

    def is_free():
        taken = lock.acquire(blocking=False)
        if taken:
            lock.release()
        return taken

    monkeypatch.setattr(FakeCudaSession, "while_capturing", lambda session: free.append(in_new_thread(is_free)))
    tracker.twin()
    tracker.backend.prepare(2)
    assert free == [False, False]


def test_capture_that_another_thread_breaks_is_an_error_and_made_up_for(
    tiny_bundle, sessions, runtime, clip, expected, monkeypatch
):
    tracker = Tracker(tiny_bundle, device="cuda")
    tracker.init(clip.frames[0], clip.boxes[0])
    on = []

    def follow():
        with monkeypatch.context() as patch:
            patch.setattr(FakeCudaSession, "while_capturing", lambda session: in_new_thread(allocate))
            with pytest.raises(BackendError, match=r"running search.onnx: CUDA failure 901"):
                tracker.update(clip.frames[1])
        monkeypatch.setattr(FakeCudaSession, "while_capturing", lambda session: on.append(gc.isenabled()))
        tracker.init(clip.frames[0], clip.boxes[0])
        return [tracker.update(frame).box for frame in clip.frames[1:6]]

    def allocate():
        runtime.cudaMalloc(8)

    assert in_new_thread(follow) == expected
    assert on == [False]


def test_graph_that_can_not_be_captured_runs_without_and_says_so(
    tiny_bundle, sessions, clip, expected, caplog, monkeypatch
):
    monkeypatch.setattr(Setting, "refuses", True)
    found = track(Tracker(tiny_bundle, device="cuda"), clip.frames[:6], clip.boxes[0])
    assert [result.box for result in found] == expected
    lines = [record.getMessage() for record in caplog.records if "not been partitioned" in record.getMessage()]
    assert len(lines) == 2
    assert "template.onnx: all compute graph nodes have not been" in lines[0]
    assert lines[0].endswith("the CUDA EP; it runs with a part of it on the CPU")
    assert "search.onnx" in lines[1]
    assert lines[1].endswith("it runs without a CUDA graph, kernel by kernel")
    assert not any("\n" in line for line in lines)


def test_full_memory_is_told_and_nothing_tried_instead(tiny_bundle, sessions, monkeypatch):
    monkeypatch.setattr(Setting, "refuses", "full")
    with pytest.raises(BackendError, match=r"template.onnx: CUDA failure 2: out of memory ; GPU=0: its memory is full"):
        load_backend(Bundle(tiny_bundle), "onnxruntime", "cuda")
    assert sessions == []


def test_python_part_of_onnx_runtime_tries_no_cpu_and_tells_nothing_on_stdout(tiny_bundle, monkeypatch, capfd):
    tried = []

    def failing(session, providers, *rest):
        tried.append(providers)
        raise RuntimeError("CUDA failure 35: driver is too old")  # what it would catch and try again without

    monkeypatch.setattr(onnxruntime.InferenceSession, "_create_inference_session", failing)
    with pytest.raises(BundleError, match="CUDA failure 35"):
        load_backend(Bundle(tiny_bundle), "onnxruntime")
    assert len(tried) == 1
    assert capfd.readouterr().out == ""


def test_sessions_are_asked_for_our_stream_and_fp32_without_tf32(tiny_bundle, sessions):
    load_backend(Bundle(tiny_bundle), "onnxruntime", "cuda")
    template, search = (session.options for session in sessions)
    assert template == {"device_id": "0", "user_compute_stream": str(STREAM), "use_tf32": "0"}
    assert search == {**template, "enable_cuda_graph": "1"}


def test_silent_fall_back_to_the_cpu_is_an_error(silent, tiny_bundle):
    with pytest.raises(BackendError, match="could not be used"):
        load_backend(Bundle(tiny_bundle), "onnxruntime", "cuda")


def test_without_cuda_python_it_says_what_to_install(sessions, tiny_bundle, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, "CPUExecutionProvider"])
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    with pytest.raises(BackendError, match=r"needs cuda-python 12\.6 or newer: pip install"):
        load_backend(Bundle(tiny_bundle), "onnxruntime", "cuda")


def test_failure_while_it_runs_is_one_line(tiny_bundle, sessions, clip):
    tracker = Tracker(tiny_bundle, device="cuda")
    tracker.init(clip.frames[0], clip.boxes[0])

    def fails(binding, options):
        raise RuntimeError("CUBLAS failure 13\nmore")

    sessions[1].run_with_iobinding = fails
    with pytest.raises(BackendError, match=r"running search.onnx: CUBLAS failure 13$"):
        tracker.update(clip.frames[1])


def test_runtime_without_cuda_says_what_to_install(tiny_bundle):
    if CUDA in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    with pytest.raises(BackendError, match=r"pip install 'trk-engine\[gpu\]"):
        load_backend(Bundle(tiny_bundle), "onnxruntime", "cuda")


def test_onnx_runtime_has_the_call_that_loads_the_libraries_of_pip():
    assert callable(onnxruntime.preload_dlls)
