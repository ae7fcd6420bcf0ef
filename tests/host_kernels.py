"""The GPU's kernels compiled as C++ for the host, thread after thread: what a stand-in for CUDA launches."""

import ctypes
import functools
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

import trk

SOURCE = Path(trk.__file__).parent / "engine" / "backends" / "device" / "crop.cu"
HEAD = """
#include <math.h>
#define __global__
#define __device__ static
#define __align__(bytes) alignas(bytes)
struct Dim { int x, y; };
static Dim gridDim, blockDim, blockIdx, threadIdx;
"""
LAUNCH = """
extern "C" void launch_{name}(int across, int down, int block, {parameters}) {{
    gridDim = {{across, down}};
    blockDim = {{block, 1}};
    for (blockIdx.y = 0; blockIdx.y < down; ++blockIdx.y)
        for (blockIdx.x = 0; blockIdx.x < across; ++blockIdx.x)
            for (threadIdx.x = 0; threadIdx.x < block; ++threadIdx.x) {name}({arguments});
}}
"""
PARAMETERS = {
    "upload": "const Segment* segments, int count",
    "cut": "const Crop* crops, unsigned char* out, int size",
}


@functools.cache
def library():
    """The compiled kernels. Skips the test that asks where there is no C++ compiler."""
    compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler to run the GPU's kernels on the host")
    launches = [
        LAUNCH.format(name=name, parameters=one, arguments=", ".join(part.split()[-1] for part in one.split(",")))
        for name, one in PARAMETERS.items()
    ]
    folder = Path(tempfile.mkdtemp(prefix="trk-kernels-"))
    (folder / "kernels.cpp").write_text("\n".join([HEAD, SOURCE.read_text(encoding="utf-8"), *launches]))
    command = [compiler, "-O2", "-ffp-contract=off", "-shared", "-fPIC", "-o", "kernels.so", "kernels.cpp"]
    subprocess.run(command, cwd=folder, check=True)
    return ctypes.CDLL(str(folder / "kernels.so"))


def launch(name, grid, block, arguments, types):
    """Run a kernel to its end."""
    values = [kind(value) for kind, value in zip(types, arguments, strict=True)]
    getattr(library(), f"launch_{name}")(*grid, block, *values)
