"""ONNX Runtime on CUDA where there is none: bound on the device, captured, never a CPU session in its place.

The provider is a stand-in over CPU sessions. Not executed on a GPU yet.
"""

import sys

import numpy as np
import onnxruntime
import pytest
from cuda_stand_in import FakeRuntime
from ort_stand_in import FakeCudaSession

from trk import BackendError, BundleError, MultiTracker, Tracker
from trk.engine.backends import load_backend, ort_cuda
from trk.engine.backends.cuda import Cuda
from trk.engine.bundle import Bundle

CUDA = "CUDAExecutionProvider"
WORK, COPY = 77, 78


@pytest.fixture
def runtime(monkeypatch):
    made = FakeRuntime()
    monkeypatch.setattr(ort_cuda, "Cuda", lambda: Cuda(made))
    return made


@pytest.fixture
def silent(monkeypatch, runtime):
    """An ONNX Runtime that lists CUDA and, as the real one without its libraries, gives CPU sessions without a word."""
    if CUDA in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    asked, real = [], onnxruntime.InferenceSession

    def session(model, options, providers, enable_fallback):
        asked.append(providers)
        # That CUDA can't be used shows as the CPU in its place; asked not to fall back, ONNX Runtime refuses that, too.
        if options.get_session_config_entry("session.disable_cpu_ep_fallback") == "1":
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "0")
        return real(model, options, providers=["CPUExecutionProvider"], enable_fallback=enable_fallback)

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, "CPUExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    return asked


@pytest.fixture
def sessions(monkeypatch, silent, runtime):
    """The same with a CUDA provider that works. Graphs can't be captured where `Setting` says so."""
    made = []
    plain = onnxruntime.InferenceSession

    def session(model, options, providers, enable_fallback):
        assert enable_fallback == 0
        ((name, settings),) = providers
        if name != CUDA:
            return plain(model, options, providers, enable_fallback)
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


def track(tracker, clip, frames=6):
    tracker.init(clip.frames[0], clip.boxes[0])
    return [tracker.update(frame).box for frame in clip.frames[1:frames]]


@pytest.fixture(scope="module")
def expected(whole_bundle, clip):
    """Boxes on the CPU: of the host's crops, and out of whole frames."""
    return [track(Tracker(whole_bundle, threads=1, whole_frame=whole), clip) for whole in (False, True)]


@pytest.mark.parametrize("whole", [False, True])
def test_a_frame_is_copies_a_replay_and_one_wait(whole_bundle, sessions, runtime, clip, expected, whole):
    tracker = Tracker(whole_bundle, device="cuda", whole_frame=whole)
    assert (tracker.backend.name, tracker.backend.device) == ("onnxruntime", "cuda")
    assert track(tracker, clip) == expected[whole]
    held = len(runtime.memory)
    runtime.calls.clear()
    tracker.update(clip.frames[6])
    frame = [("up", COPY), ("record", COPY), ("wait for event", WORK)] if whole else []
    assert runtime.calls == [*frame, ("up", WORK), ("launch", WORK), ("down", WORK), ("wait", WORK)]
    assert len(runtime.memory) == held


def test_on_a_gpu_whole_frames_are_taken_where_the_bundle_has_graphs(whole_bundle, tiny_bundle, sessions):
    assert Tracker(whole_bundle, device="cuda").whole is not None
    assert Tracker(whole_bundle, device="cuda", whole_frame=False).whole is None
    assert Tracker(tiny_bundle, device="cuda").whole is None


def test_next_frame_goes_up_while_this_one_is_searched(whole_bundle, sessions, runtime, clip, expected):
    tracker = Tracker(whole_bundle, device="cuda")
    tracker.init(clip.frames[0], clip.boxes[0])
    found = []
    for number in range(1, 6):
        runtime.calls.clear()
        tracker.prefetch(clip.frames[number + 1])
        found.append(tracker.update(clip.frames[number]).box)
    assert found == expected[1]
    names = [name for name, _ in runtime.calls]
    assert names.index("launch") < runtime.calls.index(("up", COPY)) < names.index("wait")


@pytest.mark.parametrize(("kept", "released"), [(4 << 20, 0), (1, 8)])
def test_every_set_of_addresses_is_a_graph_of_its_own(
    whole_bundle, sessions, runtime, clip, monkeypatch, kept, released
):
    monkeypatch.setattr("trk.engine.backends.slots.KEPT_BYTES", kept)
    wide = [np.pad(frame, ((0, 60), (0, 90), (0, 0))) for frame in clip.frames[:4]]
    sizes = [clip.frames[0], clip.frames[1], wide[2], wide[3], clip.frames[4]]
    found = []
    for device in ("cpu", "cuda"):
        multi = MultiTracker(whole_bundle, device=device, threads=1, together=True, whole_frame=True)
        x, y, w, h = clip.boxes[0]
        for number in range(3):
            multi.add(sizes[0], (x + 3 * number, y, w, h))
        found.append([[result.box for result in multi.update(frame).values()] for frame in sizes[1:]])
    assert found[0] == found[1]
    numbers = [number for session in sessions for number in session.captured]
    assert len(numbers) == len(set(numbers))
    # Where only one size is kept: both places and both forms of each size that went, twice.
    assert sum(len(session.released) for session in sessions) == released


def test_lanes_share_sessions_and_have_memory_of_their_own(whole_bundle, sessions, clip, expected):
    tracker = Tracker(whole_bundle, device="cuda")
    count = len(sessions)
    twin = tracker.twin()
    assert len(sessions) == count
    for one in (tracker, twin):
        one.init(clip.frames[0], clip.boxes[0])
    found = []
    for number in range(1, 6):
        tracker.update(clip.frames[15])
        found.append(twin.update(clip.frames[number]).box)
    assert found == expected[1]


def test_graph_that_can_not_be_captured_runs_without_and_says_so(tiny_bundle, sessions, clip, caplog, monkeypatch):
    monkeypatch.setattr(Setting, "refuses", True)
    tracker = Tracker(tiny_bundle, device="cuda")
    assert track(tracker, clip) == track(Tracker(tiny_bundle, threads=1), clip)
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
    assert template == {"device_id": "0", "user_compute_stream": str(WORK), "use_tf32": "0"}
    assert search == {**template, "enable_cuda_graph": "1"}


def test_silent_fall_back_to_the_cpu_is_an_error(silent, tiny_bundle):
    with pytest.raises(BackendError, match="could not be used"):
        load_backend(Bundle(tiny_bundle), "onnxruntime", "cuda")


def test_without_cuda_python_it_says_what_to_install(sessions, tiny_bundle, monkeypatch):
    monkeypatch.setattr(ort_cuda, "Cuda", Cuda)
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    with pytest.raises(BackendError, match="pip install cuda-python"):
        load_backend(Bundle(tiny_bundle), "onnxruntime", "cuda")


def test_failure_while_it_runs_is_one_line(tiny_bundle, sessions, clip, monkeypatch):
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


def test_kernels_of_two_templates_lie_apart(tiny_bundle):
    backend = load_backend(Bundle(tiny_bundle))
    params, size = np.array([0.97, 0.2, 0.3, 1.04], np.float32), np.ones((1, 2), np.float32)
    made = []
    for seed in range(2):
        backend.template_crop[:] = np.random.default_rng(seed).integers(0, 256, backend.template_crop.shape, np.uint8)
        made.append(backend.template(size, params)[0])
    first = made[0].numpy().copy()
    assert made[0].device_name() == "cpu"
    assert not np.array_equal(first, made[1].numpy())
    np.testing.assert_array_equal(made[0].numpy(), first)
