"""The GPU's kernels compiled as C++ for the host, thread after thread: what a stand-in for CUDA launches."""

import ctypes
import functools
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

HEAD = """
#include <math.h>
#define __global__
#define __device__ static
#define __align__(bytes) alignas(bytes)
struct Dim { int x, y; };
static Dim gridDim, blockDim, blockIdx, threadIdx;
"""
LAUNCH = """
extern "C" void launch_{name}(int blocks_x, int blocks_y, int threads, {parameters}) {{
    gridDim = {{blocks_x, blocks_y}};
    blockDim = {{threads, 1}};
    for (blockIdx.y = 0; blockIdx.y < blocks_y; ++blockIdx.y)
        for (blockIdx.x = 0; blockIdx.x < blocks_x; ++blockIdx.x)
            for (threadIdx.x = 0; threadIdx.x < threads; ++threadIdx.x) {name}({arguments});
}}
"""
KERNEL = re.compile(r'extern "C" __global__ void (\w+)\(([^)]*)\)')


@functools.cache
def library(source):
    """The kernels of `source`, compiled. Skips the test that asks where there is no C++ compiler."""
    compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler to run the GPU's kernels on the host")
    text = source.decode()
    launches = [
        LAUNCH.format(name=name, parameters=one, arguments=", ".join(part.split()[-1] for part in one.split(",")))
        for name, one in KERNEL.findall(text)
    ]
    folder = Path(tempfile.mkdtemp(prefix="trk-kernels-"))
    (folder / "kernels.cpp").write_text("\n".join([HEAD, text, *launches]), encoding="utf-8")
    command = [compiler, "-O2", "-ffp-contract=off", "-Wno-unknown-pragmas", "-shared", "-fPIC"]
    subprocess.run([*command, "-o", "kernels.so", "kernels.cpp"], cwd=folder, check=True)
    return ctypes.CDLL(str(folder / "kernels.so"))


class Function(str):
    """A kernel by its name, and the source that it is in."""

    __slots__ = ("source",)

    def __new__(cls, name, source):
        made = super().__new__(cls, name)
        made.source = source
        return made

    def launch(self, grid, block, arguments, types):
        """Run it to its end."""
        values = [kind(value) for kind, value in zip(types, arguments, strict=True)]
        getattr(library(self.source), f"launch_{self}")(*grid, block, *values)
