"""The session on a GPU: its steps as commands, what it keeps, what it says where there is none; run on a CPU."""

import json
from argparse import Namespace
from importlib import import_module

import numpy as np
import pytest

from trk.bench import gpu, gpu_numerics
from trk.bench.gpu import Session, main
from trk.bench.gpu_report import summary
from trk.bench.gpu_steps import (
    MODULES,
    Setup,
    Step,
    backends_that_load,
    crops_that_run,
    exports,
    numerics,
    profiles,
    speeds,
)
from trk.bench.speed import Clip
from trk.engine.backends.torch import TorchBackend
from trk.engine.bundle import Bundle

CPU = {"device": "cpu", "backend": None, "model": ["nanotrack:v3"], "small": True, "bundles": None, "precision": None}


def setup(tmp_path, **changes) -> Setup:
    return Setup.of(Namespace(**{**CPU, "out": tmp_path, **changes}))


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_every_step_is_a_command_that_its_program_understands(tmp_path, device, capsys):
    made = setup(tmp_path, device=device, model=None, small=device == "cpu")
    steps = [*exports(made), *numerics(made), *speeds(made, made.backends), *profiles(made)]
    assert len({step.name for step in steps}) == len(steps)
    for step in steps:
        assert step.seconds > 0
        if step.words[0] in MODULES:
            command = import_module(MODULES[step.words[0]]).command
            command.make_context(step.words[0], step.words[1:])  # an option that is not there raises
        else:
            module = step.words[2]
            assert step.words[:2] == ["python", "-m"]
            with pytest.raises(SystemExit):
                import_module(module).main([*step.words[3:], "--help"])
    assert "usage" in capsys.readouterr().out
    named = {step.name for step in steps}
    assert {"speed-siamrpnpp-resnet50", "speed-targets-siamrpnpp-mobilenetv2"} <= named
    assert ("compile" in "".join(named)) == (device == "cuda")
    assert ("numerics-fp16-tensorrt" in named) == (device == "cuda")


def test_bundles_that_are_there_are_not_exported_again(tmp_path):
    made = setup(tmp_path, model=["nanotrack:v3", "siamfc:alexnet"])
    assert len(list(exports(made))) == 2
    made.bundles.mkdir()
    made.bundle("nanotrack:v3", "fp32").write_bytes(b"")
    assert [step.name for step in exports(made)] == ["export-siamfc-alexnet-fp32"]


def python(name, code, file=None, seconds=30.0) -> Step:
    return Step(name, ["python", "-c", code], seconds, file)


def test_a_step_that_dies_or_hangs_costs_only_itself(tmp_path, capsys):
    file = tmp_path / "gpu-good.json"
    session = Session(setup(tmp_path), 5, [])
    good = f"import pathlib; pathlib.Path({str(file)!r}).write_text('{{}}'); print('fine')"
    session.run(
        [
            python("dies", "import os; print('began', flush=True); os._exit(7)"),
            python("hangs", "import time; print('waiting', flush=True); time.sleep(60)", seconds=2.0),
            python("good", good, file),
        ]
    )
    told = json.loads((tmp_path / "gpu.json").read_text())
    dies, hangs, good = told["steps"]
    assert (dies["code"], dies["said"]) == (7, ["began"])
    assert hangs["code"] is None
    assert "stopped after" in hangs["said"][-1]
    assert (good["code"], good["said"], good["file"]) == (0, ["fine"], "gpu-good.json")
    assert told["machine"]["cpu"]
    page = (tmp_path / "gpu.md").read_text()
    assert "- dies (exit 7): began" in page
    assert "good" not in page
    assert "-- good: python -c" in capsys.readouterr().out


def test_steps_without_time_are_left_out_and_named_ones_are_run(tmp_path):
    session = Session(setup(tmp_path), 0, [])
    session.run([python("late", "print(1)")])
    assert session.done[0].said == ["left out: no time left (--minutes)"]
    for said in "12":
        session = Session(setup(tmp_path), 5, ["on"])
        session.run([python("one", f"print({said})"), python("two", "print(2)")])
        assert [(one.name, one.said[-1][0]) for one in session.done] == [("late", "l"), ("one", said)]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "no GPU was found"),
        (["--model", "resnet50"], "name it MODEL:VARIANT"),
        (["--backend", "openvino"], "choose of onnxruntime, tensorrt, torch"),
    ],
)
def test_what_can_not_be_run_is_one_line_and_writes_nothing(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gpu, "gpus", lambda: [])
    assert main([*words, "--out", str(tmp_path / "out")]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("gpu: ")
    assert printed.err.count("\n") == 1
    assert said in printed.err
    assert list(tmp_path.iterdir()) == []


def test_exports_need_no_gpu(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "gpus", lambda: [])
    monkeypatch.setattr(gpu, "exports", lambda made: [python("export-a", "print(1)")])
    assert main(["--only", "export", "--out", str(tmp_path / "out")]) == 0
    assert json.loads((tmp_path / "out" / "gpu.json").read_text())["steps"][0]["said"] == ["1"]


def test_the_commands_are_listed_without_a_gpu(tmp_path, capsys):
    assert main(["--list", "--out", str(tmp_path / "out")]) == 0
    assert "speed-siamfc-alexnet: trk-bench --device cuda" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def numerics_file(made, backend, rows):
    made.file(f"numerics-fp32-{backend}").write_text(json.dumps({"numerics": rows}))


def test_only_what_ran_is_timed(tmp_path):
    made = setup(tmp_path)

    def row(backend, whole, **more):
        return {"bundle": "nanotrack-v3-fp32.trk", "backend": backend, "whole_frame": whole, "same": True, **more}

    assert backends_that_load(made) == ()
    assert list(speeds(made, ())) == []
    numerics_file(made, "torch", [row("torch", False), row("torch", True, why="no such graphs")])
    numerics_file(made, "onnxruntime", [row("onnxruntime", False, why="no GPU"), row("onnxruntime", True, why="no")])
    assert backends_that_load(made) == ("torch",)
    assert crops_that_run(made, "nanotrack:v3", ("torch",)) == ["host"]
    (step,) = speeds(made, ("torch",))
    assert "onnxruntime" not in step.words
    numerics_file(made, "torch", [row("torch", False), row("torch", True)])
    assert crops_that_run(made, "nanotrack:v3", ("torch",)) == ["host", "device"]


def test_the_page_tells_what_ran_where_and_how_fast(tmp_path):
    about = {"model": "siamrpnpp", "variant": "resnet50"}
    entry = {
        "bundle": "r50.trk",
        "how": "torch",
        "targets": 1,
        "about": about,
        "fps": 1100.0,
        "target_fps": 1100.0,
        "total": {"median_ms": 0.909, "p99_ms": 1.2},
        "published": [{"fps": 35, "hardware": "Titan Xp"}],
    }
    slow = {**entry, "how": "upstream-style", "fps": 110.0, "target_fps": 110.0, "published": []}
    ratio = {"bundle": "r50.trk", "fast": "torch", "slow": "upstream-style", "targets": 1, "total": {"median": 10.0}}
    (tmp_path / "a.json").write_text(json.dumps({"entries": [entry, slow], "ratios": [ratio]}))
    told = {
        "date": "now",
        "device": "cuda",
        "gpus": [{"name": "Stand-in GPU", "sm_mhz": 345.0, "sm_max_mhz": 1980.0, "driver": "580.1"}],
        "machine": {"cpu": "a processor", "usable_cores": 4, "mhz": None, "governor": "performance"},
        "versions": {"torch": "2.13"},
        "steps": [{"name": "speed", "code": 0, "said": [], "file": "a.json"}],
    }
    page = summary(told, tmp_path)
    assert page.startswith("# Stand-in GPU\n")
    assert "SM 345 of 1980 MHz, driver 580.1" in page
    assert "governor performance" in page
    assert "| r50.trk | torch | 1 | 1100.0 | 1100.0 | 0.909 | 1.200 | 10.00 | 1000 | 35 on Titan Xp |" in page
    assert "| r50.trk | upstream-style | 1 | 110.0 | 110.0 | 0.909 | 1.200 | - | - | - |" in page


def clip_of(clip) -> Clip:
    return Clip("clip", clip.frames[:6], tuple(clip.boxes[0]))


def test_the_same_network_in_another_runtime_has_the_same_numbers(clip, tiny_trk):
    found = gpu_numerics.compare(Bundle(tiny_trk), clip_of(clip), "torch", "cpu", None)
    assert found["same"]
    assert found["frames"] == found["frames_within"] == 5
    assert found["largest_px"] < 0.01
    assert "as on the CPU" in gpu_numerics.line(found)


def test_other_numbers_are_found_out_and_never_grow(clip, tiny_trk, tmp_path, monkeypatch, capsys):
    search = TorchBackend.search

    def wrong(self, *given):
        out = search(self, *given)
        return out._replace(box=out.box + np.array([[9, 0, 0, 0]], np.float32))

    monkeypatch.setattr(TorchBackend, "search", wrong)
    monkeypatch.setattr(gpu_numerics, "sample_clip", lambda frames: clip_of(clip))
    file = tmp_path / "numerics.json"
    words = ["--bundle", str(tiny_trk), "--backend", "torch", "--backend", "tensorrt", "--device", "cpu"]
    assert gpu_numerics.main([*words, "--json", str(file)]) == 1
    differs, missing = json.loads(file.read_text())["numerics"]
    assert not differs["same"]
    assert differs["frames_within"] == 0
    assert differs["largest_px"] == pytest.approx(differs["median_px"], rel=0.5)
    assert "runs on cuda only" in missing["why"]
    assert "DIFFERENT" in capsys.readouterr().out


def test_limits_are_measured_on_a_cpu_too():
    torch = pytest.importorskip("torch")
    from trk.bench.gpu_profile import floor, limits

    before = torch.backends.cuda.matmul.allow_tf32
    best = limits("cpu", 64, 1)
    assert torch.backends.cuda.matmul.allow_tf32 == before
    assert all(value > 0 for value in best.values())
    manifest = Namespace(cost={"search_gflop": 2.0}, precision="fp32", files=[Namespace(name="a", bytes=10**6)])
    least = floor(Namespace(manifest=manifest), {"gemm_fp32_tflops": 50.0, "device_copy_gb_s": 1000.0})
    assert (least["arithmetic_us"], least["weights_us"]) == (40.0, 1.0)


@pytest.mark.slow
def test_the_whole_session_runs_on_a_cpu(tmp_path, capsys):
    words = ["--device", "cpu", "--small", "--model", "nanotrack:v3", "--out", str(tmp_path / "out"), "--minutes", "8"]
    assert main(words) == 0, capsys.readouterr().out
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"gpu.json", "gpu.md", "gpu-speed-nanotrack-v3.json", "gpu-profile-fp32.json"} <= names
    page = (tmp_path / "out" / "gpu.md").read_text()
    assert "## Not done" not in page
    for title in ("## Numerics", "## Speed", "## Profile"):
        assert title in page
    assert "upstream-style" in page
