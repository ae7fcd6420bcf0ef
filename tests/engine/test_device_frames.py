"""Whole frames on a GPU: what is launched, copied and waited for, against stand-ins; frames that already lie there."""

import ctypes
import gc
from types import SimpleNamespace

import numpy as np
import pytest
from cuda_stand_in import FakeRuntime, fake_tensorrt

from trk import BackendError, FrameError, MultiTracker, Tracker
from trk.engine.backends.cuda import Cuda
from trk.engine.backends.plans import frame_graphs
from trk.engine.backends.tensorrt import TensorRTBackend
from trk.engine.backends.trt_build import FRAME_PIXELS, Options, build
from trk.engine.backends.trt_library import Library
from trk.engine.bundle import Bundle
from trk.engine.device_frame import DeviceFrame, as_frame
from trk.errors import TrkError

WORK, COPY = 77, 78
"""Streams of a backend on the stand-in: the first is that of the work, the second that of frames."""


@pytest.fixture(autouse=True)
def plans_elsewhere(monkeypatch, tmp_path_factory):
    monkeypatch.setattr("trk.engine.backends.trt_plans.place", lambda bundle: tmp_path_factory.mktemp("plans"))


@pytest.fixture
def runtime():
    return FakeRuntime()


def on_gpu(bundle, runtime, cls=Tracker, refuses=None, **options):
    """A tracker whose backend is TensorRT on the stand-ins."""
    tracker = cls(bundle, threads=1, **options)
    library = Library("tensorrt", fake_tensorrt(runtime, refuses=refuses))
    backend = TensorRTBackend(Bundle(bundle), library, Cuda(runtime), frames=True)
    (tracker.tracker if cls is MultiTracker else tracker).backend = backend
    return tracker


def track(tracker, frames, box):
    tracker.init(frames[0], box)
    return [tracker.update(frame).box for frame in frames[1:]]


@pytest.fixture(scope="module")
def expected(whole_bundle, clip):
    """Boxes in ONNX Runtime on the CPU, out of whole frames: the stand-in runs the same graph."""
    return track(Tracker(whole_bundle, threads=1, whole_frame=True), clip.frames[:6], clip.boxes[0])


def test_one_copy_one_launch_and_one_wait_a_frame(whole_bundle, runtime, clip, expected):
    tracker = on_gpu(whole_bundle, runtime)
    tracker.init(clip.frames[0], clip.boxes[0])
    launched, waited, held = runtime.launched, runtime.waited, len(runtime.memory)
    assert [tracker.update(frame).box for frame in clip.frames[1:6]] == expected
    assert runtime.launched - launched == 5
    assert runtime.waited - waited == 5
    assert len(runtime.memory) == held  # nothing is allocated for a frame
    runtime.calls.clear()
    tracker.update(clip.frames[6])
    assert runtime.calls == [
        ("up", COPY),
        ("record", COPY),
        ("wait for event", WORK),
        ("launch", WORK),
        ("wait", WORK),
    ]


def test_init_makes_all_ready_that_a_frame_needs(whole_bundle, runtime, clip):
    tracker = on_gpu(whole_bundle, runtime)
    tracker.init(clip.frames[0], clip.boxes[0])
    runtime.calls.clear()
    costs = []
    for frame in clip.frames[1:3]:
        tracker.update(frame)
        costs.append([call for call in runtime.calls if call != ("beside", WORK)])  # the template's kernels, once
        runtime.calls.clear()
    assert costs[0] == costs[1]


def test_next_frame_goes_up_while_this_one_is_searched(whole_bundle, runtime, clip, expected):
    tracker = on_gpu(whole_bundle, runtime)
    tracker.init(clip.frames[0], clip.boxes[0])
    found = []
    for number in range(1, 6):
        runtime.calls.clear()
        tracker.prefetch(clip.frames[number + 1])
        found.append(tracker.update(clip.frames[number]).box)
    assert found == expected
    # Nothing is copied before the launch: the frame was there. The next one goes up between launch and wait.
    assert runtime.calls == [
        ("wait for event", WORK),
        ("launch", WORK),
        ("up", COPY),
        ("record", COPY),
        ("wait", WORK),
    ]


def test_frame_that_was_named_and_did_not_come_changes_nothing(whole_bundle, runtime, clip, expected):
    tracker = on_gpu(whole_bundle, runtime)
    tracker.init(clip.frames[0], clip.boxes[0])
    found = []
    for number in range(1, 6):
        tracker.prefetch(clip.frames[15])
        found.append(tracker.update(clip.frames[number]).box)
    assert found == expected


def test_picture_that_the_caller_writes_over_is_not_the_one_on_its_way(whole_bundle, runtime, clip, expected):
    tracker = on_gpu(whole_bundle, runtime)
    shared = clip.frames[0].copy()
    tracker.init(shared, clip.boxes[0])
    for frame, box in zip(clip.frames[1:6], expected, strict=True):
        shared[:] = frame
        assert tracker.update(shared).box == box


@pytest.fixture
def sizes(clip):
    """Frames of two sizes in turn."""
    wide = [np.pad(frame, ((0, 60), (0, 90), (0, 0))) for frame in clip.frames[:9]]
    return [(wide if number % 3 else clip.frames)[number] for number in range(9)]


def run(tracker, frames, found):
    for number, frame in enumerate(frames):
        if number + 1 < len(frames):
            tracker.prefetch(frames[number + 1])
        found.append(tracker.update(frame).box)


def test_every_size_of_frame_is_captured_once_and_serves_whenever_it_comes_again(whole_bundle, runtime, clip, sizes):
    tracker, plain = on_gpu(whole_bundle, runtime), Tracker(whole_bundle, threads=1, whole_frame=True)
    want, found = track(plain, sizes, clip.boxes[0]), []
    tracker.init(sizes[0], clip.boxes[0])
    run(tracker, sizes[1:4], found)
    held, captured, launched = len(runtime.memory), len(runtime.configs), runtime.launched
    run(tracker, sizes[4:], found)
    assert found == want
    assert (len(runtime.memory), len(runtime.configs)) == (held, captured)
    assert runtime.launched - launched == 5
    assert runtime.dropped == []


def test_a_tracker_that_goes_gives_all_back(whole_bundle, runtime, clip, sizes):
    tracker = on_gpu(whole_bundle, runtime)
    tracker.init(sizes[0], clip.boxes[0])
    run(tracker, sizes[1:4], [])
    assert runtime.memory
    assert runtime.instantiated
    assert runtime.dropped == runtime.ended == []
    del tracker
    gc.collect()
    assert runtime.memory == runtime.events == {}
    assert len(runtime.dropped) == runtime.instantiated
    assert sorted(runtime.ended) == [77 + number for number in range(runtime.streams)]


def test_places_of_the_size_that_came_longest_ago_go_where_they_are_too_many(
    whole_bundle, runtime, clip, sizes, monkeypatch
):
    monkeypatch.setattr("trk.engine.backends.slots.KEPT_BYTES", 2 * sizes[1].nbytes)
    tracker, plain = on_gpu(whole_bundle, runtime), Tracker(whole_bundle, threads=1, whole_frame=True)
    want, found = track(plain, sizes, clip.boxes[0]), []
    tracker.init(sizes[0], clip.boxes[0])
    held = len(runtime.memory)
    run(tracker, sizes[1:], found)
    assert found == want
    assert len(runtime.memory) == held
    assert len(runtime.events) == 2
    assert len(runtime.dropped) == 2 * 5  # two captures of each size but the last, whenever it changed


def test_several_targets_are_one_launch(whole_bundle, runtime, clip):
    found = []
    for multi in (
        MultiTracker(whole_bundle, threads=1, together=True, whole_frame=True),
        on_gpu(whole_bundle, runtime, MultiTracker, together=True),
    ):
        x, y, w, h = clip.boxes[0]
        for number in range(2):
            multi.add(clip.frames[0], (x + 3 * number, y, w, h))
        found.append([[result.box for result in multi.update(frame).values()] for frame in clip.frames[1:4]])
    assert found[0] == found[1]
    launched, waited = runtime.launched, runtime.waited
    multi.update(clip.frames[4])
    assert (runtime.launched - launched, runtime.waited - waited) == (1, 1)


def test_lane_takes_frames_of_its_own(whole_bundle, runtime, clip, expected):
    tracker = on_gpu(whole_bundle, runtime)
    twin = tracker.twin()
    for one in (tracker, twin):
        one.init(clip.frames[0], clip.boxes[0])
    found = []
    for number in range(1, 6):
        tracker.update(clip.frames[15])
        found.append(twin.update(clip.frames[number]).box)
    assert found == expected


class OnGpu:
    """A frame on the stand-in's GPU: what PyTorch, CuPy and PyCUDA have in common."""

    def __init__(self, runtime, frame, **changes):
        _, self.address = runtime.cudaMalloc(max(frame.nbytes, 1))
        ctypes.memmove(self.address, np.ascontiguousarray(frame).ctypes.data, frame.nbytes)
        described = {"shape": frame.shape, "typestr": "|u1", "data": (self.address, False), "version": 3}
        self.__cuda_array_interface__ = {**described, "strides": None, "stream": None, **changes}


class ByDlpack:
    """The same in DLPack, as PyNvVideoCodec has it."""

    def __init__(self, runtime, frame, kind=2, device=0, strides=None, code=1, bits=8):
        self.held = OnGpu(runtime, frame)
        self.kind, self.device, self.asked = kind, device, []
        shape = (ctypes.c_int64 * frame.ndim)(*frame.shape)
        steps = (ctypes.c_int64 * frame.ndim)(*strides) if strides else None
        head = np.zeros(48, np.uint8)
        head[:8].view(np.uint64)[0] = self.held.address
        head[8:20].view(np.int32)[:] = kind, device, frame.ndim
        head[20:22] = code, bits
        head[22:24].view(np.uint16)[0] = 1
        head[24:32].view(np.uint64)[0] = ctypes.addressof(shape)
        head[32:40].view(np.uint64)[0] = ctypes.addressof(steps) if steps is not None else 0
        self.parts = (shape, steps, head)

    def __dlpack_device__(self):
        return self.kind, self.device

    def __dlpack__(self, stream=None):
        self.asked.append(stream)
        new = ctypes.pythonapi.PyCapsule_New
        new.restype, new.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
        return new(self.parts[2].ctypes.data, b"dltensor", None)


@pytest.mark.parametrize("kind", [OnGpu, ByDlpack])
def test_frames_that_lie_on_the_gpu_are_tracked_without_coming_down(whole_bundle, runtime, clip, expected, kind):
    tracker = on_gpu(whole_bundle, runtime)
    tracker.init(kind(runtime, clip.frames[0]), clip.boxes[0])
    runtime.calls.clear()
    assert [tracker.update(kind(runtime, frame)).box for frame in clip.frames[1:6]] == expected
    assert {stream for name, stream in runtime.calls if name in ("up", "down")} <= {WORK}
    assert ("beside", COPY) in runtime.calls


def test_frame_on_the_gpu_may_be_named_before(whole_bundle, runtime, clip, expected):
    tracker = on_gpu(whole_bundle, runtime)
    frames = [OnGpu(runtime, frame) for frame in clip.frames[:7]]
    tracker.init(frames[0], clip.boxes[0])
    found = []
    for number in range(1, 6):
        tracker.prefetch(frames[number + 1])
        found.append(tracker.update(frames[number]).box)
    assert found == expected


def test_what_makes_a_frame_is_waited_for(whole_bundle, runtime, clip):
    tracker = on_gpu(whole_bundle, runtime)
    tracker.init(clip.frames[0], clip.boxes[0])
    late = OnGpu(runtime, np.zeros_like(clip.frames[1]), stream=500)
    right = np.ascontiguousarray(clip.frames[1])
    runtime.put(lambda: ctypes.memmove(late.address, right.ctypes.data, right.nbytes), 500)
    plain = Tracker(whole_bundle, threads=1, whole_frame=True)
    plain.init(clip.frames[0], clip.boxes[0])
    assert tracker.update(late).box == plain.update(clip.frames[1]).box


def test_dlpack_is_asked_for_the_stream_that_frames_are_copied_in(whole_bundle, runtime, clip):
    tracker = on_gpu(whole_bundle, runtime)
    frame = ByDlpack(runtime, clip.frames[0])
    tracker.init(frame, clip.boxes[0])
    assert frame.asked == [COPY]


def test_maker_that_says_nothing_of_streams_used_the_default_one():
    described = {"shape": (4, 5, 3), "typestr": "|u1", "data": (4096, False), "version": 2}
    frame = as_frame(SimpleNamespace(__cuda_array_interface__=described), "cuda")
    assert (frame.address, frame.shape, frame.stream, frame.nbytes) == (4096, (4, 5, 3), 1, 60)


PIXELS = np.zeros((40, 50, 3), np.uint8)
WRONG = {
    "planes first": (lambda r: OnGpu(r, np.zeros((3, 40, 50), np.uint8)), r"permute\(1, 2, 0\)"),
    "grey": (lambda r: OnGpu(r, PIXELS[..., 0]), r"uint8 \[H, W, 3\] in BGR order, not \[40, 50\]"),
    "floats": (lambda r: OnGpu(r, PIXELS, typestr="<f4"), "not <f4: scale it"),
    "rows with gaps": (lambda r: OnGpu(r, PIXELS, strides=(256, 3, 1)), "has to be contiguous"),
    "rows with gaps, DLPack": (lambda r: ByDlpack(r, PIXELS, strides=(160, 3, 1)), "has to be contiguous"),
    "signed": (lambda r: ByDlpack(r, PIXELS, code=0), "not DLPack type"),
    "another GPU": (lambda r: ByDlpack(r, PIXELS, device=1), "lies on GPU 1 and the backend runs on GPU 0"),
    "nothing in it": (lambda r: OnGpu(r, PIXELS[:0]), "1 to 32767 pixels a side"),
    "the host's, DLPack": (lambda r: ByDlpack(r, PIXELS, kind=1), "a frame is a NumPy array"),
}


@pytest.mark.parametrize("name", WRONG)
def test_frame_that_is_wrong_on_the_gpu_is_told_in_one_line(whole_bundle, runtime, clip, name):
    make, words = WRONG[name]
    tracker = on_gpu(whole_bundle, runtime)
    tracker.init(clip.frames[0], clip.boxes[0])
    for call in (tracker.update, tracker.prefetch):
        with pytest.raises(FrameError, match=words) as caught:
            call(make(runtime))
        assert "\n" not in str(caught.value)
    assert tracker.state.target.frame_index == 0


@pytest.mark.parametrize("whole", [True, False])
def test_frame_on_the_gpu_for_a_backend_on_the_cpu_is_told(whole_bundle, runtime, clip, whole):
    tracker = Tracker(whole_bundle, threads=1, whole_frame=whole)
    multi = MultiTracker(tracker)
    multi.add(clip.frames[0], clip.boxes[0])
    for call in (lambda frame: tracker.init(frame, (1, 2, 3, 4)), multi.update):
        with pytest.raises(FrameError, match=r"runs on the cpu: choose device cuda.*\.cpu\(\)\.numpy\(\)"):
            call(OnGpu(runtime, clip.frames[0]))


def test_frame_on_the_gpu_for_a_bundle_whose_crops_the_host_cuts_is_told(tiny_bundle, runtime, clip, monkeypatch):
    tracker = Tracker(tiny_bundle, threads=1)
    tracker.backend.device = "cuda"
    with pytest.raises(FrameError, match="trk-export --whole-frame"):
        tracker.init(OnGpu(runtime, clip.frames[0]), clip.boxes[0])


def test_memory_that_is_full_and_frames_that_are_too_large_are_told(whole_bundle, runtime, clip):
    refuses = set()
    tracker = on_gpu(whole_bundle, runtime, refuses=refuses)
    tracker.init(clip.frames[0], clip.boxes[0])
    wide = np.pad(clip.frames[1], ((0, 8), (0, 8), (0, 0)))
    refuses.add("shape")
    with pytest.raises(BackendError, match=r"can't take a frame of \d+ pixels"):
        tracker.update(wide)
    refuses.clear()
    runtime.fails = {"cudaHostAlloc": "cudaErrorMemoryAllocation"}
    with pytest.raises(BackendError, match="memory is full"):
        tracker.update(np.pad(wide, ((0, 8), (0, 8), (0, 0))))
    runtime.fails = {}
    tracker.update(wide)  # and goes on


@pytest.mark.parametrize("call", ["cudaMemcpyAsync", "cudaEventRecord", "cudaStreamWaitEvent", "cudaGraphLaunch"])
def test_call_that_fails_on_the_way_is_one_line(whole_bundle, runtime, clip, call):
    tracker = on_gpu(whole_bundle, runtime)
    tracker.init(clip.frames[0], clip.boxes[0])
    runtime.fails = {call: "cudaErrorUnknown"}
    with pytest.raises(TrkError, match="cudaErrorUnknown") as caught:
        tracker.update(clip.frames[1])
    assert "\n" not in str(caught.value)


def test_rtx_compiles_for_a_size_of_frame_before_it_is_captured(whole_bundle, runtime, clip, expected):
    module = fake_tensorrt(runtime, "1.7.1.116")
    module.DynamicShapesKernelSpecializationStrategy = SimpleNamespace(EAGER="eager")
    tracker = Tracker(whole_bundle, threads=1)
    tracker.backend = TensorRTBackend(Bundle(whole_bundle), Library("rtx", module), Cuda(runtime), frames=True)
    assert track(tracker, clip.frames[:6], clip.boxes[0]) == expected
    told = [getattr(config, "dynamic_shapes_kernel_specialization_strategy", None) for config in runtime.configs]
    assert told == [None] * 3 + ["eager"]  # template, search, search of two; that of whole frames of this size


@pytest.mark.parametrize(
    ("refuses", "words"),
    [
        ("network", "make a network"),
        ("config", "make a builder configuration"),
        ("profile", "make a profile of its inputs"),
        ("context", "make a context of template.onnx"),
        ("address", "bind crop"),
        ("run", "run template.onnx"),
    ],
)
def test_call_that_gives_nothing_is_told_by_its_name(whole_bundle, runtime, refuses, words):
    with pytest.raises(BackendError, match=rf"^TensorRT 11.4.0.106 can't {words}: it gave no reason$"):
        on_gpu(whole_bundle, runtime, refuses={refuses})


def test_rtx_has_the_names_that_its_contexts_are_made_with():
    rtx = pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed (pip install tensorrt-rtx-cu13)")
    assert hasattr(rtx.DynamicShapesKernelSpecializationStrategy, "EAGER")
    assert hasattr(rtx.IRuntimeConfig, "dynamic_shapes_kernel_specialization_strategy")
    assert hasattr(rtx.ICudaEngine, "create_runtime_config")


def test_frame_beyond_the_plans_largest_says_who_can_cut_it(whole_bundle, runtime, clip, monkeypatch):
    tracker = on_gpu(whole_bundle, runtime)
    monkeypatch.setattr("trk.engine.backends.tensorrt.FRAME_PIXELS", (1, 2, 320 * 240 - 1))
    with pytest.raises(BackendError, match=r"76800 pixels is larger than the plan takes, 76799 .*--host-crop"):
        tracker.init(clip.frames[0], clip.boxes[0])


def test_plans_for_frames_are_built_for_any_size_up_to_8k(whole_bundle, runtime):
    bundle = Bundle(whole_bundle)
    module = fake_tensorrt(runtime)
    graph = bundle.manifest.searches[0].frame
    external = {name: bundle.read(name) for name in graph.external}
    build(Library("tensorrt", module), bundle.read(graph.file), Options("fp32"), graph.file, external)
    ((_, config),) = module.built
    (profile,) = config.profiles
    assert profile.shapes == {"frame": tuple((pixels, 3) for pixels in FRAME_PIXELS)}
    assert FRAME_PIXELS[-1] == 7680 * 4320


def test_graphs_for_frames_are_loaded_only_where_they_are_wanted(whole_bundle):
    manifest = Bundle(whole_bundle).manifest
    assert frame_graphs(manifest, False) == {}
    assert sorted(frame_graphs(manifest, True)) == [(0, 1), (0, 2)]


def test_what_is_checked_already_is_taken_as_it_is():
    frame = DeviceFrame(4096, (2, 2, 3), None)
    assert as_frame(frame, "cuda") is frame
