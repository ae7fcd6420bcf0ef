"""What is told of a GPU, with stand-ins for nvidia-smi, NVML and PyTorch: there is none here."""

import sys
from types import SimpleNamespace

import pytest

from trk.bench.device import FIELDS, cuda_versions, gpu_line, gpus, moment

ROW = "NVIDIA H200, 580.159.03, 9.0, 143771, 512, 345, 1980, 3201, 3201, 75.31, 700.00, 31, 0, P0"


@pytest.fixture
def nothing(tmp_path, monkeypatch):
    """A machine without any of the sources."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "pynvml", None)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    return tmp_path


def nvidia_smi(folder, *lines, code=0):
    program = folder / "nvidia-smi"
    echoed = "\n".join(f"echo '{line}'" for line in lines)
    program.write_text(f"#!/bin/sh\n{echoed}\nexit {code}\n")
    program.chmod(0o755)


def test_without_a_gpu_nothing_is_told_and_nothing_fails(nothing):
    assert gpus() == []
    assert cuda_versions() == {}
    assert moment([]) == []


def test_nvidia_smi_tells_everything(nothing):
    nvidia_smi(nothing, ROW, ROW.replace("75.31", "[N/A]").replace("H200", "H100"))
    one, other = gpus()
    assert list(one) == list(FIELDS)
    assert one["name"] == "NVIDIA H200"
    assert one["driver"] == "580.159.03"
    assert one["sm_mhz"] == 345.0
    assert one["power_w"] == 75.31
    assert other["power_w"] is None
    assert other["name"] == "NVIDIA H100"
    assert moment([one])[0]["sm_mhz"] == 345.0
    assert gpu_line(one) == (
        "NVIDIA H200, compute capability 9.0, SM 345 of 1980 MHz, memory 3201 of 3201 MHz, limit 700 W, "
        "driver 580.159.03"
    )


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        (["NVIDIA-SMI has failed because it couldn't communicate with the driver."], 9),
        (["NVIDIA H200, 580"], 0),
        ([], 0),
    ],
)
def test_an_nvidia_smi_that_fails_is_no_gpu(nothing, lines, code):
    nvidia_smi(nothing, *lines, code=code)
    assert gpus() == []


def test_nvml_tells_where_there_is_no_nvidia_smi(nothing, monkeypatch):
    nvml = SimpleNamespace(
        NVML_CLOCK_SM=1,
        NVML_CLOCK_MEM=2,
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: 1,
        nvmlDeviceGetHandleByIndex=lambda number: number,
        nvmlDeviceGetName=lambda handle: b"GeForce GTX 1080",
        nvmlSystemGetDriverVersion=lambda: "580.10",
        nvmlDeviceGetMemoryInfo=lambda handle: SimpleNamespace(total=8 * 2**30, used=2**20),
        nvmlDeviceGetCudaComputeCapability=lambda handle: (6, 1),
        nvmlDeviceGetClockInfo=lambda handle, kind: 1600 * kind,
        nvmlDeviceGetMaxClockInfo=lambda handle, kind: 1900 * kind,
        nvmlSystemGetCudaDriverVersion_v2=lambda: 13010,
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    (one,) = gpus()
    assert one["name"] == "GeForce GTX 1080"
    assert (one["sm_mhz"], one["sm_max_mhz"], one["memory_max_mhz"]) == (1600.0, 1900.0, 3800.0)
    assert one["memory_mib"] == 8192
    assert one["power_w"] is None
    assert "driver 580.10" in gpu_line(one)
    assert cuda_versions() == {"driver's cuda": "13.1"}


def test_pytorch_tells_the_rest(nothing, monkeypatch):
    about = SimpleNamespace(name="Titan Xp", major=6, minor=1, total_memory=12 * 2**30)
    cuda = SimpleNamespace(
        is_available=lambda: True, device_count=lambda: 1, get_device_properties=lambda number: about
    )
    torch = SimpleNamespace(
        cuda=cuda,
        version=SimpleNamespace(cuda="12.6"),
        backends=SimpleNamespace(cudnn=SimpleNamespace(version=lambda: 91002)),
    )
    monkeypatch.setitem(sys.modules, "torch", torch)
    (one,) = gpus()
    assert gpu_line(one) == "Titan Xp, compute capability 6.1"
    assert one["memory_mib"] == 12288
    assert cuda_versions() == {"torch's cuda": "12.6", "cudnn": "91002"}
