"""What the steps of a session on a GPU find out, each shown on a CPU; and the page that they become."""

import json
import os
from argparse import Namespace

import numpy as np
import pytest

from trk.bench import gpu_numerics, gpu_profile
from trk.bench.gpu_report import GOALS, summary
from trk.bench.speed_clip import Clip
from trk.engine.backends.torch import TorchBackend
from trk.engine.bundle import Bundle
from trk.errors import BackendError

ABOUT = {
    "date": "now",
    "device": "cuda",
    "gpus": [{"name": "Stand-in GPU", "sm_mhz": 345.0, "sm_max_mhz": 1980.0, "driver": "580.1"}],
    "machine": {"cpu": "a processor", "usable_cores": 4, "mhz": None, "governor": "performance"},
    "versions": {"torch": "2.13"},
}
STEP = {"name": "speed", "code": 0, "said": [], "file": "a.json", "beside": []}


def clip_of(clip) -> Clip:
    return Clip("clip", clip.frames[:6], tuple(clip.boxes[0]))


def test_the_same_network_in_another_runtime_has_the_same_numbers(clip, tiny_trk):
    (found,) = gpu_numerics.compare(Bundle(tiny_trk), clip_of(clip), "torch", "cpu", ["host"])
    assert found["same"]
    assert found["frames"] == found["frames_within"] == 5
    assert found["largest_px"] < 0.01
    assert "as on the CPU" in gpu_numerics.line(found)


def test_frames_on_the_device_are_compared_with_the_hosts(clip, tiny_trk, monkeypatch):
    monkeypatch.setattr(gpu_numerics, "to_gpu", lambda frames: [frame.copy() for frame in frames])
    rows = list(gpu_numerics.compare(Bundle(tiny_trk), clip_of(clip), "torch", "cpu", ["host", "device"]))
    assert [(row["frames_on"], row["same"]) for row in rows] == [("host", True), ("device", True)]


def test_a_runtime_that_is_missing_costs_no_tracking(clip, tiny_trk, monkeypatch):
    monkeypatch.setattr(gpu_numerics.Reference, "of", lambda *_: pytest.fail("the CPU's tracker came first"))
    with pytest.raises(BackendError, match="runs on cuda only"):
        next(gpu_numerics.compare(Bundle(tiny_trk), clip_of(clip), "tensorrt", "cpu", ["host"]))


@pytest.fixture
def wrong(monkeypatch, clip):
    search = TorchBackend.search

    def nine_off(self, *given):
        out = search(self, *given)
        return out._replace(box=out.box + np.array([[9, 0, 0, 0]], np.float32))

    monkeypatch.setattr(TorchBackend, "search", nine_off)
    monkeypatch.setattr(gpu_numerics, "sample_clip", lambda frames: clip_of(clip))


def test_other_numbers_are_found_out_and_never_grow(wrong, tiny_trk, tmp_path, capsys):
    file = tmp_path / "numerics.json"
    words = ["--bundle", str(tiny_trk), "--backend", "torch", "--backend", "tensorrt", "--device", "cpu"]
    assert gpu_numerics.main([*words, "--json", str(file)]) == 1
    differs, missing = json.loads(file.read_text())["numerics"]
    assert not differs["same"]
    assert differs["frames_within"] == 0
    assert differs["largest_px"] == pytest.approx(differs["median_px"], rel=0.5)
    assert "runs on cuda only" in missing["why"]
    assert "DIFFERENT" in capsys.readouterr().out


def test_the_gate_lets_rounding_pass_and_shows_the_traceback_of_what_fails(wrong, tiny_trk, monkeypatch, capsys):
    words = ["--bundle", str(tiny_trk), "--backend", "torch", "--device", "cpu", "--gate"]
    assert gpu_numerics.main(words) == 0
    monkeypatch.setattr(gpu_numerics, "GATE_OVERLAP", 0.99)
    assert gpu_numerics.main(words) == 1
    monkeypatch.setattr(TorchBackend, "search", lambda *_: 1 / 0)
    assert gpu_numerics.main(words) == 1
    told = capsys.readouterr().err
    assert "Traceback (most recent call last)" in told
    assert "ZeroDivisionError" in told


def test_where_a_device_has_failed_a_new_process_goes_on_with_the_rest(wrong, tiny_trk, tmp_path, monkeypatch, capsys):
    class GoneError(Exception):
        """The process is another's now."""

    def replaced(program, arguments):
        raise GoneError(arguments)

    file = tmp_path / "numerics.json"
    words = ["--bundle", str(tiny_trk), "--bundle", str(tiny_trk), "--backend", "torch", "--device", "cpu"]
    search = TorchBackend.search
    monkeypatch.setattr(TorchBackend, "search", lambda *_: 1 / 0)
    monkeypatch.setattr(gpu_numerics, "_device_lives", lambda: False)
    monkeypatch.setattr(os, "execv", replaced)
    with pytest.raises(GoneError) as gone:
        gpu_numerics.main([*words, "--json", str(file)])
    assert "ZeroDivisionError" in capsys.readouterr().err
    (row,) = json.loads(file.read_text())["numerics"]
    assert (row["crashed"], row["why"]) == (True, "ZeroDivisionError: division by zero")
    monkeypatch.setattr(TorchBackend, "search", search)
    assert gone.value.args[0][1:3] == ["-m", "trk.bench.gpu_numerics"]
    assert gpu_numerics.main(gone.value.args[0][3:]) == 1
    assert len(json.loads(file.read_text())["numerics"]) == 2


def test_a_death_is_on_disk_before_it_happens(clip, tiny_trk, tmp_path, monkeypatch):
    file = tmp_path / "numerics.json"

    def looks(*_):
        (row,) = json.loads(file.read_text())["numerics"]
        assert "died" in row["why"]
        return iter(())

    monkeypatch.setattr(gpu_numerics, "compare", looks)
    assert gpu_numerics.compare_one(
        tiny_trk, clip_of(clip), "torch", "cpu", ["host"], gpu_numerics.Rows(file, go_on=False)
    )


def test_limits_are_measured_on_a_cpu_too_and_written_one_by_one(tmp_path, monkeypatch, capsys):
    torch = pytest.importorskip("torch")
    from trk.bench import gpu_limits

    before = torch.backends.cuda.matmul.allow_tf32
    best = dict(gpu_limits.limits("cpu", 64, 1))
    assert torch.backends.cuda.matmul.allow_tf32 == before
    assert all(value > 0 for value in best.values())

    def fails(*_):
        yield "launch_us", 2.0
        raise BackendError("the card fell off the bus")

    monkeypatch.setattr(gpu_limits, "limits", fails)
    file = tmp_path / "limits.json"
    assert gpu_limits.main(["--device", "cpu", "--json", str(file)]) == 2
    assert json.loads(file.read_text())["limits"] == {"launch_us": 2.0}


def test_a_floor_is_what_the_limits_allow():
    manifest = Namespace(cost={"search_gflop": 2.0}, precision="fp32", files=[Namespace(name="a", bytes=10**6)])
    least = gpu_profile.floor(Namespace(manifest=manifest), {"gemm_fp32_tflops": 50.0, "device_copy_gb_s": 1000.0})
    assert (least["arithmetic_us"], least["weights_us"]) == (40.0, 1.0)
    assert "arithmetic_us" not in gpu_profile.floor(Namespace(manifest=manifest), {})


def test_a_profile_is_on_disk_before_the_next_is_made(clip, tiny_trk, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gpu_profile, "sample_clip", lambda frames: clip_of(clip))
    missing, file = tmp_path / "none.trk", tmp_path / "profile.json"
    words = ["--device", "cpu", "--bundle", str(missing), "--bundle", str(tiny_trk), "--json", str(file)]
    assert gpu_profile.main([*words, "--limits", str(tmp_path / "none.json")]) == 1
    not_there, there = json.loads(file.read_text())["profiles"]
    assert "no bundle at" in not_there["why"]
    assert there["wall_us"] > 0
    assert "no limits were measured" in capsys.readouterr().out


def entry(how: str, model: tuple[str, str], median: float, targets: int = 1, **more):
    return {
        "bundle": "a.trk",
        "how": how,
        "targets": targets,
        "about": {"model": model[0], "variant": model[1], "frames_on": "host"},
        "fps": 1e3 / median,
        "target_fps": targets * 1e3 / median,
        "total": {"median_ms": median, "p99_ms": 1.2 * median},
        "published": [],
        **more,
    }


def page_of(tmp_path, entries, ratios=(), **step) -> str:
    (tmp_path / "a.json").write_text(json.dumps({"entries": entries, "ratios": list(ratios)}))
    return summary({**ABOUT, "steps": [{**STEP, **step}]}, tmp_path)


def test_the_page_tells_what_ran_where_and_how_fast(tmp_path):
    mine = entry("torch", ("siamrpnpp", "resnet50"), 0.909, published=[{"fps": 35, "hardware": "Titan Xp"}])
    slow = entry("upstream-style", ("siamrpnpp", "resnet50"), 9.09)
    ratio = {"bundle": "a.trk", "fast": "torch", "slow": "upstream-style", "targets": 1, "total": {"median": 10.0}}
    page = page_of(tmp_path, [mine, slow], [ratio], name="speed-a", beside=["export-b"])
    assert page.startswith("# Stand-in GPU\n")
    assert "SM 345 of 1980 MHz, driver 580.1" in page
    assert "governor performance" in page
    assert "| a.trk | torch | 1 | 1100.1 | 1100.1 | 0.909 | 1.091 | 10.00 | 1000 | 35 on Titan Xp |" in page
    assert "| a.trk | upstream-style | 1 | 110.0 | 110.0 | 9.090 | 10.908 | - | - | - |" in page
    assert "- speed-a: export-b ran at the same time" in page


def test_each_part_of_each_target_is_met_or_missed(tmp_path):
    model = ("siamrpnpp", "mobilenetv2")
    many = entry("torch", model, 3.0, 32)
    ahead = entry("torch, frames on the device", model, 1.0, 32, about={"model": model[0], "variant": model[1]})
    ahead["about"]["frames_on"] = "device"
    nano = entry("torch", ("nanotrack", "v3"), 0.5)
    nano["total"]["p99_ms"] = 0.9
    page = page_of(tmp_path, [many, ahead, nano, entry("upstream-style", model, 2.0)])
    assert "- siamrpnpp/mobilenetv2, 32 targets, a.trk by torch: 10667 of 10000 target-frames a second: met" in page
    assert "21.33 times upstream-style (of 4): met; p99 1.20 times the median (of 1.5): met" in page
    assert "- nanotrack/v3, 1 target, a.trk by torch: 2000 of 4000 target-frames a second: MISSED" in page
    assert "p99 1.80 times the median (of 1.5): MISSED" in page
    assert "- siamfc/alexnet, 1 target: not timed" in page
    assert len(GOALS) == 7


def test_ways_that_could_not_run_for_one_reason_are_one_line(tmp_path):
    row = {"backend": "tensorrt", "device": "cuda", "frames_on": "host", "same": False, "why": "not installed"}
    (tmp_path / "a.json").write_text(json.dumps({"numerics": [{**row, "bundle": name} for name in "ab"]}))
    page = summary({**ABOUT, "steps": [STEP]}, tmp_path)
    assert "- tensorrt on cuda: not run: not installed (a with frames on the host, b with frames on the host)" in page
