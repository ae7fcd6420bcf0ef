"""A file per runtime, those that run on a GPU in `device`, all with the interface of `base.Backend`."""

import logging
from collections.abc import Callable

from ...errors import BackendError
from ..bundle import Bundle
from .base import Backend

BACKENDS = ("onnxruntime", "tensorrt", "torch", "openvino")
DEVICES = ("cpu", "cuda")
MAX_THREADS = 1024
"""More than any machine has use for: a runtime starts as many as it is told to."""


def load_backend(
    bundle: Bundle,
    name: str = "auto",
    device: str | None = None,
    threads: int | None = None,
) -> Backend:
    """Return `bundle` loaded into the runtime `name`; "auto" takes the first of BACKENDS. Raises BackendError.

    What was asked for and is not there is an error, never a silent change of runtime or device.
    """
    if name not in ("auto", *BACKENDS):
        raise BackendError(f"no backend {name!r}: choose one of {', '.join(('auto', *BACKENDS))}")
    if device not in (None, *DEVICES):
        raise BackendError(f"no device {device!r}: choose one of {', '.join(DEVICES)}")
    if threads is not None and not 1 <= threads <= MAX_THREADS:
        raise BackendError(f"threads has to be at least 1 and at most {MAX_THREADS}, not {threads}")
    chosen = BACKENDS[0] if name == "auto" else name
    return _LOADERS[chosen](bundle, device, threads)


def _onnxruntime(bundle: Bundle, device: str | None, threads: int | None) -> Backend:
    if device == "cuda":
        from .device.onnxruntime import OnnxRuntimeCuda

        return OnnxRuntimeCuda(bundle, threads)
    from .onnxruntime import OnnxRuntimeBackend

    return OnnxRuntimeBackend(bundle, threads)


def _tensorrt(bundle: Bundle, device: str | None, threads: int | None) -> Backend:
    del threads  # the host only launches
    if device == "cpu":
        raise BackendError("the backend tensorrt runs on cuda only: choose --device cuda, or --backend onnxruntime")
    from .device.tensorrt import TensorRTBackend

    return TensorRTBackend(bundle, say=logging.getLogger(__name__).warning)


def _torch(bundle: Bundle, device: str | None, threads: int | None) -> Backend:
    if device == "cuda":
        from .device.torch import TorchCuda

        return TorchCuda(bundle)
    from .torch import TorchBackend

    return TorchBackend(bundle, threads)


def _openvino(bundle: Bundle, device: str | None, threads: int | None) -> Backend:
    if device not in (None, "cpu"):
        raise BackendError(f"the backend openvino runs on cpu only, not {device}: leave --device out")
    from .openvino import OpenVinoBackend

    return OpenVinoBackend(bundle, threads)


_LOADERS: dict[str, Callable[[Bundle, str | None, int | None], Backend]] = {
    "onnxruntime": _onnxruntime,
    "tensorrt": _tensorrt,
    "torch": _torch,
    "openvino": _openvino,
}
