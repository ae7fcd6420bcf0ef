"""CUDA behind its thin layer: against a stand-in for cuda-python, and its calls against the real package."""

import gc
import sys
from contextlib import suppress
from threading import Thread
from types import SimpleNamespace

import numpy as np
import pytest
from cuda_stand_in import GLOBAL, FakeRuntime

from trk import BackendError
from trk.engine.backends.device.timing import DeviceTimer
from trk.engine.cuda.calls import Bindings, Cuda
from trk.engine.cuda.kernel_source import engine_kernels


class Owner:
    """Whatever holds memory."""


@pytest.fixture
def runtime():
    return FakeRuntime()


def moved(cuda, size):
    """Host memory that goes up and comes down, and the work that does it."""
    sent, back, owner = cuda.pinned(size), cuda.pinned(size), Owner()
    there, copy = cuda.malloc(size, owner), cuda.malloc(size, owner)

    def work():
        cuda.copy(there, sent.ctypes.data, sent.nbytes)
        cuda.copy(copy, there, size)
        cuda.copy_to_host(back, copy)

    return sent, back, work, owner


def test_captured_work_runs_at_each_launch_and_not_before(runtime):
    cuda = runtime.cuda
    sent, back, work, _owner = moved(cuda, 20)
    graph = cuda.capture(work)
    for value in (7, 9):
        sent[:] = value
        assert not (back == value).any()
        cuda.launch(graph)
        cuda.synchronize()
        assert (back == value).all()


@pytest.mark.parametrize("fails", [{}, {"cudaStreamEndCapture": "cudaErrorUnknown"}])
def test_capture_that_fails_ends_the_capture_and_says_why(runtime, fails):
    cuda = runtime.cuda
    runtime.fails = fails

    def work():
        raise BackendError("no")

    with pytest.raises(BackendError, match="no"):
        cuda.capture(work)
    assert runtime.recording is None


def test_other_threads_may_allocate_while_work_is_captured(runtime, monkeypatch):
    cuda = runtime.cuda

    def allocate():
        with suppress(BackendError):
            cuda.pinned(100)

    def meanwhile():
        beside = Thread(target=allocate)
        beside.start()
        beside.join()

    cuda.capture(meanwhile)
    monkeypatch.setattr(runtime.cudaStreamCaptureMode, "cudaStreamCaptureModeThreadLocal", GLOBAL)
    with pytest.raises(BackendError, match="capture"):  # in the mode that is not taken
        cuda.capture(meanwhile)


def test_device_memory_that_is_given_back_serves_again_without_a_call_of_cuda(runtime):
    cuda = runtime.cuda
    owner, held = Owner(), []
    first = cuda.malloc(1000, owner)
    del owner
    gc.collect()
    made = runtime.made.copy()
    for size in (1000, 2000):
        held.append((cuda.malloc(size, held_by := Owner()), held_by))
    assert held[0][0] == first
    assert runtime.made - made == {"cudaMalloc": 1}


def test_all_goes_back_with_the_last_that_needs_it(runtime):
    cuda = runtime.cuda
    sent, back, work, owner = moved(cuda, 64)
    graph = cuda.capture(work)
    cuda.wait_for_stream(1)
    part = back[3:5]
    kept = Owner()
    late = cuda.malloc(10, kept)
    del graph, sent, back, work, owner, cuda
    gc.collect()
    assert (len(runtime.dropped), runtime.ended, runtime.events) == (1, [77], {})
    assert len(runtime.memory) == 2
    assert late in runtime.memory
    del part, kept
    gc.collect()
    assert runtime.memory == {}


def test_device_is_named(runtime):
    assert str(runtime.cuda) == "Stand-in GPU, compute capability 8.6"


@pytest.mark.parametrize(
    ("fails", "words"),
    [
        ({"cudaGetDeviceCount": "cudaErrorNoDevice"}, "no usable NVIDIA GPU"),
        ({"cudaGetDeviceCount": "cudaErrorInsufficientDriver"}, "install a driver"),
        ({"cudaStreamCreateWithFlags": "cudaErrorUnknown"}, "can't make a stream: cudaErrorUnknown"),
        ({"nvrtcCompileProgram": "cudaErrorUnknown"}, "can't compile kernels for it: cudaErrorUnknown"),
        ({"cuModuleLoadData": "cudaErrorUnknown"}, "can't load its kernels: cudaErrorUnknown"),
    ],
)
def test_device_that_is_not_usable_is_told_in_a_line(fails, words):
    with pytest.raises(BackendError) as caught:
        engine_kernels(FakeRuntime(fails).cuda)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("module", "function", "advice"),
    [
        ("runtime", "cudaGetDeviceCount", "install NVIDIA's driver"),
        ("driver", "cuModuleLoadData", "install NVIDIA's driver"),
        ("nvrtc", "nvrtcCreateProgram", "install NVRTC: pip install"),
    ],
)
def test_library_that_is_missing_is_told_with_what_to_install(runtime, module, function, advice):
    def missing(*_):
        raise RuntimeError('Failed to dlopen "lib.so.1"\nmore lines')

    bindings = runtime.bindings
    setattr(getattr(bindings, module), function, missing)
    with pytest.raises(BackendError) as caught:
        engine_kernels(Cuda(bindings))
    assert 'Failed to dlopen "lib.so.1"' in str(caught.value)
    assert advice in str(caught.value)
    assert "more lines" not in str(caught.value)


def test_gpu_that_is_not_there(runtime):
    with pytest.raises(BackendError, match="GPU 3 was asked for and there are 1"):
        Cuda(runtime.bindings, index=3)


@pytest.mark.parametrize(
    ("call", "take", "words"),
    [
        ("cudaMalloc", lambda cuda: cuda.malloc(8_000_000, Owner()), "allocate 8.0 MB"),
        ("cudaHostAlloc", lambda cuda: cuda.pinned(8_000_000), "pin 8.0 MB of host memory"),
    ],
)
def test_full_memory_is_told_as_that(runtime, call, take, words):
    cuda = runtime.cuda
    runtime.fails = {call: "cudaErrorMemoryAllocation"}
    with pytest.raises(BackendError, match=rf"{words}: cudaErrorMemoryAllocation: its memory is full: take"):
        take(cuda)


def test_without_cuda_python_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    with pytest.raises(BackendError, match=r"needs cuda-python 12.6 or newer: pip install -U 'cuda-python\[all\]'"):
        Cuda()


@pytest.fixture
def real():
    """The modules of cuda-python, on a machine that has no GPU for them."""
    bindings = pytest.importorskip("cuda.bindings", reason="cuda-python is not installed (trk-engine[gpu])")
    from cuda.bindings import driver, nvrtc, runtime

    assert bindings
    if runtime.cudaGetDeviceCount()[0] == runtime.cudaError_t.cudaSuccess:
        pytest.skip("this machine has a GPU")
    return Bindings(runtime, driver, nvrtc)


def test_machine_without_a_gpu_is_told_so_by_the_real_runtime(real):
    with pytest.raises(BackendError, match=r"no usable NVIDIA GPU \(cudaError"):
        Cuda()


class Checked:
    """A module of cuda-python that looks at the arguments of each call; then all went well, but nothing is done."""

    def __init__(self, module, answers):
        self.module, self.answers, self.called = module, answers, set()

    def __getattr__(self, name):
        found = getattr(self.module, name)
        return found if isinstance(found, type) else lambda *arguments: self.check(name, found, arguments)

    def check(self, name, function, arguments):
        with suppress(RuntimeError):  # the driver's library is not there
            function(*arguments)
        self.called.add(name)
        return (600 if name == "cudaStreamQuery" else 0, *self.answers.get(name, ()))


def use_all_of(cuda, real):
    kernels, timer = engine_kernels(cuda), DeviceTimer(cuda)
    sent, _, work, owner = moved(cuda, 64)

    def all_of_it():
        work()
        cuda.run_kernel(kernels["upload"], (16, 1), 256, sent.ctypes.data, 2)
        cuda.run_kernel(kernels["cut"], (4, 3), 256, 4096, 8192, 255)
        cuda.run_kernel(kernels["mix_float16"], (1, 1), 256, 4096, 8192, 4096, 7, 0.25, stream=5)

    for graph in (cuda.capture(all_of_it), cuda.instantiate(real.runtime.cudaGraph_t(13), owner)):
        cuda.launch(graph)
    cuda.wait_for_stream(1)
    cuda.synchronize()
    for _ in range(2):
        timer.record()
    assert timer.intervals() == [0.001]
    assert cuda.with_new_stream().capability == "8.6"


def test_every_call_is_one_that_cuda_python_takes(real):
    memory = np.zeros(4096, np.uint8)
    runtime = Checked(
        real.runtime,
        {
            "cudaGetDeviceCount": (1,),
            "cudaGetDeviceProperties": (SimpleNamespace(name=b"a GPU", major=8, minor=6),),
            "cudaStreamCreateWithFlags": (real.runtime.cudaStream_t(7),),
            "cudaMalloc": (memory.ctypes.data,),
            "cudaHostAlloc": (memory.ctypes.data,),
            "cudaEventCreateWithFlags": (real.runtime.cudaEvent_t(8),),
            "cudaEventElapsedTime": (1.0,),
            "cudaStreamEndCapture": (real.runtime.cudaGraph_t(9),),
            "cudaGraphInstantiate": (real.runtime.cudaGraphExec_t(10),),
        },
    )
    driver = Checked(
        real.driver,
        {"cuModuleLoadData": (real.driver.CUmodule(11),), "cuModuleGetFunction": (real.driver.CUfunction(12),)},
    )
    nvrtc = SimpleNamespace(
        nvrtcCreateProgram=lambda *_: (0, None),
        nvrtcCompileProgram=lambda *_: (0,),
        nvrtcGetCUBINSize=lambda _: (0, 9),
        nvrtcGetCUBIN=lambda *_: (0,),
    )  # the real one compiles in test_crop_kernel.py
    use_all_of(Cuda(Bindings(runtime, driver, nvrtc)), real)
    gc.collect()
    stood_in = {name for name in dir(FakeRuntime) if name.startswith("cuda")}
    assert (
        stood_in - {"cuda", "cudaError_t", "cudaGraph_t", "cudaMemcpyKind", "cudaStreamCaptureMode"} <= runtime.called
    )
