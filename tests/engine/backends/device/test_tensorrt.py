"""TensorRT on stand-ins: plans built once and found again, and every way to fail. Real builds: plans/test_build.py."""

import json
from types import SimpleNamespace

import pytest
from cuda_stand_in import FakeRuntime, fake_tensorrt, tensorrt

from trk import BackendError
from trk.engine.backends import load_backend
from trk.engine.bundle import Bundle
from trk.engine.plans import library
from trk.engine.plans.build import CURRENT, Options, build
from trk.engine.plans.bundle_plans import targets_for
from trk.engine.plans.cache import keep, key_of, place, side_car
from trk.engine.plans.library import Library


@pytest.fixture
def runtime():
    """A GPU that is none; plans lie in the bundle."""
    return FakeRuntime()


def test_plans_are_built_once_and_found_again(bundle_copy, runtime):
    lines = []
    assert len(tensorrt(bundle_copy, runtime, say=lines.append).library.module.built) == 2
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
    assert tensorrt(bundle_copy, runtime, say=lines.append).library.module.built == []
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
    tensorrt(bundle_copy, runtime)
    lines = []
    options = change(bundle_copy / "plans")
    assert tensorrt(bundle_copy, runtime, say=lines.append, **options).library.module.built
    assert any(words in line for line in lines)


def test_plan_of_another_graph_is_refused_by_its_inputs_and_outputs(bundle_copy, runtime):
    bundle = Bundle(bundle_copy)
    for graph in ("template.onnx", "search.onnx"):
        named = key_of(bundle, graph, "tensorrt", "11.4.0.106", str(runtime.cuda))
        keep(place(bundle), named, b"PLAN" + bundle.read("search.onnx"))
    with pytest.raises(
        BackendError, match=r"plan of template.onnx has other inputs and outputs .* delete the bundle's"
    ):
        tensorrt(bundle_copy, runtime)


@pytest.mark.parametrize(("capabilities", "built"), [("8.6", 0), ("7.5,8.6", 0), ("7.5,8.9", 2)])
def test_plan_of_rtx_that_names_this_gpu_serves(bundle_copy, runtime, capabilities, built):
    bundle = Bundle(bundle_copy)
    for graph in ("template.onnx", "search.onnx"):
        named = key_of(bundle, graph, "rtx", "1.7.1.116", f"compute capability {capabilities}", capabilities)
        keep(place(bundle), named, b"PLAN" + bundle.read(graph))
    backend = tensorrt(bundle_copy, runtime, version="1.7.1.116", flavour="rtx")
    assert len(backend.library.module.built) == built


def test_timing_cache_is_kept_from_build_to_build(bundle_copy, runtime):
    module = tensorrt(bundle_copy, runtime).library.module
    (cache,) = (bundle_copy / "plans").glob("timing-*.cache")
    assert cache.read_bytes() == b"timed timed "
    assert [config.cache.data for _, config in module.built] == [b"", b"timed "]


def test_timing_cache_that_can_not_be_had_is_no_error(bundle_copy, runtime):
    tensorrt(bundle_copy, runtime, refuses={"timings"})
    assert list((bundle_copy / "plans").glob("timing-*.cache")) == []
    assert len(list((bundle_copy / "plans").glob("*.plan"))) == 2


@pytest.mark.parametrize(
    ("refuses", "words"),
    [
        ("parse", "read the search.onnx: operator Magic is unknown"),
        ("build", "build the search.onnx: Error Code 10: no tactic"),
        ("network", "make a network: it gave no reason"),
        ("config", "make a builder configuration: it gave no reason"),
    ],
)
def test_refusal_to_build_that_is_only_logged_becomes_an_error(runtime, refuses, words):
    library = Library("tensorrt", fake_tensorrt(runtime, refuses={refuses}))
    with pytest.raises(BackendError) as caught:
        build(library, b"", Options("fp32"), "search.onnx")
    assert str(caught.value) == f"TensorRT 11.4.0.106 can't {words}"


@pytest.mark.parametrize(
    ("refuses", "words"),
    [
        (
            "builder",
            r"start its builder \(is there a GPU, and its driver\?\): CUDA initialization failure with error: 35",
        ),
        (
            "runtime",
            r"start its runtime \(is there a GPU, and its driver\?\): CUDA initialization failure with error: 35",
        ),
        ("load", r"load the plan of template.onnx: Error Code 1: Cuda Runtime \(cudaError 35\)"),
        ("context", r"make a context of template.onnx: it gave no reason"),
        ("address", r"bind crop: it gave no reason"),
        ("run", r"run template.onnx: it gave no reason"),
    ],
)
def test_call_that_gives_nothing_is_told_by_its_name_and_the_logs_reason(bundle_copy, runtime, refuses, words):
    with pytest.raises(BackendError, match=rf"^TensorRT 11.4.0.106 can't {words}$"):
        tensorrt(bundle_copy, runtime, refuses={refuses})


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


@pytest.mark.parametrize("capability", ["8.6", CURRENT])
def test_compute_capability_is_for_rtx(runtime, capability):
    with pytest.raises(BackendError, match="builds for the GPU it runs on"):
        build(Library("tensorrt", fake_tensorrt(runtime)), b"", Options("fp32", (capability,)))


def test_rtx_builds_for_the_gpus_that_are_named(runtime):
    module = fake_tensorrt(runtime, "1.7.1.116")
    library = Library("rtx", module)
    for capabilities, targets in ((("7.5", "12.0"), ["SM75", "SM120"]), ((CURRENT,), ["CURRENT"])):
        build(library, b"", Options("fp32", capabilities))
        assert module.built[-1][1].targets == targets
    with pytest.raises(BackendError, match=r"has no target for compute capability 6\.1: it has 7\.5, 8\.6, 12\.0$"):
        build(library, b"", Options("fp32", ("6.1",)))


def test_missing_library_says_what_to_install(tiny_bundle, monkeypatch):
    monkeypatch.setattr(library, "MODULES", {"tensorrt": "no_such_tensorrt", "rtx": "no_such_rtx"})
    with pytest.raises(BackendError, match="TensorRT is not installed: pip install"):
        load_backend(Bundle(tiny_bundle), "tensorrt")


def test_tensorrt_on_the_cpu_is_refused(tiny_bundle):
    with pytest.raises(BackendError, match="cuda only"):
        load_backend(Bundle(tiny_bundle), "tensorrt", "cpu")


@pytest.mark.parametrize(
    ("capability", "targets"),
    [("7.5", (CURRENT,)), ("8.0", ()), ("8.6", ()), ("8.9", ()), ("9.0", (CURRENT,)), ("12.0", ()), ("12.1", ())],
)
def test_rtx_builds_for_the_gpu_at_hand_where_its_default_leaves_that_out(capability, targets):
    assert targets_for(capability) == targets


def test_card_that_rtx_refuses_to_run_on_is_told_what_to_take(bundle_copy, runtime, monkeypatch):
    plain = runtime.cudaGetDeviceProperties

    def hopper(index):
        code, about = plain(index)
        return code, SimpleNamespace(**{**vars(about), "major": 9, "minor": 0})

    monkeypatch.setattr(runtime, "cudaGetDeviceProperties", hopper)
    with pytest.raises(
        BackendError, match=r"can't load the plan of template.onnx: .*: take --backend onnxruntime"
    ) as told:
        tensorrt(bundle_copy, runtime, version="1.7.1.116", flavour="rtx", refuses={"load"})
    assert "\n" not in str(told.value)
