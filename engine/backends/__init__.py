"""One file per runtime, all with the interface of `base.Backend`."""

from ...errors import BackendError
from ..bundle import Bundle
from .base import Backend

BACKENDS = ("onnxruntime",)
DEVICES = ("cpu", "cuda")
MAX_THREADS = 1024
"""More than any machine has use for: a runtime starts as many as it is told to."""


def load_backend(bundle: Bundle, name: str = "auto", device: str | None = None, threads: int | None = None) -> Backend:
    """Return `bundle` loaded into the runtime `name`; "auto" takes the first of BACKENDS. Raises BackendError.

    What was asked for and is not there is an error, never a silent change of runtime or device.
    """
    if name not in ("auto", *BACKENDS):
        raise BackendError(f"no backend {name!r}: choose one of {', '.join(('auto', *BACKENDS))}")
    if device not in (None, *DEVICES):
        raise BackendError(f"no device {device!r}: choose one of {', '.join(DEVICES)}")
    if threads is not None and not 1 <= threads <= MAX_THREADS:
        raise BackendError(f"threads has to be at least 1 and at most {MAX_THREADS}, not {threads}")
    from .onnxruntime import OnnxRuntimeBackend

    return OnnxRuntimeBackend(bundle, device or "cpu", threads)
