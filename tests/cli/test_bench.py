import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cuda_stand_in import FakeRuntime
from nano import nano_bundle
from torch_stand_in import torch_cuda

from trk.bench.stages import TRACKING
from trk.cli.bench import command
from trk.cli.command import EXIT_ERROR, EXIT_INTERRUPTED, run
from trk.engine.backends import _LOADERS
from trk.engine.bundle import Bundle
from trk.engine.tracker import Tracker
from trk.errors import BackendError
from trk.models.published import SPEEDS, Published
from trk.weights.shipped import default_bundle

QUICK = ("--frames", "6", "--warmup", "3", "--rounds", "2", "--starts", "0")


@pytest.fixture(scope="module")
def nano(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return nano_bundle(tmp_path_factory)


def test_a_bundle_is_measured_per_thread_count(clip, tiny_trk, tmp_path, capsys):
    out = tmp_path / "speed.json"
    words = [str(clip.video), "--init", clip.init, "--bundle", str(tiny_trk), "--threads", "1", "--threads", "2"]
    assert run(command, [*words, *QUICK, "--json", str(out)]) == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "bundle.trk" in printed.err
    assert "320x240, 6 frames, 2 rounds" in printed.err
    found = json.loads(out.read_text())
    assert [(entry["how"], entry["threads"]) for entry in found["entries"]] == [("onnxruntime", 1), ("onnxruntime", 2)]
    for entry in found["entries"]:
        assert entry["frames"] == 10  # five of six frames in each of two rounds: the first of a block is not counted
        assert entry["fps"] == pytest.approx(1e3 / entry["total"]["median_ms"], rel=1e-3)
        for part in ("total", "cpu", *TRACKING):
            assert entry[part]["q1_ms"] <= entry[part]["median_ms"] <= entry[part]["q3_ms"] <= entry[part]["p99_ms"]
        assert entry["about"]["model"] == "tiny"
        assert len(entry["about"]["sha256"]) == 64
        assert len(entry["round_median_ms"]) == 2
    assert found["clip"] == {"name": "clip.mp4", "frames": 6, "size": [320, 240], "init": list(clip.boxes[0])}
    assert found["ratios"] == []
    assert found["machine"]["cpu"]
    assert found["versions"]["onnxruntime"]
    assert (
        f"--bundle {tiny_trk} --threads 1 --threads 2 --starts 0 --frames 6 --warmup 3 --rounds 2" in found["command"]
    )


def test_peers_stand_beside_bundles_with_ratios_to_a_baseline(clip, tiny_trk, tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (trk-engine[eval])")
    words = [str(clip.video), "--init", clip.init, "--bundle", str(tiny_trk), *QUICK]
    words += ["--tracker", "opencv:mil", "--tracker", "stay", "--baseline", "stay"]
    written = [tmp_path / name for name in ("speed.json", "speed.md", "speed.png")]
    for option, path in zip(("--json", "--markdown", "--picture"), written, strict=True):
        words += [option, str(path)]
    assert run(command, words) == 0
    told = capsys.readouterr().err
    found = json.loads(written[0].read_text())
    assert [entry["bundle"] for entry in found["entries"]] == ["bundle.trk", "opencv-mil", "stay"]
    bundle, peer, _ = found["entries"]
    assert peer["search"] is None
    assert peer["gflops"] is None
    assert bundle["gflops"] == pytest.approx(
        bundle["about"]["search_gflop"] / bundle["search"]["median_ms"] * 1e3, 0.01
    )
    peak = found["gemm_gflops"]["1"]["peak"]
    assert bundle["share_of_gemm_peak"] == pytest.approx(bundle["gflops"] / peak, rel=0.01)
    assert found["baseline"]["bundle"] == "stay"
    rows = {row["bundle"]: row for row in found["baseline"]["times_as_fast"]}
    assert set(rows) == {"bundle.trk", "opencv-mil"}
    for row in rows.values():
        assert row["total"]["q1"] <= row["total"]["median"] <= row["total"]["q3"] < 1  # staying costs nothing
        assert 0 <= row["overlap_of_boxes"] <= 1
    assert "times as fast as stay, stay, 1 thread:" in told
    text = written[1].read_text()
    assert found["command"] in text
    assert "| opencv-mil | opencv | 1 |" in text
    assert "share_of_gemm_peak" in text
    assert written[2].read_bytes().startswith(b"\x89PNG")


def test_start_up_memory_and_copied_bytes_are_measured_in_a_process_of_its_own(clip, tiny_trk, capsys):
    words = [str(clip.video), "--init", clip.init, "--bundle", str(tiny_trk), "--tracker", "stay", "--json", "-"]
    assert run(command, [*words, "--frames", "6", "--rounds", "1", "--starts", "1"]) == 0
    printed = capsys.readouterr()
    bundle, peer = (entry["footprint"] for entry in json.loads(printed.out)["entries"])
    for found in (bundle, peer):
        assert found["starts"] == 1
        assert found["start_s"] >= found["load_s"] + found["first_s"] > 0
    assert bundle["copied_bytes"] > 3 * 255 * 255 * 3  # three crops of the pyramid
    assert peer["copied_bytes"] is None
    if bundle["peak_mib"] is not None:
        assert bundle["peak_mib"] >= bundle["memory_mib"] > bundle["bare_mib"] > 10
    assert "in a process of its own" in printed.err


def test_upstream_style_is_started_in_a_process_of_its_own_too(clip, nano, capsys):
    words = [str(clip.video), "--init", clip.init, "--bundle", str(nano), "--against", "upstream-style", "--json", "-"]
    assert run(command, [*words, "--frames", "5", "--warmup", "1", "--rounds", "1", "--starts", "1"]) == 0
    printed = capsys.readouterr()
    ours, theirs = (entry["footprint"] for entry in json.loads(printed.out)["entries"])
    for found in (ours, theirs):
        assert found["first_s"] == pytest.approx(found["init_s"] + found["frame_1_s"], abs=1e-3)
        assert found["frame_2_s"] > 0
        assert found["device_mib"] is None
    assert theirs["copied_bytes"] is None
    assert "frame 1 ms" in printed.err


def test_several_targets_are_measured_beside_one(clip, tiny_trk, tmp_path, capsys):
    words = [
        str(clip.video),
        "--init",
        clip.init,
        "--bundle",
        str(tiny_trk),
        *QUICK,
        "--targets",
        "1",
        "--targets",
        "3",
    ]
    assert run(command, [*words, "--json", "-", "--markdown", str(tmp_path / "a.md")]) == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    one, three = found["entries"]
    assert (one["targets"], three["targets"]) == (1, 3)
    assert three["target_fps"] == pytest.approx(3 * three["fps"], rel=1e-3)
    assert three["gflop"] == pytest.approx(3 * one["gflop"], rel=0.01)
    assert "--targets 1 --targets 3" in found["command"]
    assert "target FPS" in printed.err
    assert "target FPS" in (tmp_path / "a.md").read_text()


def test_published_speeds_stand_beside_ours(clip, nano, monkeypatch, tmp_path, capsys):
    model = Bundle(nano).manifest
    speed = (Published("fps", 50, "Titan [X]", "a paper"),)
    monkeypatch.setitem(SPEEDS, f"{model.model}/{model.variant}", speed)
    words = [str(clip.video), "--init", clip.init, "--bundle", str(nano), *QUICK, "--json", "-"]
    assert run(command, [*words, "--markdown", str(tmp_path / "a.md")]) == 0
    printed = capsys.readouterr()
    (entry,) = json.loads(printed.out)["entries"]
    (found,) = entry["published"]
    assert found["times"] == pytest.approx(entry["fps"] / 50, rel=1e-2)
    assert "published 50 FPS on Titan [X] (a paper), here" in printed.err
    assert "| 50 | Titan [X] | a paper |" in (tmp_path / "a.md").read_text()


def test_gpus_are_told_in_json_and_markdown(clip, tiny_trk, monkeypatch, tmp_path, capsys):
    gpu = {"name": "Stand-in GPU", "sm_mhz": 345.0, "sm_max_mhz": 1980.0, "driver": "580.1", "power_w": 70.0}
    monkeypatch.setattr("trk.cli.bench.gpus", lambda: [gpu])
    monkeypatch.setattr("trk.bench.speed_report.gpus", lambda: [{**gpu, "sm_mhz": 1980.0}])
    words = [str(clip.video), "--init", clip.init, "--bundle", str(tiny_trk), *QUICK, "--json", "-"]
    assert run(command, [*words, "--markdown", str(tmp_path / "a.md")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["gpus"] == [gpu]
    assert found["gpus_after"][0]["sm_mhz"] == 1980.0
    assert "GPU: Stand-in GPU, SM 345 of 1980 MHz, driver 580.1" in (tmp_path / "a.md").read_text()


class Timed(FakeRuntime):
    """Seven milliseconds lie between any two moments."""

    def cudaEventElapsedTime(self, before, after):  # noqa: N802
        return self._done("cudaEventElapsedTime", 7.0)


def test_parts_by_the_devices_clock_are_told_where_a_backend_can(clip, tiny_trk, monkeypatch, tmp_path, capsys):
    words = [str(clip.video), "--init", clip.init, "--bundle", str(tiny_trk), *QUICK, "--json", "-"]
    words += ["--backend", "torch", "--backend", "onnxruntime", "--markdown", str(tmp_path / "a.md")]
    monkeypatch.setattr("trk.cli.bench.on_device", lambda device: True)
    monkeypatch.setitem(_LOADERS, "torch", lambda bundle, *_: torch_cuda(bundle, Timed(), monkeypatch))
    assert run(command, words) == 0
    printed = capsys.readouterr()
    torch, onnxruntime = json.loads(printed.out)["entries"]
    parts = [torch["device"][part]["median_ms"] for part in ("upload", "compute", "download")]
    assert parts == pytest.approx([7.0] * 3)
    assert torch["device"]["runs"] == 50
    assert onnxruntime["device"] is None
    assert "a search by the device's clock" in printed.err
    assert "by the device's clock" in (tmp_path / "a.md").read_text()


def test_parts_that_can_not_be_told_cost_nothing_that_was_timed(clip, tiny_trk, monkeypatch, capsys):
    def breaks(entry, clip):
        raise RuntimeError("an illegal\naddress")

    monkeypatch.setattr("trk.cli.bench.on_device", lambda device: True)
    monkeypatch.setattr("trk.cli.bench.device_parts", breaks)
    words = [str(clip.video), "--init", clip.init, "--bundle", str(tiny_trk), *QUICK, "--json", "-"]
    assert run(command, words) == 0
    printed = capsys.readouterr()
    assert len(json.loads(printed.out)["entries"]) == 1
    assert "in parts: RuntimeError: an illegal address" in printed.err


def test_a_ground_truth_brings_the_box_and_accuracy(clip, tiny_trk, tmp_path, capsys):
    for image in clip.folder.iterdir():
        (tmp_path / image.name).symlink_to(image)
    (tmp_path / "groundtruth.txt").write_text("\n".join(",".join(map(str, box)) for box in clip.boxes))
    assert run(command, [str(tmp_path), "--bundle", str(tiny_trk), *QUICK, "--json", "-"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)["entries"]
    assert entry["mean_overlap"] > 0.7


def test_a_nanotrack_runs_against_opencvs_own(clip, nano, capsys):
    pytest.importorskip("cv2").TrackerNano_create  # noqa: B018
    words = [str(clip.video), "--init", clip.init, "--bundle", str(nano), *QUICK, "--against", "opencv-nano"]
    assert run(command, [*words, "--json", "-"]) == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert [entry["how"] for entry in found["entries"]] == ["onnxruntime", "opencv-nano"]
    (ratio,) = found["ratios"]
    assert ratio["total"]["median"] > 0
    assert ratio["search"] is None
    assert not ratio["boxes"]["meant_to_be_equal"]
    assert "onnxruntime is" in printed.err


def test_a_runtime_that_can_not_be_had_fails_alone(clip, tiny_trk, capsys):
    words = [str(clip.video), "--init", clip.init, "--bundle", str(tiny_trk), *QUICK, "--json", "-"]
    assert run(command, [*words, "--device", "cpu", "--backend", "tensorrt", "--backend", "onnxruntime"]) == EXIT_ERROR
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert [entry["how"] for entry in found["entries"]] == ["onnxruntime"]
    (failed,) = found["failed"]
    assert (failed["how"], failed["bundle"]) == ("tensorrt", "bundle.trk")
    assert "runs on cuda only" in failed["why"]
    assert "tensorrt, 1 thread failed and is in no figure" in printed.err


def test_frames_that_lie_on_a_gpu_are_timed_beside_the_hosts(clip, tiny_trk, monkeypatch, capsys):
    # A stand-in for a GPU, whose trackers take frames from anywhere: what is shown is who is given which frames.
    monkeypatch.setattr("trk.bench.speed_entries.torch_with_gpu", lambda: None)
    monkeypatch.setattr("trk.bench.speed.to_gpu", lambda frames: [frame.copy() for frame in frames])
    opened = Tracker
    monkeypatch.setattr("trk.bench.speed_entries.Tracker", lambda bundle, backend, device, threads: opened(bundle))
    words = [str(clip.video), "--init", clip.init, "--bundle", str(tiny_trk), *QUICK, "--json", "-"]
    words += ["--device", "cuda", "--backend", "onnxruntime", "--frames-on", "host", "--frames-on", "device"]
    assert run(command, words) == 0
    found = json.loads(capsys.readouterr().out)
    assert [entry["how"] for entry in found["entries"]] == ["onnxruntime", "onnxruntime, frames on the device"]
    assert [entry["about"]["frames_on"] for entry in found["entries"]] == ["host", "device"]
    assert "--frames-on host --frames-on device" in found["command"]


def test_a_peer_that_fails_is_told_and_the_rest_is_measured(clip, tiny_trk, monkeypatch, capsys):
    def gives_up(self, frame):
        raise BackendError("OpenCV's tracker gave up")

    monkeypatch.setattr("trk.bench.peers_opencv.OpenCVPeer.update", gives_up)
    words = [str(clip.video), "--init", clip.init, "--bundle", str(tiny_trk), "--tracker", "opencv:mil", *QUICK]
    assert run(command, [*words, "--json", "-"]) == EXIT_ERROR
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert [entry["bundle"] for entry in found["entries"]] == ["bundle.trk"]
    assert found["failed"] == [
        {"bundle": "opencv-mil", "how": "opencv", "threads": 1, "targets": 1, "why": "OpenCV's tracker gave up"}
    ]
    assert "opencv-mil, opencv, 1 thread failed and is in no figure" in printed.err


def test_quick_fits_rounds_and_frames_into_its_time(clip, tiny_trk, capsys):
    words = [str(clip.video), "--init", clip.init, "--bundle", str(tiny_trk), "--quick", "--json", "-"]
    assert run(command, words) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["plan"]["warmup_frames"] == 3
    assert found["entries"][0]["footprint"]["starts"] == 1
    assert found["command"].endswith("--quick")


def test_json_on_stdout_is_nothing_but_json(clip, tiny_trk, capsys):
    words = [str(clip.folder), "--init", clip.init, "--bundle", str(tiny_trk), *QUICK, "--json", "-"]
    assert run(command, words) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["clip"]["name"] == "frames"
    assert "onnxruntime" in printed.err


def test_quiet_prints_no_table(clip, tiny_trk, capsys):
    words = [str(clip.video), "--init", clip.init, "--bundle", str(tiny_trk), *QUICK, "--quiet"]
    assert run(command, words) == 0
    assert capsys.readouterr() == ("", "")


def test_a_bundle_is_compared_with_its_upstream(clip, nano, capsys):
    words = [str(clip.video), "--init", clip.init, "--bundle", str(nano), *QUICK, "--json", "-"]
    assert run(command, [*words, "--against", "upstream-style", "--against", "upstream-no-grad"]) == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert [entry["how"] for entry in found["entries"]] == ["onnxruntime", "upstream-style", "upstream-no-grad"]
    assert [ratio["slow"] for ratio in found["ratios"]] == ["upstream-style", "upstream-no-grad"]
    for ratio in found["ratios"]:
        for part in ("total", "search", "crop_and_host", "cpu"):
            assert len(ratio[part]["rounds"]) == 2
            assert 0 < ratio[part]["min"] <= ratio[part]["median"] <= ratio[part]["max"]
        assert ratio["boxes"]["largest_difference_px"] <= 0.05
        assert ratio["boxes"]["frames_compared"] >= 3
    assert "nano.trk, 1 thread: onnxruntime is" in printed.err
    assert "random weights: they show speed and track nothing" in printed.err


def test_bundles_of_one_name_are_told_apart_by_their_paths(clip, tiny_trk, tmp_path, capsys):
    other = tmp_path / tiny_trk.name
    other.write_bytes(tiny_trk.read_bytes())
    words = [str(clip.video), "--init", clip.init, "--bundle", str(tiny_trk), "--bundle", str(other), *QUICK]
    assert run(command, [*words, "--json", "-", "--quiet"]) == 0
    names = [entry["bundle"] for entry in json.loads(capsys.readouterr().out)["entries"]]
    assert names == [str(tiny_trk), str(other)]


def test_the_sample_and_the_default_bundle_are_measured_where_none_is_named(capsys):
    assert (
        run(command, ["--frames", "3", "--warmup", "1", "--rounds", "1", "--starts", "0", "--json", "-", "--quiet"])
        == 0
    )
    found = json.loads(capsys.readouterr().out)
    assert (found["clip"]["name"], found["clip"]["size"]) == ("sample bunny", [1280, 720])
    assert [entry["bundle"] for entry in found["entries"]] == [default_bundle().name]


def test_pytorch_stays_out_unless_it_is_compared_with(clip, tiny_trk):
    words = [str(clip.video), "--init", clip.init, "--bundle", str(tiny_trk), *QUICK, "--quiet"]
    program = (
        "import sys; from trk.cli.bench import command; from trk.cli.command import run; "
        f"code = run(command, {words!r}); sys.exit(code or 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=clip.folder, check=False).returncode == 0


BAD: dict[str, tuple[Callable[[Any], list[str]], str]] = {
    "no init": (lambda at: [str(at.video)], "no target: give its box in the first frame as --init"),
    "init alone": (lambda at: ["--init", "1,2,3,4"], "the sample brings its own box"),
    "start alone": (lambda at: ["--start", "3"], "--start goes with a VIDEO"),
    "malformed init": (lambda at: [str(at.video), "--init", "1,2,x"], "is not x,y,w,h"),
    "init outside": (lambda at: [str(at.video), "--init", "900,2,10,10"], "is outside the frame 320x240"),
    "init without area": (lambda at: [str(at.video), "--init", "9,2,0,10"], "has no area"),
    "missing video": (lambda at: ["none.mp4", "--init", at.init], "none.mp4"),
    "late start": (lambda at: [str(at.video), "--init", at.init, "--start", "19"], "3 are the least"),
    "mixed on stdout": (lambda at: [str(at.video), "--json", "-", "--markdown", "-"], "would mix on stdout"),
    "markdown into nowhere": (lambda at: [str(at.video), "--init", at.init, "--markdown", "no/a.md"], "no folder no"),
    "picture of no kind": (lambda at: [str(at.video), "--init", at.init, "--picture", "a.bmp"], "ends in .png"),
    "baseline of nothing": (
        lambda at: [str(at.video), "--init", at.init, "--baseline", "kcf"],
        "--baseline kcf is nothing that is measured: there are bundle.trk, onnxruntime",
    ),
    "peer by TraX": (lambda at: [str(at.video), "--init", at.init, "--tracker", "command:x"], "can't be timed"),
    "unknown peer": (lambda at: [str(at.video), "--init", at.init, "--tracker", "opencv:goturn"], "has no tracker"),
    "unknown backend": (lambda at: [str(at.video), "--init", at.init, "--backend", "caffe"], "no backend 'caffe'"),
    "nano of another": (lambda at: [str(at.video), "--init", at.init, "--against", "opencv-nano"], "tiny"),
    "no threads": (lambda at: [str(at.video), "--init", at.init, "--threads", "0"], "threads"),
    "no rounds": (lambda at: [str(at.video), "--init", at.init, "--rounds", "0"], "rounds"),
    "unknown baseline": (lambda at: [str(at.video), "--init", at.init, "--against", "caffe"], "upstream-style"),
    "no gpu": (lambda at: [str(at.video), "--init", at.init, "--device", "cuda"], "was asked for"),
    "no gpu for torch": (
        lambda at: [str(at.video), "--init", at.init, "--device", "cuda", "--backend", "torch"],
        "this PyTorch sees no GPU",
    ),
    "frames on no device": (
        lambda at: [str(at.video), "--init", at.init, "--frames-on", "device"],
        "--device cuda goes with it",
    ),
    "frames on no gpu": (
        lambda at: [str(at.video), "--init", at.init, "--frames-on", "device", "--device", "cuda"],
        "this PyTorch sees no GPU",
    ),
    "frames on the device in a sweep": (
        lambda at: [str(at.video), "--init", at.init, "--frames-on", "device", "--sweep", "size"],
        "--frames-on belongs to the comparison",
    ),
    "no runtime": (
        lambda at: [str(at.video), "--init", at.init, "--device", "cpu", "--backend", "tensorrt"],
        "the backend tensorrt runs on cuda only",
    ),
    "no targets": (lambda at: [str(at.video), "--init", at.init, "--targets", "0"], "targets"),
    "no upstream": (lambda at: [str(at.video), "--init", at.init, "--against", "upstream-style"], "tiny"),
    "missing bundle": (lambda at: [str(at.video), "--init", at.init, "--bundle", "none.trk"], "no bundle at none.trk"),
    "not a bundle": (lambda at: [str(at.video), "--init", at.init, "--bundle", str(at.video)], "is not a bundle"),
    "json into nowhere": (lambda at: [str(at.video), "--init", at.init, "--json", "no/where.json"], "no folder no"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_exit_code_2(case, clip, tiny_trk, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words, expected = BAD[case]
    given = words(clip)
    bundle = [] if "--bundle" in given else ["--bundle", str(tiny_trk)]
    assert run(command, [*given, *bundle, *([] if "--rounds" in given else QUICK)]) == EXIT_ERROR
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("trk-bench: ")
    assert printed.err.count("\n") == 1
    assert expected in printed.err


def test_ctrl_c_leaves_nothing_half_written(clip, tiny_trk, tmp_path, monkeypatch, capsys):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("trk.cli.bench.measure", interrupted)
    words = [str(clip.video), "--init", clip.init, "--bundle", str(tiny_trk), *QUICK]
    assert run(command, [*words, "--json", str(tmp_path / "speed.json")]) == EXIT_INTERRUPTED
    assert list(tmp_path.iterdir()) == []


def test_against_without_torch_says_what_to_install(clip, tiny_trk, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "trk.bench.upstream_style", None)
    words = [str(clip.video), "--init", clip.init, "--bundle", str(tiny_trk), "--against", "upstream-style"]
    assert run(command, words) == EXIT_ERROR
    assert "pip install 'trk-engine[export]'" in capsys.readouterr().err
