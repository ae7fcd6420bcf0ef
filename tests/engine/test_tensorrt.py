"""The TensorRT backend: its logic against stand-ins for TensorRT and CUDA; real builds are in test_trt_build.py."""

import gc
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from cuda_stand_in import FakeRuntime, fake_tensorrt

from trk import BackendError, Tracker
from trk.engine.backends import load_backend, trt_library
from trk.engine.backends.cuda import Cuda
from trk.engine.backends.onnxruntime import OnnxRuntimeBackend
from trk.engine.backends.plans import Key, find, keep, key_of, place, side_car
from trk.engine.backends.tensorrt import TensorRTBackend
from trk.engine.backends.trt_build import Options, build
from trk.engine.backends.trt_library import Library
from trk.engine.bundle import Bundle


@pytest.fixture
def runtime():
    return FakeRuntime()


def backend(bundle, runtime, version="11.4.0.106", lines=None, **options):
    library = Library("tensorrt", fake_tensorrt(runtime, version, **options))
    say = (lines if lines is not None else []).append
    return TensorRTBackend(Bundle(bundle), library, Cuda(runtime), say=say), library.module


def track(tracker, clip, frames=6):
    tracker.init(clip.frames[0], clip.boxes[0])
    return [tracker.update(frame).box for frame in clip.frames[1:frames]]


def test_it_tracks_as_onnx_runtime_does_one_launch_and_one_wait_a_frame(bundle_copy, runtime, clip, monkeypatch):
    ours, _ = backend(bundle_copy, runtime)
    tracker = Tracker(bundle_copy, threads=1)
    expected = track(tracker, clip)
    tracker.backend = ours
    tracker.init(clip.frames[0], clip.boxes[0])
    launched, waited, held = runtime.launched, runtime.waited, len(runtime.memory)
    assert [tracker.update(frame).box for frame in clip.frames[1:6]] == expected
    assert runtime.launched - launched == 5
    assert runtime.waited - waited == 5
    assert len(runtime.memory) == held  # nothing is allocated for a frame


def test_kernels_of_two_targets_in_turn_are_each_their_own(bundle_copy, runtime, clip):
    ours, _ = backend(bundle_copy, runtime)
    reference = OnnxRuntimeBackend(Bundle(bundle_copy), threads=1)
    random = np.random.default_rng(0)
    params = np.array([0.97, 0.2, 0.3, 1.04], np.float32)
    size = np.array([[60.0, 50.0]], np.float32)
    kernels = []
    for one in (ours, reference):
        random = np.random.default_rng(0)
        made = []
        for _ in range(2):
            one.template_crop[:] = random.integers(0, 256, one.template_crop.shape, np.uint8)
            made.append(one.template(size, params))
        one.search_crops[0][:] = random.integers(0, 256, one.search_crops[0].shape, np.uint8)
        kernels.append(made)
    for number in (0, 1, 0, 0, 1):
        found, expected = (
            one.search(0, made[number], size, params) for one, made in zip((ours, reference), kernels, strict=True)
        )
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_array_equal(a, b)


def test_kernels_are_mixed_and_pinned_memory_given_back(bundle_copy, runtime):
    ours, _ = backend(bundle_copy, runtime)
    params, size = np.array([0.97, 0.2, 0.3, 1.04], np.float32), np.ones((1, 2), np.float32)
    made = []
    for seed in range(2):
        ours.template_crop[:] = np.random.default_rng(seed).integers(0, 256, ours.template_crop.shape, np.uint8)
        made.append(ours.template(size, params))
    held = len(runtime.memory)
    mixed = ours.mix(*made, 0.25)
    assert len(runtime.memory) == held + 1

    def values(kernels):
        address, bytes_ = kernels.places["kernel_zf"]
        return runtime.memory[address][:bytes_].view(np.float32)

    np.testing.assert_allclose(values(mixed), 0.75 * values(made[0]) + 0.25 * values(made[1]), rtol=1e-5)


def test_several_targets_in_one_run_are_each_their_own(many_bundle, tmp_path, runtime):
    copied = Path(shutil.copytree(many_bundle, tmp_path / "many"))
    params, size = np.array([0.97, 0.2, 0.3, 1.04], np.float32), np.full((1, 2), 50, np.float32)
    found = []
    for one in (backend(copied, runtime)[0], OnnxRuntimeBackend(Bundle(copied), threads=1)):
        assert one.batches(0) == [4, 2]
        random, kernels = np.random.default_rng(0), []
        for _ in range(5):
            one.template_crop[:] = random.integers(0, 256, one.template_crop.shape, np.uint8)
            kernels.append(one.template(size, params))
        for chosen in ([0, 1], [0, 2], [4, 2, 3, 1], [1, 0]):
            crops = one.batch_crops(0, len(chosen))
            crops[:] = random.integers(0, 256, crops.shape, np.uint8)
            sizes = np.arange(2 * len(chosen), dtype=np.float32).reshape(-1, 2) + 40
            found.append([np.array(v) for v in one.search_batch(0, [kernels[at] for at in chosen], sizes, params)])
    for ours, expected in zip(found[:4], found[4:], strict=True):
        for a, b in zip(ours, expected, strict=True):
            np.testing.assert_array_equal(a, b)


def test_lane_has_buffers_of_its_own(bundle_copy, runtime):
    ours, _ = backend(bundle_copy, runtime)
    lane = ours.lane()
    lane.template_crop[:] = 5
    assert (ours.template_crop != 5).all()
    assert lane._cuda.stream != ours._cuda.stream


def test_device_memory_of_kernels_goes_with_them(bundle_copy, runtime):
    ours, _ = backend(bundle_copy, runtime)
    params, size = np.array([0.97, 0.2, 0.3, 1.04], np.float32), np.ones((1, 2), np.float32)
    ours.template(size, params)
    gc.collect()
    held = len(runtime.memory)
    for _ in range(5):
        ours.template(size, params)
    gc.collect()
    assert len(runtime.memory) == held


def test_memory_of_a_backend_goes_with_it_and_results_stay(bundle_copy, runtime):
    ours, _ = backend(bundle_copy, runtime)
    params, size = np.array([0.97, 0.2, 0.3, 1.04], np.float32), np.ones((1, 2), np.float32)
    held = len(runtime.memory)
    lane = ours.lane()
    found = lane.search(0, lane.template(size, params), size, params)
    del lane
    gc.collect()
    assert len(runtime.memory) == held + 1  # box, score and best, which somebody still looks at
    assert found.box.shape == (1, 4)
    del found, ours
    gc.collect()
    assert runtime.memory == {}


def test_plans_are_built_once_and_found_again(bundle_copy, runtime):
    lines = []
    _, module = backend(bundle_copy, runtime, lines=lines)
    assert len(module.built) == 2
    assert [line.split(":")[0] for line in lines] == [
        f"building the plan of {name} with TensorRT 11.4.0.106 for Stand-in GPU, compute capability 8.6"
        for name in ("template.onnx", "search.onnx")
    ]
    plans = sorted(path.name for path in (bundle_copy / "plans").iterdir())
    assert len([name for name in plans if name.endswith(".plan")]) == 2
    about = json.loads(next((bundle_copy / "plans").glob("search-*.json")).read_text())["key"]
    assert about["gpu"] == "Stand-in GPU, compute capability 8.6"
    assert about["version"] == "11.4.0.106"
    assert about["precision"] == "fp32"
    _, again = backend(bundle_copy, runtime, lines=lines)
    assert again.built == []
    assert len(lines) == 2
    Bundle(bundle_copy)  # plans are no part of what a bundle promises


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: {"version": "10.16.1.11"}, "version 11.4.0.106, not 10.16.1.11"),
        (lambda folder: next(folder.glob("search-*.plan")).write_bytes(b"x") and {}, "is damaged"),
        (lambda folder: side_car(next(folder.glob("search-*.plan"))).write_text("{}") and {}, "for something else"),
    ],
    ids=["another version", "damaged", "side-car without a key"],
)
def test_plan_that_is_of_no_use_is_built_again_and_told_why(bundle_copy, runtime, change, words):
    backend(bundle_copy, runtime)
    lines = []
    options = change(bundle_copy / "plans")
    _, module = backend(bundle_copy, runtime, lines=lines, **options)
    assert module.built
    assert any(words in line for line in lines)


@pytest.mark.parametrize(("capabilities", "built"), [("8.6", 0), ("7.5,8.6", 0), ("7.5,8.9", 2)])
def test_plan_of_rtx_that_names_this_gpu_serves(bundle_copy, runtime, capabilities, built):
    bundle = Bundle(bundle_copy)
    for graph in ("template.onnx", "search.onnx"):
        named = key_of(bundle, graph, "rtx", "1.7.1.116", f"compute capability {capabilities}", capabilities)
        keep(place(bundle), named, b"PLAN" + bundle.read(graph))
    library = Library("rtx", fake_tensorrt(runtime, "1.7.1.116"))
    assert TensorRTBackend(bundle, library, Cuda(runtime)).batches(0) == []
    assert len(library.module.built) == built


def test_timing_cache_is_kept_from_build_to_build(bundle_copy, runtime):
    _, module = backend(bundle_copy, runtime)
    (cache,) = (bundle_copy / "plans").glob("timing-*.cache")
    assert cache.read_bytes() == b"timed timed "
    assert [config.cache.data for _, config in module.built] == [b"", b"timed "]


def test_plans_of_a_file_lie_in_the_cache(tiny_trk, tmp_path, monkeypatch, bundle_copy):
    monkeypatch.setenv("TRK_CACHE", str(tmp_path / "cache"))
    assert place(Bundle(tiny_trk)) == tmp_path / "cache" / "plans"
    assert place(Bundle(bundle_copy)) == bundle_copy / "plans"


def key(**changes):
    return Key(
        **{
            "graph": "search.onnx",
            "precision": "fp32",
            **dict.fromkeys(("onnx_sha256", "runtime", "version", "gpu"), "x"),
            **changes,
        }
    )


def test_plans_of_other_gpus_stay_and_those_of_older_exports_go(tmp_path):
    for one in (key(), key(gpu="y"), key(version="2")):
        keep(tmp_path, one, b"plan")
    assert len(list(tmp_path.glob("*.plan"))) == 3
    fresh = key(onnx_sha256="b")
    assert find(tmp_path, fresh) == (None, "the plan of search.onnx there is of an older export of the bundle")
    keep(tmp_path, fresh, b"new")
    assert [path.read_bytes() for path in tmp_path.glob("*.plan")] == [b"new"]
    assert find(tmp_path, fresh) == (b"new", "")


def test_plan_under_a_name_that_is_not_its_own_is_not_used(tmp_path):
    path = keep(tmp_path, key(gpu="y"), b"plan")
    for file in (path, side_car(path)):
        file.rename(file.with_stem(key().name[: -len(".plan")]))
    assert find(tmp_path, key())[0] is None


@pytest.mark.parametrize(
    ("refuses", "words"),
    [
        ("parse", "can't read the search.onnx: operator Magic is unknown"),
        ("build", "can't build the search.onnx: Error Code 10: no tactic"),
    ],
)
def test_refusal_that_is_only_logged_becomes_an_error(tiny_bundle, runtime, refuses, words):
    library = Library("tensorrt", fake_tensorrt(runtime, refuses={refuses}))
    with pytest.raises(BackendError) as caught:
        build(library, b"", Options("fp32"), "search.onnx")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("refuses", "what"), [("builder", "builder"), ("runtime", "runtime")])
def test_library_that_gives_its_binding_nothing_is_told_with_the_reason(bundle_copy, runtime, refuses, what):
    with pytest.raises(BackendError, match=rf"can't start its {what} \(is there a GPU.*: CUDA initialization failure"):
        backend(bundle_copy, runtime, refuses={refuses})


def test_timing_cache_that_can_not_be_had_is_no_error(bundle_copy, runtime):
    backend(bundle_copy, runtime, refuses={"timings"})
    assert list((bundle_copy / "plans").glob("timing-*.cache")) == []
    assert len(list((bundle_copy / "plans").glob("*.plan"))) == 2


def test_plan_that_does_not_load_is_an_error(bundle_copy, runtime):
    with pytest.raises(BackendError, match=r"can't load the plan of template.onnx: Error Code 1"):
        backend(bundle_copy, runtime, refuses={"load"})


@pytest.mark.parametrize(
    ("version", "precision", "network", "set_flags", "cleared"),
    [
        ("8.6.1", "fp16", 1, ["FP16", "OBEY"], []),
        ("8.6.1", "fp32", 1, [], ["TF32"]),
        ("10.16.1.11", "fp16", 2, [], []),
        ("11.4.0.106", "fp32", 2, [], ["TF32"]),
    ],
)
def test_types_as_each_version_wants_to_be_told(runtime, version, precision, network, set_flags, cleared):
    module = fake_tensorrt(runtime, version)
    build(Library("tensorrt", module), b"", Options(precision))
    ((made, config),) = module.built
    assert made["flags"] == network
    assert (config.flags, config.cleared) == (set_flags, cleared)


def test_version_without_the_calls_by_name_is_refused(runtime):
    with pytest.raises(BackendError, match=r"TensorRT 8.2.1 is too old: trk needs 8.6"):
        Library("tensorrt", fake_tensorrt(runtime, "8.2.1"))


def test_compute_capability_is_for_rtx(runtime):
    with pytest.raises(BackendError, match="builds for the GPU it runs on"):
        build(Library("tensorrt", fake_tensorrt(runtime)), b"", Options("fp32", ("8.6",)))


def test_missing_library_says_what_to_install(tiny_bundle, monkeypatch):
    monkeypatch.setattr(trt_library, "MODULES", {"tensorrt": "no_such_tensorrt", "rtx": "no_such_rtx"})
    with pytest.raises(BackendError, match="TensorRT is not installed: pip install"):
        load_backend(Bundle(tiny_bundle), "tensorrt")


def test_tensorrt_on_the_cpu_is_refused(tiny_bundle):
    with pytest.raises(BackendError, match="cuda only"):
        load_backend(Bundle(tiny_bundle), "tensorrt", "cpu")
