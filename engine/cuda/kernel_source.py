"""The engine's kernels in CUDA C, put together from the files beside this one: NVRTC has no folder to include from."""

import ctypes
from pathlib import Path

from .calls import Cuda, Kernel

_ADDRESS, _INT = ctypes.c_void_p, ctypes.c_int
_MIX = (_ADDRESS, _ADDRESS, _ADDRESS, _INT, ctypes.c_float)
SIGNATURES = {
    "upload": (_ADDRESS, _INT),
    "cut": (_ADDRESS, _ADDRESS, _INT),
    "mix_float16": _MIX,
    "mix_float32": _MIX,
}
"""Arguments of the kernels that every backend on a GPU has."""


def engine_kernels(cuda: Cuda) -> dict[str, Kernel]:
    """Return the kernels of SIGNATURES, compiled for the GPU of `cuda`."""
    return cuda.kernels(kernel_source("half.cu", "crop.cu", "mix.cu"), SIGNATURES)


def kernel_source(*names: str, **defines: int) -> bytes:
    """Return the files `names`, one behind the other, after a `#define` for each of `defines`."""
    lines = "".join(f"#define {name} {value}\n" for name, value in defines.items())
    return lines.encode() + b"".join(Path(__file__).with_name(name).read_bytes() for name in names)
