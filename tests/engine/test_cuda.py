"""CUDA behind its thin layer: against a stand-in for cuda-python, and the names it needs against the real package."""

import numpy as np
import pytest
from cuda_stand_in import FakeRuntime

from trk import BackendError
from trk.engine.backends.cuda import Cuda


def test_what_goes_up_comes_down():
    cuda = Cuda(FakeRuntime())
    sent, back = cuda.pinned((4, 5), np.float32), cuda.pinned((4, 5), np.float32)
    sent[:] = np.arange(20).reshape(4, 5)
    there, copy = cuda.malloc(sent.nbytes), cuda.malloc(sent.nbytes)
    cuda.upload(there, sent)
    cuda.copy(copy, there, sent.nbytes)
    cuda.download(back, copy)
    cuda.wait()
    np.testing.assert_array_equal(back, sent)


def test_captured_work_runs_at_each_launch_and_not_before():
    cuda = Cuda(FakeRuntime())
    sent, back = cuda.pinned((3,), np.uint8), cuda.pinned((3,), np.uint8)
    there = cuda.malloc(3)

    def work():
        cuda.upload(there, sent)
        cuda.download(back, there)

    graph = cuda.capture(work)
    sent[:] = 7
    assert back.tolist() == [0, 0, 0]
    cuda.launch(graph)
    cuda.wait()
    assert back.tolist() == [7, 7, 7]
    sent[:] = 9
    cuda.launch(graph)
    cuda.wait()
    assert back.tolist() == [9, 9, 9]


@pytest.mark.parametrize("fails", [{}, {"cudaStreamEndCapture": "cudaErrorUnknown"}])
def test_capture_that_fails_ends_the_capture_and_says_why(fails):
    runtime = FakeRuntime(fails)
    cuda = Cuda(runtime)

    def work():
        raise BackendError("no")

    with pytest.raises(BackendError, match="no"):
        cuda.capture(work)
    assert runtime.recording is None


def test_device_is_named():
    cuda = Cuda(FakeRuntime())
    assert str(cuda) == "Stand-in GPU, compute capability 8.6"


@pytest.mark.parametrize(
    ("fails", "words"),
    [
        ({"cudaGetDeviceCount": "cudaErrorNoDevice"}, "no usable NVIDIA GPU"),
        ({"cudaGetDeviceCount": "cudaErrorInsufficientDriver"}, "install a driver"),
        ({"cudaStreamCreateWithFlags": "cudaErrorUnknown"}, "can't make a stream: cudaErrorUnknown"),
    ],
)
def test_device_that_is_not_usable_is_told_in_a_line(fails, words):
    with pytest.raises(BackendError) as caught:
        Cuda(FakeRuntime(fails))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_gpu_that_is_not_there():
    with pytest.raises(BackendError, match="GPU 3 was asked for and there are 1"):
        Cuda(FakeRuntime(), index=3)


def test_full_memory_is_told_as_that():
    runtime = FakeRuntime()
    cuda = Cuda(runtime)
    runtime.fails = {"cudaMalloc": "cudaErrorMemoryAllocation"}
    with pytest.raises(BackendError, match=r"allocate 8.0 MB: cudaErrorMemoryAllocation: its memory is full: take"):
        cuda.malloc(8_000_000)


def test_missing_driver_library_is_told():
    class Missing(FakeRuntime):
        def cudaGetDeviceCount(self):  # noqa: N802
            raise RuntimeError('Failed to dlopen "libcuda.so.1"\nmore lines')

    with pytest.raises(BackendError) as caught:
        Cuda(Missing())
    assert "install NVIDIA's driver" in str(caught.value)
    assert "more lines" not in str(caught.value)


def test_cuda_python_has_every_name_the_stand_in_has():
    runtime = pytest.importorskip("cuda.bindings.runtime", reason="cuda-python is not installed (trk-engine[tensorrt])")
    for name in dir(FakeRuntime):
        if name.startswith("cuda"):
            assert hasattr(runtime, name), name
    assert hasattr(runtime.cudaMemcpyKind, "cudaMemcpyHostToDevice")
    assert hasattr(runtime.cudaMemcpyKind, "cudaMemcpyDeviceToDevice")
    assert hasattr(runtime.cudaStreamCaptureMode, "cudaStreamCaptureModeThreadLocal")
    assert hasattr(runtime.cudaError_t, "cudaErrorNoDevice")


def test_machine_without_a_gpu_is_told_so_by_the_real_runtime():
    runtime = pytest.importorskip("cuda.bindings.runtime", reason="cuda-python is not installed (trk-engine[tensorrt])")
    if runtime.cudaGetDeviceCount()[0] == runtime.cudaError_t.cudaSuccess:
        pytest.skip("this machine has a GPU")
    with pytest.raises(BackendError, match=r"GPU|driver"):
        Cuda()
