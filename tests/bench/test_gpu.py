"""The session on a GPU: its steps as commands, its time, what it keeps and says; run on a CPU."""

import json
import os
import signal
import subprocess
import sys
import tarfile
from argparse import Namespace
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from time import monotonic, sleep

import pytest

from trk.bench import gpu, gpu_session
from trk.bench.gpu import main
from trk.bench.gpu_session import NO_TIME, Session
from trk.bench.gpu_steps import (
    MODULES,
    Setup,
    Step,
    Work,
    compiled,
    crowd,
    exports,
    numerics,
    planned,
    profiles,
    rows,
    smoke,
    speeds,
)
from trk.weights.shipped import default_bundle

CPU = {"device": "cpu", "backend": None, "model": ["nanotrack:v3"], "small": True, "bundles": None, "precision": None}
NANO = Work("nanotrack:v3", "fp16")


def setup(tmp_path, **changes) -> Setup:
    return Setup.of(Namespace(**{**CPU, "out": tmp_path, **changes}))


def session(made: Setup, minutes: float = 5, only: tuple[str, ...] = ()) -> Session:
    return Session(made, monotonic() + 60 * minutes, only)


def python(name, code, file=None, seconds=30.0, **more) -> Step:
    return Step(name, ["python", "-c", code], seconds, file, **more)


def put(made: Setup, *works: Work) -> None:
    made.bundles.mkdir(exist_ok=True)
    for work in works:
        made.bundle(work).write_bytes(b"")


def numerics_file(made, *found) -> None:
    given = [{"bundle": "nanotrack-v3-fp16.trk", "same": True, **row} for row in found]
    made.file("numerics-torch-fp16").write_text(json.dumps({"numerics": given}))


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_every_step_is_a_command_that_its_program_understands(tmp_path, device, capsys):
    made = setup(tmp_path, device=device, model=None, small=device == "cpu")
    steps = list(planned(made))
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
    assert ("compile" in "".join(step.name for step in steps)) == (device == "cuda")
    for step in steps:
        if step.name.startswith("speed-") and "compile" not in step.name:
            assert ("device" in step.words) == (device == "cuda")  # of --frames-on


def test_the_order_is_gate_limits_numerics_speeds_many_targets_profile_fp32_and_compiled(tmp_path):
    names = [step.name for step in planned(setup(tmp_path, device="cuda", model=None, small=False))]
    names = [name for name in names if not name.startswith("export-")]
    assert names[:3] == ["smoke", "limits", "numerics-torch-fp16"]
    timed = [name.removeprefix("speed-") for name in names if name.startswith("speed-")]
    assert timed == [
        *("siamrpnpp-alexnet-fp16", "siamfc-alexnet-fp16", "siamrpnpp-mobilenetv2-fp16", "nanotrack-v3-fp16"),
        *("siamrpnpp-resnet50-fp16", "siamdw_rpn-res22-fp16", "targets-siamrpnpp-mobilenetv2-fp16"),
        *("siamrpnpp-alexnet-fp32", "compile-siamrpnpp-mobilenetv2-fp16", "compile-siamrpnpp-resnet50-fp16"),
    ]
    assert (
        names.index("profile-fp16") < names.index("numerics-torch-fp32") < names.index("speed-siamrpnpp-alexnet-fp32")
    )


def test_bundles_that_are_there_are_not_exported_again_and_quick_ones_come_first(tmp_path):
    made = setup(tmp_path, model=["siamrpnpp:resnet50", "nanotrack:v3", "siamfc:alexnet"])
    assert [step.name for step in exports(made)][-1] == "export-siamrpnpp-resnet50-fp16"
    put(made, NANO)
    assert next(step.name for step in exports(made)) == "export-siamfc-alexnet-fp16"


def test_the_gate_is_what_ships_where_its_bundle_is_not_there(tmp_path):
    made = setup(tmp_path, model=None)
    assert str(default_bundle()) in smoke(made).words
    put(made, Work("siamrpnpp:alexnet", "fp16"))
    assert str(made.bundle(Work("siamrpnpp:alexnet", "fp16"))) in smoke(made).words
    assert smoke(made).words.count("--backend") == 1
    assert "torch" in smoke(made).words


def test_a_step_that_dies_or_hangs_costs_only_itself(tmp_path, capsys):
    file = tmp_path / "gpu-good.json"
    good = f"import pathlib; pathlib.Path({str(file)!r}).write_text('{{}}'); print('fine')"
    run = session(setup(tmp_path))
    # What hangs has a child that holds its output, too.
    hangs = "import subprocess, sys; print('waiting'); subprocess.run([sys.executable, '-c', 'input(); 1/0'], stdin=0)"
    assert not run.run(
        [
            python("dies", "import os; print('began', flush=True); os._exit(7)"),
            python("hangs", hangs.replace("input()", "import time; time.sleep(60)"), seconds=2.0),
            python("good", good, file),
        ]
    )
    told = json.loads((tmp_path / "gpu.json").read_text())
    dies, hangs, good = told["steps"]
    assert (dies["code"], dies["said"]) == (7, ["began"])
    assert hangs["code"] is None
    assert "stopped after" in hangs["said"][-1]
    assert (good["code"], good["said"], good["file"]) == (0, ["fine"], "gpu-good.json")
    assert run.failed
    page = (tmp_path / "gpu.md").read_text()
    assert "- dies (exit 7): began" in page
    assert "good" not in page
    assert "-- good: python -c" in capsys.readouterr().out


def test_output_is_passed_on_while_a_step_runs(tmp_path, monkeypatch):
    run = session(setup(tmp_path))
    seen = []
    go_on = tmp_path / "go-on"
    code = f"import pathlib, time\nprint('first')\nwhile not pathlib.Path({str(go_on)!r}).exists(): time.sleep(0.01)"

    def say(line: str) -> None:
        seen.append(line)
        if line.strip() == "first":
            go_on.touch()  # a line that only comes at the end would leave the step waiting for ever

    monkeypatch.setattr(run, "say", say)
    assert run.run([python("talks", code)])
    assert "   first" in seen


def test_steps_without_time_are_left_out_and_named_ones_are_run(tmp_path):
    run = session(setup(tmp_path), 0)
    run.run([python("late", "print(1)")])
    assert run.done[0].said == [NO_TIME]
    for said in "12":
        run = session(setup(tmp_path), 5, ("on",))
        run.run([python("one", f"print({said})"), python("two", "print(2)")])
        assert [(one.name, one.said[-1][0]) for one in run.done] == [("late", "l"), ("one", said)]


def test_a_step_is_stopped_in_time_for_the_archive(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_session, "RESERVE", 1.0)
    run = Session(setup(tmp_path), monotonic() + 3.0)
    run.run([python("long", "import time; time.sleep(60)", least=0.0)])
    run.finish()
    with tarfile.open(tmp_path / "gpu.tar.gz") as archive:
        assert {"gpu/gpu.json", "gpu/gpu.md", "gpu/gpu.log"} <= set(archive.getnames())
        log = archive.extractfile("gpu/gpu.log")
        assert log is not None
        assert b"stopped after" in log.read()
    assert run.done[0].code is None


def test_exports_run_beside_steps_and_bundles_are_measured_as_they_come(tmp_path, monkeypatch):
    made = setup(tmp_path, model=["nanotrack:v3", "siamfc:alexnet", "siamrpnpp:resnet50"])
    there, comes, fails = made.works
    put(made, there)
    path, measured = made.bundle(comes), tmp_path / "measured"
    code = f"import pathlib, time\nwhile not pathlib.Path({str(measured)!r}).exists(): time.sleep(0.01)\n"
    code += f"pathlib.Path({str(path)!r}).touch()"
    steps = [python("export-comes", code, path), python("export-fails", "print('no memory'); 1/0")]
    monkeypatch.setattr(gpu_session, "exports", lambda _: steps)
    run = session(made)
    run.export()
    batches = []
    measure = f"import pathlib; pathlib.Path({str(measured)!r}).touch()"
    for works in run.batches(made.works):
        batches.append(works)
        run.run([python(f"measures-{len(batches)}", measure, needs=tuple(works))])
    assert batches == [[there], [comes], [fails]]
    done = {one.name: one for one in run.done}
    assert done["measures-1"].beside == ["export-comes"]
    assert done["export-comes"].code == 0
    assert "ZeroDivisionError" in done["export-fails"].said[-1]
    assert done["measures-3"].said == ["left out: no bundle siamrpnpp-resnet50-fp16.trk"]
    assert "siamrpnpp-resnet50-fp16.trk" in (tmp_path / "gpu.md").read_text()


def stand_in(monkeypatch, **steps) -> None:
    for name in ("smoke", "limits"):
        monkeypatch.setattr(gpu, name, lambda made, name=name: steps.get(name, python(name, "print(1)")))
    for name in ("numerics", "speeds", "crowd", "profiles", "compiled"):
        monkeypatch.setattr(gpu, name, lambda *_, name=name: [steps[name]] if name in steps else [])


def test_a_gate_that_is_not_passed_ends_everything_with_its_whole_traceback(tmp_path, monkeypatch, capsys):
    code = "def fall(deep):\n if deep: return fall(deep - 1) + deep\n return 1 / 0\nfall(2)"
    stand_in(monkeypatch, smoke=replace(smoke(setup(tmp_path)), words=["python", "-c", code]))
    out = tmp_path / "out"
    bundles = tmp_path / "bundles"
    put(setup(tmp_path), NANO)
    assert main(["--device", "cpu", "--model", "nanotrack:v3", "--bundles", str(bundles), "--out", str(out)]) == 1
    printed = capsys.readouterr().out
    for told in (printed, (out / "gpu.log").read_text(), (out / "gpu.json").read_text()):
        assert "Traceback (most recent call last)" in told
        assert "ZeroDivisionError" in told
    assert "nothing else is run" in printed
    assert [step["name"] for step in json.loads((out / "gpu.json").read_text())["steps"]] == ["smoke"]
    assert (out / "gpu.tar.gz").is_file()


def test_an_interrupt_keeps_what_is_known_and_leaves_nothing_running(tmp_path):
    child = tmp_path / "child.pid"
    code = f"import os, pathlib, time; pathlib.Path({str(child)!r}).write_text(str(os.getpid())); time.sleep(60)"
    program = (
        "import sys; from trk.bench import gpu; from trk.bench.gpu_steps import Step; "
        "gpu.exports = lambda _: []\n"
        f"gpu.smoke = lambda _: Step('smoke', ['python', '-c', {code!r}], 60.0)\n"
        "sys.exit(gpu.main(sys.argv[1:]))"
    )
    out, bundles = tmp_path / "out", tmp_path / "bundles"
    put(setup(tmp_path), NANO)
    words = ["--device", "cpu", "--model", "nanotrack:v3", "--bundles", str(bundles), "--out", str(out)]
    process = subprocess.Popen([sys.executable, "-c", program, *words], stdout=subprocess.PIPE, text=True)
    while not (child.exists() and child.read_text()):
        assert process.poll() is None
        sleep(0.05)
    process.send_signal(signal.SIGTERM)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in printed
    assert json.loads((out / "gpu.json").read_text())["steps"][0]["code"] is None
    assert (out / "gpu.tar.gz").is_file()
    with pytest.raises(ProcessLookupError):
        os.kill(int(child.read_text()), 0)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "no GPU was found"),
        (["--model", "resnet50"], "name it MODEL:VARIANT"),
        (["--backend", "openvino"], "choose of onnxruntime, tensorrt, torch"),
        (["--only", "sped-"], "no step's name begins so"),
        (["--device", "cpu", "--only", "speed-nanotrack"], "is not there: --only export makes it"),
        (["--device", "cpu", "--only", "speed-nanotrack", "--bundles", "BUNDLES"], "name --only numerics, too"),
    ],
)
def test_what_can_not_be_run_is_one_line_and_writes_nothing(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gpu, "gpus", lambda: [])
    put(setup(tmp_path), NANO)
    words = [str(tmp_path / "bundles") if word == "BUNDLES" else word for word in words]
    assert main([*words, "--out", str(tmp_path / "out")]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("gpu: ")
    assert printed.err.count("\n") == 1
    assert said in printed.err
    assert [path.name for path in tmp_path.iterdir()] == ["bundles"]


def test_exports_need_no_gpu_and_take_what_is_there(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gpu, "gpus", lambda: [])
    monkeypatch.setattr(gpu_session, "exports", lambda made: [python("export-a", "print(1)")])
    assert main(["--only", "export", "--out", str(tmp_path / "out")]) == 0
    assert json.loads((tmp_path / "out" / "gpu.json").read_text())["steps"][0]["said"] == ["1"]
    monkeypatch.setattr(gpu_session, "exports", lambda made: [])
    assert main(["--only", "export", "--out", str(tmp_path / "out")]) == 0
    assert "every bundle is in" in capsys.readouterr().out


def test_the_commands_are_listed_without_a_gpu(tmp_path, capsys):
    assert main(["--list", "--out", str(tmp_path / "out")]) == 0
    assert "speed-siamfc-alexnet-fp16: trk-bench --device cuda" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_only_what_ran_is_timed_and_what_did_not_is_told(tmp_path):
    made = setup(tmp_path, device="cuda")
    (step,) = speeds(made, made.works)
    assert step.words.count("--backend") == 3
    ran = {"backend": "torch", "frames_on": "host"}
    failed = [
        {"backend": "torch", "frames_on": "device", "why": "an illegal address"},
        {"backend": "onnxruntime", "frames_on": "host", "why": "not installed"},
        {"backend": "onnxruntime", "frames_on": "device", "why": "not installed"},
    ]
    numerics_file(made, ran, *failed)
    assert len(rows(made)) == 4
    (step,) = speeds(made, made.works)
    assert "onnxruntime" not in step.words
    assert step.words[step.words.index("--frames-on") :].count("--frames-on") == 1
    assert step.notes == (
        "without frames on the device: torch: an illegal address",
        "without onnxruntime: not installed",
    )
    numerics_file(made, {**ran, "why": "full memory"}, *failed)
    (step,) = speeds(made, made.works)
    assert step.words == []
    put(made, NANO)
    run = session(made)
    assert not run.run([step])
    assert "without torch: full memory" in "".join(run.done[0].said)
    numerics_file(made, ran, {**ran, "frames_on": "device"})
    (step,) = speeds(made, made.works)
    assert step.words.count("--frames-on") == 2
    assert step.notes == ()


def test_a_profile_tells_which_bundles_it_lacks(tmp_path):
    made = setup(tmp_path, model=["nanotrack:v3", "siamfc:alexnet"])
    put(made, NANO)
    (step,) = profiles(made)
    assert step.words.count("--bundle") == 1
    assert step.notes == ("without siamfc-alexnet-fp16: no bundle",)


def test_few_targets_try_the_command_and_many_are_measured(tmp_path):
    assert list(crowd(setup(tmp_path))) == []
    (step,) = crowd(setup(tmp_path, model=None, small=False))
    assert "32" in step.words
    (export,) = exports(setup(tmp_path, model=["siamrpnpp:mobilenetv2"]))
    assert export.words[export.words.index("--targets") + 1] == "32"
    assert list(compiled(setup(tmp_path, model=None))) == []
    assert next(step.name for step in numerics(setup(tmp_path), [NANO], 2)) == "numerics-torch-fp16-2"


def test_a_bundle_without_a_graph_for_many_targets_is_told(tmp_path, tiny_trk):
    made = setup(tmp_path, model=["siamrpnpp:mobilenetv2"], small=False)
    made.bundles.mkdir()
    made.bundle(made.works[0]).write_bytes(tiny_trk.read_bytes())
    (step,) = crowd(made)
    assert step.notes == ("without a graph for 32 targets at once: the bundle was exported without --targets 32",)


@pytest.mark.slow
def test_the_whole_session_runs_on_a_cpu_from_a_bare_checkout(tmp_path):
    # Without PyAV, and as a folder on the path, from another one.
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "trk").symlink_to(Path(gpu.__file__).parents[1], target_is_directory=True)
    (tmp_path / "path" / "sitecustomize.py").write_text("import sys\nsys.modules['av'] = None\n")
    words = ["--device", "cpu", "--small", "--model", "nanotrack:v3", "--precision", "fp32", "--minutes", "8"]
    done = subprocess.run(
        [sys.executable, "-m", "trk.bench.gpu", *words, "--out", str(tmp_path / "out")],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "path")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    with tarfile.open(tmp_path / "out" / "gpu.tar.gz") as archive:
        names = {name.removeprefix("gpu/") for name in archive.getnames()}
    assert {"gpu.json", "gpu.md", "gpu-limits.json", "gpu-speed-nanotrack-v3-fp32.json"} <= names
    assert "gpu-profile-fp32.json" in names
    page = (tmp_path / "out" / "gpu.md").read_text()
    assert "## Not done" not in page
    for title in ("## Limits", "## Numerics", "## Speed", "## Profile"):
        assert title in page
    assert "upstream-style" in page
