import os
import shutil
import signal
import subprocess
import sys

import pytest
import tiny
import torch

from trk import Tracker
from trk.cli.command import run
from trk.cli.export import command
from trk.cli.run import command as run_command
from trk.engine.bundle import Bundle
from trk.engine.geometry import CropRule
from trk.models.registry import find

NANO = ("--model", "nanotrack", "--variant", "v1")
FC = ("--model", "siamfc", "--variant", "alexnet")
"""Of the real networks the one that is exported in the shortest time."""


@pytest.fixture
def trk_export(capsys):
    """Run the command in this process: exit code, stdout and the lines of stderr."""

    def call(*args):
        code = run(command, [str(arg) for arg in args])
        printed = capsys.readouterr()
        return code, printed.out, printed.err.splitlines()

    return call


@pytest.fixture
def refused(trk_export, tmp_path):
    """The command ends with code 2 and one line on stderr that holds `words`; nothing is written."""

    def call(*args, words=""):
        before = sorted(tmp_path.rglob("*"))
        code, out, lines = trk_export(*args)
        assert (code, out) == (2, "")
        assert len(lines) == 1
        assert lines[0].startswith("trk-export: ")
        assert words in lines[0]
        assert sorted(tmp_path.rglob("*")) == before
        return lines[0]

    return call


def random_weights(folder, file, *row):
    torch.manual_seed(0)
    torch.save(find(*row).build().state_dict(), folder / file)
    return folder / file


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Weights of NanoTrack V1, random, as upstream saves them."""
    return random_weights(tmp_path_factory.mktemp("checkpoint"), "nanotrackv1.pth", "nanotrack", "v1")


@pytest.fixture(scope="module", params=["nanotrack/v1", "lightfc/mobilenetv2", "fear/xs"])
def any_checkpoint(request, tmp_path_factory):
    """Weights of a row, random, and the options that name the row."""
    model, variant = request.param.split("/")
    path = random_weights(tmp_path_factory.mktemp("checkpoint"), f"{model}.pth", model, variant)
    return path, ("--model", model, "--variant", variant)


def test_checkpoint_alone_is_enough(trk_export, tmp_path):
    weights, out = tmp_path / "siamfc.pth", tmp_path / "siamfc.trk"
    torch.save(find("siamfc").build().state_dict(), weights)
    code, printed, lines = trk_export("--weights", weights, "--set", "scale_lr=0.05", "--out", out)
    assert (code, printed) == (0, f"{out}\n")
    for name in ("map_score", "box", "score", "best"):
        assert any(line.startswith(name) for line in lines)
    manifest = Bundle(out).manifest
    assert (manifest.model, manifest.variant) == ("siamfc", "alexnet")
    assert (manifest.weights.origin, manifest.weights.file) == ("checkpoint", "siamfc.pth")
    assert len(manifest.weights.sha256) == 64
    assert manifest.params == {**find("siamfc").params, "scale_lr": 0.05}
    assert sorted(tmp_path.iterdir()) == [weights, out]


def test_recentred_crops_are_the_models_own_otherwise(trk_export, tmp_path):
    trk_export(*FC, "--random", "--recentre", "--out", tmp_path / "fc.trk")
    rule = Bundle(tmp_path / "fc.trk").manifest.geometry.crop
    assert rule == CropRule(**find("siamfc").geometry["crop"]).model_copy(update={"recentre": True})


def test_random_weights_are_marked_and_run(trk_export, clip, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code, printed, _ = trk_export(*FC, "--random", "--seed", "3")
    assert (code, printed) == (0, "bundles/siamfc-alexnet\n")
    manifest = Bundle("bundles/siamfc-alexnet").manifest
    assert (manifest.weights.origin, manifest.weights.seed) == ("random", 3)
    tracker = Tracker("bundles/siamfc-alexnet", threads=1)
    tracker.init(clip.frames[0], clip.boxes[0])
    assert tracker.update(clip.frames[1]).frame_index == 1
    assert (
        run(run_command, [str(clip.folder), "--init", clip.init, "--end", "2", "--bundle", "bundles/siamfc-alexnet"])
        == 0
    )
    assert "random weights" in capsys.readouterr().err


def test_winograd_says_where_it_has_nothing_to_do(trk_export, tmp_path, monkeypatch):
    monkeypatch.setattr("trk.models.registry.ROWS", (tiny.TINY,))
    code, _, lines = trk_export("--model", "tiny", "--random", "--winograd", "--out", tmp_path / "tiny.trk")
    assert code == 0
    assert "no convolution of tiny/one at 255 px gains by Winograd's form" in lines


def test_list_has_a_line_for_every_variant(trk_export):
    code, out, lines = trk_export("--list", "--model", "nanotrack")
    assert (code, lines) == (0, [])
    head, *rows = out.splitlines()
    assert head.split()[:2] == ["model", "variant"]
    assert [row.split()[:2] for row in rows] == [["nanotrack", version] for version in ("v3", "v2", "v1")]
    assert "SiamTrackers" in rows[0]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ([], "trk-export --list"),
        (["--model", "siamrpnp", "--random"], "did you mean siamrpn"),
        (["--model", "zzz", "--random"], "it knows siamrpnpp"),
        (["--list", "--model", "zzz"], "it knows siamrpnpp"),
        (["--model", "nanotrack", "--variant", "v9", "--random"], "v3"),
        (["--variant", "v1", "--random"], "no model"),
        (["--variant", "v1", "--weights", "{checkpoint}"], "--model"),
        ([*NANO, "--random", "--weights", "{checkpoint}"], "exclude each other"),
        ([*NANO, "--random", "--preset", "vot2099"], "it has default"),
        ([*NANO, "--random", "--set", "lr"], "name=number"),
        ([*NANO, "--random", "--set", "lr=inf"], "name=number"),
        ([*NANO, "--random", "--set", "penalty=1"], "it has penalty_k"),
        ([*NANO, "--random", "--seed", "x"], "--seed"),
        ([*NANO, "--random", "--fast"], "trk-export --help"),
        ([*NANO, "--random", "--winograd", "--precision", "fp16"], "--winograd is for ONNX Runtime on a CPU"),
        ([*NANO, "--random", "--winograd", "--engine", "tensorrt"], "--winograd is for ONNX Runtime on a CPU"),
        ([*NANO, "--weights", "nowhere.pth"], "nowhere.pth"),
        ([*NANO, "--random", "--out", "nano.onnx"], "a folder or a .trk file"),
        (["--model", "siamfc", "--weights", "{checkpoint}"], "nanotrackv1.pth"),
        (["--model", "siamfc", "--variant", "alexnet", "--weights", "{checkpoint}"], "nanotrack/v1"),
    ],
)
def test_option_that_makes_no_sense(refused, checkpoint, tmp_path, monkeypatch, args, words):
    monkeypatch.chdir(tmp_path)
    refused(*(arg.format(checkpoint=checkpoint) for arg in args), words=words)


def test_model_without_shipped_weights_says_where_upstream_has_them(refused):
    line = refused("--model", "siamfc", words="siamfc_alexnet_e50.pth")
    assert "--random" in line


@pytest.mark.parametrize("kind", ["empty", "text", "truncated", "keys missing", "another shape", "nan"])
def test_checkpoint_that_does_not_fit(refused, any_checkpoint, tmp_path, kind):
    checkpoint, row = any_checkpoint
    path = tmp_path / "weights.pth"
    state = torch.load(checkpoint)
    last = list(state)[-1]
    if kind == "keys missing":
        state = dict(list(state.items())[: len(state) // 2])
    elif kind == "another shape":
        state[last] = torch.zeros(7, 7)
    elif kind == "nan":
        state[last] = torch.full_like(state[last], float("nan"))
    torch.save(state, path)
    if kind in ("empty", "text"):
        path.write_text("" if kind == "empty" else "not weights")
    elif kind == "truncated":
        path.write_bytes(path.read_bytes()[:-1000])
    line = refused(*row, "--weights", path, "--out", tmp_path / "b.trk", words="weights.pth")
    if kind in ("another shape", "nan"):
        assert last in line


@pytest.mark.parametrize("place", ["file/bundle", "file/b.trk", "folder", "folder.trk", "film.mp4"])
def test_output_that_can_not_be_written(refused, tmp_path, place):
    for name in ("file", "film.mp4"):
        (tmp_path / name).write_text("mine")
    for name in ("folder", "folder.trk"):
        (tmp_path / name).mkdir()
    (tmp_path / "folder" / "mine.txt").write_text("mine")
    refused(*NANO, "--random", "--out", tmp_path / place, words=place.split("/")[0])


def test_without_pytorch_it_says_what_to_install(refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    refused(*NANO, "--random", words="trk-engine[export]")


def test_traceback_where_it_is_asked_for(trk_export):
    code, _, lines = trk_export("--model", "zzz", "--random", "--traceback")
    assert code == 2
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1].startswith("trk-export: ")


def test_help_and_version(trk_export):
    code, out, _ = trk_export("--help")
    assert code == 0
    assert "Examples:" in out
    code, out, _ = trk_export("--version")
    assert code == 0
    assert "0.1.0" in out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "terminated"])
def test_interruption_leaves_the_bundle_that_was_there(tiny_bundle, tmp_path, number):
    out = shutil.copytree(tiny_bundle, tmp_path / "bundle")
    words = [sys.executable, "-c", "from trk.cli.export import main; main()", *NANO, "--random", "--out", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr.readline().startswith("tracing the template branch")
        process.send_signal(number)
        printed, told = process.communicate(timeout=120)
    assert process.returncode == 130, told
    assert printed == ""
    assert told.splitlines()[-1] == "trk-export: interrupted"
    assert "Traceback" not in told
    assert list(tmp_path.iterdir()) == [out]
    assert Bundle(out).manifest == Bundle(tiny_bundle).manifest
