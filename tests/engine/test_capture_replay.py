"""PyTorch's CUDA path on a CPU: a capture records the ATen operators, a replay runs them again into the same memory.

What a capture on a GPU forbids fails here, too: each such thing is planted once. Boxes are ONNX Runtime's on the CPU.
"""

import gc
import logging
from dataclasses import replace
from itertools import cycle

import numpy as np
import pytest
import torch
from cuda_stand_in import ByDlpack, FakeRuntime, OnGpu
from tiny import TINY, TINY_ANCHORS, TINY_POINTS, seeded
from torch_stand_in import torch_cuda
from trackers import boxes, changed, on_backend, track

from trk import BackendError, FrameError, MultiTracker, Tracker
from trk.engine.bundle import Bundle
from trk.engine.confidence import Calibration
from trk.engine.geometry import CropRule
from trk.engine.manifest import Weights
from trk.engine.onnx_to_torch import graph as torch_graph
from trk.engine.template_update import EVERY
from trk.export.bundle import export_bundle
from trk.models.registry import find
from trk.weights.shipped import default_bundle

PIXELS = 0.05
FRAMES = 7
KINDS = {
    "host": lambda runtime, frame: frame,
    "interface": OnGpu,
    "rows with gaps": lambda runtime, frame: OnGpu(runtime, frame, gap=37),
    "DLPack": ByDlpack,
}
SURE = Calibration(bias=5.0, score=0.0, recent=0.0, low=0.3, high=0.6)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Graphs this small are slower on more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def models(tiny_bundle, tmp_path_factory):
    """Return a bundle by what is particular to its family."""
    made, place = {"scales": tiny_bundle, "kernels": default_bundle()}, tmp_path_factory.mktemp("families")

    def bundle(name):
        rows = {"anchors": TINY_ANCHORS, "points": TINY_POINTS, "half": TINY}
        if name in rows:
            weights = Weights(origin="checkpoint", file="tiny", licence="none: random projections")
            precision = "fp16" if name == "half" else "fp32"
            export_bundle(rows[name], place / name, seeded(row=rows[name]), weights, precision=precision)
            changed(place / name, place / f"{name}.trk", calibration=SURE)
        else:
            rule = {
                "nested": CropRule(origin_rounding="half_even", pyramid="nested"),
                "affine": CropRule(centre_shift=-0.5, sampling="affine", fill_from="current", fill="round"),
            }[name]
            geometry = Bundle(tiny_bundle).manifest.geometry.model_copy(update={"crop": rule})
            changed(tiny_bundle, place / f"{name}.trk", geometry=geometry)
        return place / f"{name}.trk"

    def get(name):
        made[name] = made.get(name) or bundle(name)
        return made[name]

    return get


@pytest.fixture
def runtime():
    return FakeRuntime()


@pytest.fixture
def on_gpu(runtime, monkeypatch):
    """Make a tracker whose backend is PyTorch on a GPU that is none."""

    def make(bundle, cls=Tracker, compile_with=None, compiled=True, **options):
        backend = torch_cuda(Bundle(bundle), runtime, monkeypatch, compile_with, compiled=compiled)
        return on_backend(cls(bundle, threads=1, **options), backend)

    return make


@pytest.fixture(autouse=True)
def quiet(caplog, request):
    """Fail where a line is logged, but in tests that ask for `told`."""
    yield
    if "told" not in request.fixturenames:
        assert [
            record.getMessage() for when in ("setup", "call") for record in warnings(caplog.get_records(when))
        ] == []


@pytest.fixture
def told(caplog):
    return lambda: [record.getMessage() for record in warnings(caplog.records)]


def warnings(records):
    return [record for record in records if record.levelno >= logging.WARNING]


def matches(found, expected):
    np.testing.assert_allclose(boxes(found), boxes(expected), atol=PIXELS)


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        *(("scales", [kind]) for kind in KINDS),
        *((name, kinds) for name in ("anchors", "points") for kinds in (["host"], list(KINDS)[1:])),
        ("nested", ["host"]),
        ("affine", ["host"]),
        ("half", ["host"]),
        ("kernels", list(KINDS)),
    ],
    ids=lambda value: value if isinstance(value, str) else ", ".join(value),
)
def test_model_of_every_family_finds_what_onnx_runtime_finds(models, on_gpu, runtime, clip, name, kinds):
    bundle = models(name)
    options = {"template_rate": 0.5} if name in ("kernels", "half") else {}
    frames, kind = clip.frames[:FRAMES], cycle(kinds)
    judge = "torch" if name == "half" else "onnxruntime"  # which keeps FP32 between layers
    expected = track(Tracker(bundle, judge, threads=1, **options), frames, clip.boxes[0])
    tracker = on_gpu(bundle, **options)
    tracker.init(KINDS[next(kind)](runtime, frames[0]), clip.boxes[0])
    first, found = tracker.state.kernels, []
    for frame in frames[1:]:
        seen = KINDS[next(kind)](runtime, frame)
        launched = runtime.launched
        found.append(tracker.update(seen))
        assert runtime.launched - launched <= 1 + bool(options)
    matches(found, expected)
    assert (tracker.state.kernels is first) == (not options)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "variant"),
    [
        ("siamrpnpp", "alexnet"),
        ("siamrpnpp", "mobilenetv2"),
        ("siamrpn", None),
        ("dasiamrpn", None),
        ("siamfc", None),
        ("siamdw_fc", None),
        ("siamdw_rpn", None),
        ("sasiam", None),
        *(("nanotrack", f"v{version}") for version in (1, 2, 3)),
        ("matching", None),
    ],
)
@pytest.mark.parametrize("compiled", [True, False])
def test_published_networks_find_what_onnx_runtime_finds(model, variant, compiled, on_gpu, clip, tmp_path):
    export_bundle(find(model, variant), tmp_path / "bundle.trk")
    plain, tracker = Tracker(tmp_path / "bundle.trk", threads=1), on_gpu(tmp_path / "bundle.trk", compiled=compiled)
    for one in (plain, tracker):
        one.init(clip.frames[0], clip.boxes[0])
    for frame in clip.frames[1:4]:
        # From the same place each time: a network of random numbers looks somewhere else for a hair's breadth.
        tracker.state.target = replace(plain.state.target)
        matches([tracker.update(frame)], [plain.update(frame)])


@pytest.mark.parametrize("name", ["nested", "affine"])
def test_frame_on_the_gpu_is_refused_where_the_host_cuts_the_crops(models, on_gpu, runtime, clip, name):
    tracker = on_gpu(models(name))
    with pytest.raises(FrameError, match=r"crops of this model are cut by the host.*frame\.cpu\(\)\.numpy\(\)"):
        track(tracker, [OnGpu(runtime, frame) for frame in clip.frames[:2]], clip.boxes[0])


def test_template_follows_the_target_without_memory_of_its_own_each_time(tiny_bundle, on_gpu, runtime, clip, tmp_path):
    bundle = changed(tiny_bundle, tmp_path / "sure.trk", calibration=SURE)
    frames, box = clip.frames[: 3 * EVERY + 1], clip.boxes[0]
    expected = track(Tracker(bundle, threads=1, template_rate=0.5), frames, box)
    tracker = on_gpu(bundle, template_rate=0.5)
    found = track(tracker, frames[: 2 * EVERY + 1], box)  # two templates mixed: as many as there ever are at a time
    made = runtime.made.copy()
    found += [tracker.update(frame) for frame in frames[2 * EVERY + 1 :]]
    matches(found, expected)
    assert (runtime.made - made)["cudaMemcpyAsync"] > 0
    assert not {"cudaMalloc", "cudaFree", "cudaHostAlloc", "cudaFreeHost"} & set(runtime.made - made)
    fixed = track(Tracker(bundle, threads=1), frames, box)
    assert [result.score for result in found] != pytest.approx([result.score for result in fixed], rel=1e-3)


def test_targets_of_one_frame_and_of_several_are_one_launch(many_bundle, on_gpu, runtime, clip):
    plain = MultiTracker(many_bundle, threads=1, together=True)
    multi = on_gpu(many_bundle, MultiTracker, together=True)
    x, y, w, h = clip.boxes[0]
    for number in range(4):
        for one in (plain, multi):
            one.add(clip.frames[0], (x + 3 * number, y, w, h))
    for number in range(1, 5):
        frame = clip.frames[number]
        part = frame[: 200 - 9 * number, 10 : 250 + 5 * number]
        here = dict(enumerate((frame, part, clip.frames[number - 1], frame), start=1))
        there = {**here, 3: OnGpu(runtime, here[3], gap=5)}
        for each in (dict.fromkeys(here, frame), here):
            launched = runtime.launched
            found = multi.update_each(each if each is not here else there)
            assert runtime.launched - launched == 1
            matches(found.values(), plain.update_each(each).values())


def test_one_capture_serves_frames_of_every_size_and_however_they_lie(tiny_bundle, on_gpu, runtime, clip):
    frames = [
        np.pad(frame, ((0, 40 * number), (0, 30 * number), (0, 0)))[:, ::-1][:, ::-1]
        for number, frame in enumerate(clip.frames[:FRAMES])
    ]
    tracker = on_gpu(tiny_bundle)
    captured = runtime.instantiated
    matches(track(tracker, frames, clip.boxes[0]), track(Tracker(tiny_bundle, threads=1), frames, clip.boxes[0]))
    assert runtime.instantiated == captured


@pytest.mark.parametrize(
    ("capacity", "box"),
    [(10_000, (90, 70, 48, 48)), (3 << 20, (60, 40, 240, 240))],
    ids=["windows larger than the memory for them", "squares so large that the host cuts them"],
)
def test_window_of_any_size_is_searched(tiny_bundle, on_gpu, runtime, clip, monkeypatch, capacity, box):
    monkeypatch.setattr("trk.engine.backends.device.crops.CAPACITY", capacity)
    frames = [np.pad(frame, ((0, 300), (0, 300), (0, 0)), "reflect") for frame in clip.frames[:FRAMES]]
    tracker = on_gpu(tiny_bundle)
    captured = runtime.instantiated
    matches(track(tracker, frames, box), track(Tracker(tiny_bundle, threads=1), frames, box))
    assert runtime.instantiated == captured


def test_lanes_share_weights_and_kernels_and_run_in_streams_of_their_own(tiny_bundle, on_gpu, runtime, clip):
    expected = track(Tracker(tiny_bundle, threads=1), clip.frames[:FRAMES], clip.boxes[0])
    tracker = on_gpu(tiny_bundle)
    tracker.init(clip.frames[0], clip.boxes[0])
    twin = tracker.twin()
    twin.state = tracker.state.copy()
    assert twin.backend._cuda.stream != tracker.backend._cuda.stream
    found = []
    for number in range(1, FRAMES):
        found.append(twin.update(clip.frames[number]))
        tracker.update(clip.frames[15])
    matches(found, expected)


@pytest.fixture
def plant(monkeypatch):
    """Let something happen in every run of a network, before its first operator."""

    def planted(fault):
        plain = torch_graph.torch_graph

        def graph(*arguments, **options):
            module = plain(*arguments, **options)
            return lambda *inputs: (fault(*inputs), module(*inputs))[1]

        monkeypatch.setattr(torch_graph, "torch_graph", graph)

    return planted


FORBIDDEN = {
    "a value is read": lambda runtime, crop: crop.sum().item(),
    "a shape depends on values": lambda runtime, crop: crop.nonzero(),
    "a number comes from the host": lambda runtime, crop: torch.tensor([1.0]),
    "memory is allocated": lambda runtime, crop: runtime.cudaMalloc(10),
    "memory is freed": lambda runtime, crop: runtime.cudaFree(next(iter(runtime.memory))),
    "the GPU is waited for": lambda runtime, crop: runtime.cudaStreamSynchronize(77),
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_what_a_capture_forbids_breaks_it_and_operators_run_one_by_one(
    what, tiny_bundle, on_gpu, runtime, plant, told, clip
):
    frames, box = clip.frames[:3], clip.boxes[0]
    plant(lambda crop, *others: FORBIDDEN[what](runtime, crop) if runtime.recording is not None else None)
    tracker = on_gpu(tiny_bundle)
    for line, graph in zip(told(), ("template.onnx", "search.onnx"), strict=True):
        assert line.startswith(f"{graph} can't be captured as a CUDA graph and runs kernel by kernel: PyTorch failed ")
        assert "CUDA error: " in line
        assert "\n" not in line
    matches(track(tracker, frames, box), track(Tracker(tiny_bundle, threads=1), frames, box))
    assert runtime.launched == 0


def test_writing_outside_inference_mode_what_was_made_inside_fails(tiny_bundle, on_gpu, plant):
    with torch.inference_mode():
        kept = torch.zeros(1)

    def write(*inputs):
        with torch.inference_mode(False):
            kept.fill_(1)

    plant(write)
    with pytest.raises(BackendError, match=r"running template.onnx: Inplace update to inference tensor outside"):
        on_gpu(tiny_bundle)


def test_index_out_of_range_in_a_warm_up_fails(tiny_bundle, on_gpu, plant):
    plant(lambda crop, *others: crop.index_select(0, crop.reshape(-1)[:1].long() - 1))  # of zeros: -1
    with pytest.raises(IndexError, match="out of range"):  # on a GPU an assertion, which PyTorch tells
        on_gpu(tiny_bundle)


class Ring:
    """Pinned memory that only the collector finds."""

    def __init__(self, cuda):
        self.memory, self.me = cuda.pinned(10), self


def test_collector_frees_nothing_while_work_is_captured(tiny_bundle, on_gpu, runtime, plant):
    cuda, thresholds = runtime.cuda, gc.get_threshold()

    def litter(*inputs):
        if runtime.recording is None:
            gc.set_threshold(100_000)
            Ring(cuda)
        else:
            gc.set_threshold(1)
            assert [[] for _ in range(100)]

    plant(litter)
    try:
        on_gpu(tiny_bundle)  # without a line: nothing broke
    finally:
        gc.set_threshold(*thresholds)
    assert gc.isenabled()


@pytest.fixture(params=["allow_tf32", "fp32_precision"])
def tf32(request):
    """TF32 in products, switched on by the caller, by the older or the newer of PyTorch's names."""
    matmul, name = torch.backends.cuda.matmul, request.param
    before = getattr(matmul, name)
    setattr(matmul, name, {"allow_tf32": True, "fp32_precision": "tf32"}[name])
    yield lambda: (torch.backends.cudnn.allow_tf32, matmul.fp32_precision == "tf32")
    setattr(matmul, name, before)


@pytest.mark.parametrize("breaks", [False, True], ids=["captured", "one by one"])
def test_fp32_is_not_tf32_in_any_run_and_the_callers_settings_are_left(
    breaks, tf32, tiny_bundle, on_gpu, runtime, plant, told, clip
):
    seen = []

    def look(crop, *others):
        seen.append(tf32())
        if breaks and runtime.recording is not None:
            crop.sum().item()

    plant(look)
    track(on_gpu(tiny_bundle), clip.frames[:3], clip.boxes[0])
    assert len(told()) == (2 if breaks else 0)
    assert len(seen) > 6
    assert set(seen) == {(False, False)}
    assert tf32() == (True, True)


def test_where_compiling_fails_operators_run_one_by_one_and_a_line_says_so(tiny_bundle, on_gpu, told, clip):
    frames, box = clip.frames[:3], clip.boxes[0]
    tracker = on_gpu(tiny_bundle, compile_with=RuntimeError("no C compiler\nand more"))
    matches(track(tracker, frames, box), track(Tracker(tiny_bundle, threads=1), frames, box))
    assert told() == ["torch.compile failed, operators run one by one: no C compiler"]


def test_full_memory_is_told_and_nothing_tried_instead(tiny_bundle, on_gpu, told):
    with pytest.raises(BackendError, match=r"running search.onnx: CUDA out of memory.*: its memory is full: take a"):
        on_gpu(tiny_bundle, compile_with=torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nmore"))
    assert told() == []


@pytest.mark.parametrize("name", ["scales", "anchors", "points", "kernels"])
@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("eager", marks=pytest.mark.slow)])
def test_search_graphs_are_compiled_whole(models, on_gpu, clip, name, backend):
    bundle, frames, box = models(name), clip.frames[:3], clip.boxes[0]
    tracker = on_gpu(bundle, compile_with=backend)
    assert tracker.backend.fake.compiled == len(tracker.manifest.searches)
    matches(track(tracker, frames, box), track(Tracker(bundle, threads=1), frames, box))


def test_compiling_may_be_left_out(tiny_bundle, on_gpu):
    assert on_gpu(tiny_bundle, compiled=False).backend.fake.compiled == 0


def test_gpu_that_is_not_there_is_told(tiny_bundle):
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(BackendError, match="this PyTorch sees no GPU: install a driver and a CUDA build of PyTorch"):
        Tracker(tiny_bundle, "torch", "cuda")
