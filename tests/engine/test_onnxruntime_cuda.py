"""ONNX Runtime on CUDA where there is none: never a CPU session in its place. Not executed on a GPU yet."""

import numpy as np
import onnxruntime
import pytest

from trk import BackendError
from trk.engine.backends import load_backend
from trk.engine.bundle import Bundle

CUDA = "CUDAExecutionProvider"


@pytest.fixture
def silent(monkeypatch):
    """An ONNX Runtime that lists CUDA and, as the real one without its libraries, gives CPU sessions without a word."""
    if CUDA in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    asked, real = [], onnxruntime.InferenceSession

    def session(model, options, providers):
        asked.append(providers)
        return real(model, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, "CPUExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    return asked


def test_silent_fall_back_to_the_cpu_is_an_error(silent, tiny_bundle):
    with pytest.raises(BackendError, match="could not be used"):
        load_backend(Bundle(tiny_bundle), "onnxruntime", "cuda")


def test_fp32_is_asked_for_without_tf32(silent, tiny_bundle):
    with pytest.raises(BackendError):
        load_backend(Bundle(tiny_bundle), "onnxruntime", "cuda")
    assert silent == [[(CUDA, {"use_tf32": "0"})]]


def test_runtime_without_cuda_says_what_to_install(tiny_bundle):
    if CUDA in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    with pytest.raises(BackendError, match=r"pip install trk-engine\[gpu\]"):
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
