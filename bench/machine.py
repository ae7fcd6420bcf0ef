"""What a measurement ran on: without it a figure means nothing."""

import os
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")
INSTRUCTIONS = ("avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimd", "asimddp")
PACKAGES = (
    *("trk-engine", "numpy", "opencv-python-headless", "opencv-python", "opencv-contrib-python-headless"),
    *("onnxruntime", "onnxruntime-gpu", "openvino", "torch", "triton", "cuda-python", "cuda-bindings"),
    *("tensorrt", "tensorrt-cu12", "tensorrt-cu13", "tensorrt-rtx-cu12", "tensorrt-rtx-cu13"),
    *("cupy-cuda12x", "cupy-cuda13x", "nvidia-cudnn-cu12", "nvidia-cudnn-cu13", "nvidia-cublas", "nvidia-cublas-cu12"),
)
FREQUENCY = Path("/sys/devices/system/cpu/cpu0/cpufreq")


def machine() -> dict[str, object]:
    """Return the processor, its cores and instructions, the memory, and the operating system."""
    info = _cpu_info()
    flags = info.get("flags", info.get("Features", "")).split()
    return {
        "cpu": info.get("model name") or platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "usable_cores": usable_cores(),
        **_frequency(info),
        "instructions": [name for name in INSTRUCTIONS if name in flags],
        "memory_gib": _memory_gib(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def usable_cores() -> int:
    """Return the cores that this process may use: on a shared machine fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def load_average() -> list[float] | None:
    """Return how many processes wanted a core over the last 1, 5 and 15 minutes; None where the system won't say."""
    try:
        return [round(value, 2) for value in os.getloadavg()]
    except (AttributeError, OSError):
        return None


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that speed depends on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _cpu_info() -> dict[str, str]:
    try:
        lines = CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    pairs = (line.split(":", 1) for line in reversed(lines) if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}  # reversed: the first processor wins


def _frequency(info: Mapping[str, str]) -> dict[str, object]:
    """Return the clock of the first core, its largest, and who governs it; None where the system won't say."""

    def read(name: str) -> str | None:
        try:
            return (FREQUENCY / name).read_text(encoding="ascii", errors="replace").strip() or None
        except OSError:
            return None

    now, largest = info.get("cpu MHz", ""), read("cpuinfo_max_freq") or ""
    return {
        "mhz": round(float(now)) if now.replace(".", "", 1).isdigit() else None,
        "max_mhz": round(int(largest) / 1000) if largest.isdigit() else None,
        "governor": read("scaling_governor"),
    }


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, OSError, ValueError):
        return None
