"""Sessions of ONNX Runtime: weights from the bundle's checked bytes, the requested provider or none."""

import os
from collections.abc import Mapping
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

from ...errors import BackendError, BundleError
from ..bundle import Bundle
from ..manifest import Graph
from ..runtime_errors import advised, first_line, is_full
from .base import Signature, check_signature

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


def import_runtime() -> Any:
    """Return ONNX Runtime's module. Raises BackendError with what to install."""
    try:
        import onnxruntime
    except ImportError:
        raise BackendError(
            "ONNX Runtime is not installed: pip install 'trk-engine[cpu]', or 'trk-engine[gpu]' on a CUDA machine"
        ) from None
    return onnxruntime


def require_cuda(ort: Any) -> None:
    """Load the CUDA libraries that pip installed; raise BackendError where this ONNX Runtime was built without CUDA."""
    if CUDA not in ort.get_available_providers():
        raise BackendError(
            f"device 'cuda' was asked for and this ONNX Runtime has no {CUDA}: pip install 'trk-engine[gpu]', or "
            "choose --device cpu"
        )
    # Its provider looks for them in the system alone. What is missing there may be found by PyTorch, or on its path:
    # opening a session says what is not.
    if hasattr(ort, "preload_dlls"):
        with redirect_stdout(StringIO()):
            ort.preload_dlls()


def open_session(
    ort: Any,
    bundle: Bundle,
    graph: Graph,
    provider: str,
    settings: Mapping[str, str] | None = None,
    threads: int | None = None,
    *,
    strict: bool = False,
) -> Any:
    """Return `graph` loaded, its weights from `bundle`; `settings` are the provider's.

    `strict`: no part of it may run on the CPU, where the provider is another.

    Raises BundleError for a graph that can't be loaded or is not the manifest's, BackendError where the provider was
    not used: ONNX Runtime falls back to the CPU without a word.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
    # Workers sleep between frames: no slower here, and a tracker that waits for its camera leaves the cores alone.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # External weights come from the bundle, hashes checked: the runtime gets no folder.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    options.add_session_config_entry("session.disable_cpu_ep_fallback", str(int(strict)))
    # ONNX Runtime reads these bytes in place while it loads: they have to live that long.
    external = {name: bundle.read(name) for name in graph.external}
    if external:
        _add_external(ort, options, external)
    model = bundle.read(graph.file)
    try:
        # Its Python part would try again on the CPU after some errors, and tell that on stdout.
        session = ort.InferenceSession(model, options, providers=[(provider, dict(settings or {}))], enable_fallback=0)
    except Exception as error:  # ONNX Runtime raises many types
        kind = BackendError if is_full(first_line(error)) else BundleError
        raise kind(advised(f"{bundle.path}: ONNX Runtime can't load {graph.file}: {first_line(error)}")) from None
    del external
    if session.get_providers()[0] != provider:
        raise BackendError(
            "device 'cuda' was asked for and could not be used (is the CUDA toolkit of this onnxruntime-gpu "
            "installed?): choose --device cpu, or install it"
        )
    check_signature(bundle, graph, _signature(session.get_inputs()), _signature(session.get_outputs()))
    return session


def _add_external(ort: Any, options: Any, files: dict[str, bytes]) -> None:
    if not hasattr(options, "add_external_initializers_from_files_in_memory"):
        raise BackendError(
            f"this bundle keeps weights of several graphs once, which needs ONNX Runtime 1.24 or newer, not "
            f"{ort.__version__}: upgrade it"
        )
    options.add_external_initializers_from_files_in_memory(
        list(files), list(files.values()), [len(data) for data in files.values()]
    )


def _signature(values: Any) -> Signature:
    for value in values:
        yield value.name, tuple(value.shape), _DTYPES.get(value.type, value.type)


_DTYPES = {
    "tensor(uint8)": "uint8",
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
}
