"""The GPUs that a measurement ran on: names, clocks, driver, power, and the versions of what drives them.

nvidia-smi is asked first, then NVML, then PyTorch: whichever is there. No GPU is no error: then nothing is told.
"""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from ..errors import BackendError
from ..video.source import Image

FIELDS = {
    "name": "name",
    "driver": "driver_version",
    "compute_capability": "compute_cap",
    "memory_mib": "memory.total",
    "memory_used_mib": "memory.used",
    "sm_mhz": "clocks.sm",
    "sm_max_mhz": "clocks.max.sm",
    "memory_mhz": "clocks.mem",
    "memory_max_mhz": "clocks.max.mem",
    "power_w": "power.draw",
    "power_limit_w": "power.limit",
    "temperature_c": "temperature.gpu",
    "busy_percent": "utilization.gpu",
    "performance_state": "pstate",
}
"""What is told of a GPU, and what nvidia-smi calls it."""
CHANGING = ("sm_mhz", "memory_mhz", "power_w", "temperature_c", "busy_percent", "performance_state", "memory_used_mib")
"""What differs from moment to moment: told before and after a measurement."""
SECONDS = 20.0


def gpus() -> list[dict[str, Any]]:
    """Return what is known of each GPU, by FIELDS; what nobody tells is None. No GPU: an empty list."""
    for ask in (_nvidia_smi, _nvml, _torch):
        found = ask()
        if found:
            return found
    return []


def moment(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return of `gpus()` what changes: clocks, power, temperature, use."""
    return [{name: one.get(name) for name in CHANGING} for one in found]


def cuda_versions() -> dict[str, str]:
    """Return the versions of CUDA and cuDNN that PyTorch was built with, where it is loaded, and the driver's CUDA."""
    found: dict[str, str] = {}
    torch = sys.modules.get("torch")
    if torch is not None:
        cuda, cudnn = torch.version.cuda, torch.backends.cudnn.version()
        found |= {"torch's cuda": str(cuda)} if cuda else {}
        found |= {"cudnn": str(cudnn)} if cudnn else {}
    try:
        import pynvml

        pynvml.nvmlInit()
        number = int(pynvml.nvmlSystemGetCudaDriverVersion_v2())
        found["driver's cuda"] = f"{number // 1000}.{number % 1000 // 10}"
    except Exception:  # no package, no library, no driver: each has an error of its own, and none of them matters here
        pass
    return found


def torch_with_gpu(instead: str = "--frames-on host") -> Any:
    """Return PyTorch. Raises BackendError where it is missing or sees no GPU; `instead`: what else to choose."""
    try:
        import torch
    except ImportError:
        raise BackendError(f"PyTorch is missing: install a CUDA build of it, or choose {instead}") from None
    if not torch.cuda.is_available():
        raise BackendError(
            f"this PyTorch sees no GPU: install a driver and a CUDA build of PyTorch, or choose {instead}"
        )
    return torch


def to_gpu(frames: Sequence[Image]) -> list[Any]:
    """Return `frames` as PyTorch tensors in the GPU's memory, all of them there. Raises BackendError."""
    torch = torch_with_gpu()
    try:
        there = [torch.from_numpy(frame).to("cuda") for frame in frames]
        torch.cuda.synchronize()
    except RuntimeError as error:
        line = str(error).strip().partition("\n")[0]
        raise BackendError(
            f"PyTorch could not put {len(frames)} frames on the GPU: {line}: take fewer frames"
        ) from error
    return there


def gpu_line(one: dict[str, Any]) -> str:
    """Return a GPU in a line: its name, clocks, driver and memory."""
    parts = [str(one["name"])]
    if one.get("compute_capability"):
        parts.append(f"compute capability {one['compute_capability']}")
    if one.get("sm_mhz") is not None:
        parts.append(f"SM {one['sm_mhz']:g} of {_or_unknown(one.get('sm_max_mhz'))} MHz")
    if one.get("memory_mhz") is not None:
        parts.append(f"memory {one['memory_mhz']:g} of {_or_unknown(one.get('memory_max_mhz'))} MHz")
    if one.get("power_limit_w") is not None:
        parts.append(f"limit {one['power_limit_w']:g} W")
    if one.get("driver"):
        parts.append(f"driver {one['driver']}")
    return ", ".join(parts)


def _or_unknown(value: float | None) -> str:
    return "unknown" if value is None else f"{value:g}"


def _nvidia_smi() -> list[dict[str, Any]]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    words = [program, f"--query-gpu={','.join(FIELDS.values())}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    rows = [line.split(",") for line in done.stdout.splitlines()] if done.returncode == 0 else []
    return [_row(row) for row in rows if len(row) == len(FIELDS)]


def _row(cells: list[str]) -> dict[str, Any]:
    return {name: _value(name, cell.strip()) for name, cell in zip(FIELDS, cells, strict=True)}


def _value(name: str, text: str) -> Any:
    if not text or text.startswith("["):  # [N/A], [Not Supported]
        return None
    if not name.endswith(("_mib", "_mhz", "_w", "_c", "_percent")):
        return text
    try:
        return float(text)
    except ValueError:
        return None


def _nvml() -> list[dict[str, Any]]:
    try:
        import pynvml as nvml

        nvml.nvmlInit()
        return [_nvml_row(nvml, nvml.nvmlDeviceGetHandleByIndex(number)) for number in range(nvml.nvmlDeviceGetCount())]
    except Exception:  # as above
        return []


def _nvml_row(nvml: Any, handle: Any) -> dict[str, Any]:
    def text(value: Any) -> str:
        return value.decode() if isinstance(value, bytes) else str(value)

    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
    clocks = {"sm": nvml.NVML_CLOCK_SM, "memory": nvml.NVML_CLOCK_MEM}
    found: dict[str, Any] = dict.fromkeys(FIELDS)
    found |= {
        "name": text(nvml.nvmlDeviceGetName(handle)),
        "driver": text(nvml.nvmlSystemGetDriverVersion()),
        "compute_capability": f"{major}.{minor}",
        "memory_mib": round(memory.total / 2**20),
        "memory_used_mib": round(memory.used / 2**20),
    }
    for name, kind in clocks.items():
        found[f"{name}_mhz"] = float(nvml.nvmlDeviceGetClockInfo(handle, kind))
        found[f"{name}_max_mhz"] = float(nvml.nvmlDeviceGetMaxClockInfo(handle, kind))
    return found


def _torch() -> list[dict[str, Any]]:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return []
    found = []
    for number in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(number)
        row: dict[str, Any] = dict.fromkeys(FIELDS)
        row |= {
            "name": about.name,
            "compute_capability": f"{about.major}.{about.minor}",
            "memory_mib": round(about.total_memory / 2**20),
        }
        found.append(row)
    return found
