import csv
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from trk.bench.ope import overlap
from trk.cli.command import run
from trk.cli.run import command
from trk.video.boxes import BOX_FORMATS
from trk.weights.clips import sample

MAIN = "from trk.cli.run import main; main()"
WITHOUT_TORCH = (
    "import sys; sys.modules['torch'] = None; sys.modules['onnx'] = None; from trk.cli.run import main; main()"
)


@pytest.fixture
def trk_run(capsys):
    """Run the command in this process: exit code, stdout and the lines of stderr."""

    def call(*args):
        code = run(command, [str(arg) for arg in args])
        printed = capsys.readouterr()
        return code, printed.out, printed.err.splitlines()

    return call


@pytest.fixture
def refused(trk_run, tmp_path):
    """The command ends with code 2 and one line on stderr that holds `words`; no output is left half-written."""

    def call(*args, words=()):
        before = everything(tmp_path)
        code, out, lines = trk_run(*args)
        assert (code, out) == (2, "")
        assert len(lines) == 1
        assert lines[0].startswith("trk-run: ")
        for word in [words] if isinstance(words, str) else words:
            assert word in lines[0]
        assert everything(tmp_path) == before
        return lines[0]

    return call


def everything(folder):
    return {path: path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


def read_csv(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def csv_boxes(path):
    return np.array([[float(row[name]) for name in "xywh"] for row in read_csv(path)])


def frames_of(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]


@pytest.mark.parametrize("kind", ["video", "folder", "glob"])
def test_square_is_followed_through_a_video_a_folder_or_a_glob(trk_run, clip, tiny_trk, tmp_path, kind):
    source = {"video": clip.video, "folder": clip.folder, "glob": f"{clip.folder}/*.png"}[kind]
    boxes = tmp_path / "boxes.csv"
    code, out, lines = trk_run(source, "--init", clip.init, "--bundle", tiny_trk, "--boxes", boxes)
    assert (code, out) == (0, "")
    assert any(line.startswith("20 frames") for line in lines)
    assert overlap(csv_boxes(boxes), clip.boxes).min() > 0.7


def test_all_outputs_are_whole_and_agree(trk_run, clip, tiny_bundle, tmp_path):
    paths = [tmp_path / name for name in ("o.mp4", "b.csv", "b.json", "b.txt", "s.png")]
    out, table, document, text, sheet = paths
    code, _, lines = trk_run(
        clip.video, "--init", clip.init, "--bundle", tiny_bundle, "--threads", 1, "--out", out, "--boxes", table,
        "--boxes", document, "--boxes", text, "--sheet", sheet,
    )  # fmt: skip
    assert code == 0
    for stage in ("decode", "crop", "search", "draw", "write"):
        assert any(line.startswith(stage) for line in lines)
    assert [line for line in lines if line.startswith("wrote ")] == [f"wrote {path}" for path in paths]
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    boxes = csv_boxes(table)
    assert boxes.shape == (20, 4)
    np.testing.assert_allclose(boxes[0], clip.boxes[0])
    about = json.loads(document.read_text())
    assert about["model"] == "tiny"
    assert about["params"] == {"scale_penalty": 0.97, "window_influence": 0.2, "scale_lr": 0.3, "scale_step": 1.04}
    np.testing.assert_allclose([frame["box"] for frame in about["frames"]], boxes, atol=1e-4)
    otb = np.loadtxt(text, delimiter=",")
    np.testing.assert_allclose(otb - [1, 1, 0, 0], boxes, atol=2e-4)
    drawn = frames_of(out)
    assert len(drawn) == 20
    assert drawn[0].shape == (240, 320, 3)
    assert cv2.imread(str(sheet)) is not None


def test_preset_and_settings_reach_the_tracker(trk_run, clip, tiny_trk, tmp_path):
    out = tmp_path / "b.json"
    options = ("--preset", "steady", "--set", "scale_lr=0.1", "--set", "scale_penalty=1")
    assert trk_run(clip.folder, "--init", clip.init, "--bundle", tiny_trk, "--boxes", out, *options)[0] == 0
    params = json.loads(out.read_text())["params"]
    assert params == {"scale_penalty": 1.0, "window_influence": 0.4, "scale_lr": 0.1, "scale_step": 1.04}


def test_tracking_may_start_later(trk_run, clip, tiny_trk, tmp_path):
    boxes = tmp_path / "b.csv"
    init = ",".join(str(value) for value in clip.boxes[7])
    assert trk_run(clip.video, "--start", 7, "--init", init, "--bundle", tiny_trk, "--boxes", boxes)[0] == 0
    assert [row["frame"] for row in read_csv(boxes)] == [str(number) for number in range(7, 20)]


def test_quiet_prints_nothing(trk_run, clip, tiny_trk):
    assert trk_run(clip.video, "--init", clip.init, "--bundle", tiny_trk, "--quiet") == (0, "", [])


def test_random_weights_are_told(trk_run, clip, bundle_copy):
    manifest = json.loads((bundle_copy / "bundle.json").read_text())
    manifest["weights"]["origin"] = "random"
    (bundle_copy / "bundle.json").write_text(json.dumps(manifest))
    _, _, lines = trk_run(clip.video, "--init", clip.init, "--bundle", bundle_copy)
    assert "random weights" in lines[0]
    assert trk_run(clip.video, "--init", clip.init, "--bundle", bundle_copy, "--quiet")[2] == []


def test_corners_taken_for_a_size_are_told(trk_run, clip, tiny_trk):
    corners = ("--init", "200,100,260,170", "--end", 1, "--bundle", tiny_trk)
    assert any("reaches out of the frame 320x240" in line for line in trk_run(clip.video, *corners)[2])
    said = trk_run(clip.video, *corners, "--init-format", "xyxy")[2]
    assert not any("reaches out" in line for line in said)


@pytest.mark.parametrize("kept", [True, False])
def test_a_run_that_keeps_nothing_says_so(trk_run, clip, tiny_trk, kept):
    _, _, lines = trk_run(clip.video, "--init", clip.init, "--bundle", tiny_trk, *(["--boxes", "-"] if kept else []))
    assert any("no boxes were kept" in line for line in lines) is not kept


def test_what_ships_has_names(trk_run, clip, tmp_path):
    boxes = tmp_path / "b.json"
    assert trk_run(clip.video, "--init", clip.init, "--end", 1, "--bundle", "default", "--boxes", boxes)[0] == 0
    assert json.loads(boxes.read_text())["variant"] == "base"


def test_a_single_image_is_a_video_of_one_frame(trk_run, clip, tiny_trk, tmp_path):
    boxes = tmp_path / "b.csv"
    image = clip.folder / "000.png"
    code, _, lines = trk_run(image, "--init", clip.init, "--bundle", tiny_trk, "--boxes", boxes)
    assert code == 0
    assert len(read_csv(boxes)) == 1
    assert lines


@pytest.mark.parametrize("name", ["o[/b].mp4", "o[red]x.mp4", "ö ä.mp4", "x" * 200 + ".mp4"])
def test_names_are_told_as_they_are(trk_run, clip, tiny_trk, tmp_path, name):
    out = tmp_path / name
    out.parent.mkdir(exist_ok=True)
    video = shutil.copy(clip.video, tmp_path / f"in {out.name}")
    code, _, lines = trk_run(video, "--init", clip.init, "--bundle", tiny_trk, "--out", out)
    assert code == 0
    assert f"wrote {out}" in lines


def test_results_replace_those_of_an_earlier_run(trk_run, clip, tiny_trk, tmp_path):
    boxes = tmp_path / "b.csv"
    boxes.write_text("old")
    for _ in range(2):
        assert trk_run(clip.folder, "--init", clip.init, "--bundle", tiny_trk, "--boxes", boxes)[0] == 0
        assert len(read_csv(boxes)) == 20


def test_demo_tracks_the_sample_and_writes_the_video(trk_run, tiny_trk, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, lines = trk_run("--demo", "--bundle", tiny_trk)
    assert (code, out) == (0, "")
    assert "wrote trk-demo.mp4" in lines
    assert len(frames_of(tmp_path / "trk-demo.mp4")) == 132 - sample("bunny").init_frame


def test_end_reverse_and_times(trk_run, clip, tiny_trk, tmp_path):
    boxes, out = tmp_path / "b.csv", tmp_path / "o.mp4"
    init = ",".join(str(value) for value in clip.boxes[15])
    options = ("--start", "0.2s", "--end", 15, "--reverse", "--init", init, "--boxes", boxes, "--out", out)
    code, _, lines = trk_run(clip.video, "--bundle", tiny_trk, *options)
    assert code == 0, lines
    assert [int(row["frame"]) for row in read_csv(boxes)] == list(range(15, 4, -1))
    assert overlap(csv_boxes(boxes), clip.boxes[15:4:-1]).min() > 0.7
    with av.open(str(out)) as container:
        assert [frame.time for frame in container.decode(video=0)] == pytest.approx([n / 25 for n in range(11)])


@pytest.mark.parametrize(
    ("form", "numbers"),
    [
        (["--init-format", "xyxy"], "90,70,138,118"),
        (["--init-format", "cxcywh"], "114,94,48,48"),
        (["--relative"], "0.28125,0.2916667,0.15,0.2"),
    ],
)
def test_other_ways_to_write_the_box(trk_run, clip, tiny_trk, tmp_path, form, numbers):
    boxes = tmp_path / "b.csv"
    assert trk_run(clip.folder, "--init", numbers, *form, "--bundle", tiny_trk, "--boxes", boxes)[0] == 0
    np.testing.assert_allclose(csv_boxes(boxes)[0], clip.boxes[0], atol=1e-3)


def test_several_targets_each_as_if_alone(trk_run, clip, tiny_trk, tmp_path):
    both, alone, out, sheet = (tmp_path / name for name in ("b.csv", "a.csv", "o.mp4", "s.png"))
    second = "200,150,40,40"
    outputs = ("--boxes", both, "--out", out, "--sheet", sheet)
    assert trk_run(clip.folder, "--init", clip.init, "--init", second, "--bundle", tiny_trk, *outputs)[0] == 0
    rows = read_csv(both)
    assert [row["id"] for row in rows] == ["1", "2"] * 20
    for target, init in (("1", clip.init), ("2", second)):
        assert trk_run(clip.folder, "--init", init, "--bundle", tiny_trk, "--boxes", alone)[0] == 0
        mine = [{name: row[name] for name in row if name != "id"} for row in rows if row["id"] == target]
        assert mine == read_csv(alone)
    assert len(frames_of(out)) == 20


def test_boxes_from_a_file_begin_and_correct_targets(trk_run, clip, tiny_trk, tmp_path):
    seeds, boxes = tmp_path / "seeds.csv", tmp_path / "b.json"
    corrected = clip.boxes[9] + [0, 0, 2, 2]
    rows = [(4, 1, clip.boxes[4]), (9, 1, corrected), (6, 2, [200, 150, 40, 40])]
    lines = [f"{frame},{target}," + ",".join(str(value) for value in box) for frame, target, box in rows]
    seeds.write_text("frame,id,x,y,w,h\n" + "\n".join(lines) + "\n")
    assert trk_run(clip.folder, "--init", seeds, "--bundle", tiny_trk, "--boxes", boxes)[0] == 0
    found = json.loads(boxes.read_text())["frames"]
    assert [row["frame"] for row in found if row["id"] == 1] == list(range(4, 20))
    assert [row["frame"] for row in found if row["id"] == 2] == list(range(6, 20))
    (at_nine,) = [row for row in found if (row["frame"], row["id"]) == (9, 1)]
    assert (at_nine["box"], at_nine["score"]) == (list(corrected), 1.0)


def test_boxes_of_frames_that_are_not_there(trk_run, refused, clip, tiny_trk, tmp_path):
    seeds = tmp_path / "seeds.csv"
    seeds.write_text("frame,x,y,w,h\n40,90,70,48,48\n")
    refused(clip.folder, "--init", seeds, "--bundle", tiny_trk, "--quiet", words="none of the frames")


def test_bad_box_in_a_file_names_its_frame(trk_run, clip, tiny_trk, tmp_path):
    seeds, boxes = tmp_path / "seeds.csv", tmp_path / "b.csv"
    seeds.write_text("frame,x,y,w,h\n0,90,70,48,48\n5,900,70,48,48\n")
    code, _, lines = trk_run(clip.folder, "--init", seeds, "--bundle", tiny_trk, "--boxes", boxes)
    assert code == 2
    assert "outside the frame 320x240" in lines[0]
    assert "(frame 5)" in lines[0]
    assert len(read_csv(boxes)) == 5


def test_every_format_at_once(trk_run, clip, tiny_trk, tmp_path):
    names = [f"b{suffix}" for suffix in BOX_FORMATS]
    options = [word for name in names for word in ("--boxes", tmp_path / name)]
    code, out, _ = trk_run(clip.folder, "--init", clip.init, "--bundle", tiny_trk, "--boxes", "-", *options)
    assert code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    assert [json.loads(line)["frame"] for line in out.splitlines()] == list(range(20))
    coco = json.loads((tmp_path / "b.coco.json").read_text())
    assert (len(coco["images"]), len(coco["annotations"])) == (20, 20)
    assert (coco["images"][0]["width"], coco["images"][0]["height"]) == (320, 240)


def test_a_video_through_a_pipe(clip, tiny_trk, tmp_path):
    boxes = tmp_path / "b.csv"
    raw = b"".join(frame.tobytes() for frame in clip.frames)
    args = ["-", "--raw", "320x240", "--init", clip.init, "--bundle", str(tiny_trk), "--boxes", str(boxes)]
    done = subprocess.run([sys.executable, "-c", MAIN, *args], input=raw, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert overlap(csv_boxes(boxes), clip.boxes).min() > 0.7


@pytest.mark.parametrize(
    "extra", [["--init", "90,70,48,48"], ["--reverse"], ["--sheet", "s.png"], ["--boxes", "-"], ["--boxes", "b.xml"]]
)
def test_options_that_the_page_has_no_use_for(refused, clip, tiny_trk, extra):
    refused(clip.video, "--web", *extra, "--bundle", tiny_trk, words=("boxes" if "b.xml" in extra else "--web"))


def test_page_without_its_extra(clip, tiny_trk):
    program = "import sys; sys.modules['fastapi'] = None; from trk.cli.run import main; main()"
    done = call(program, clip.video, "--web", "--bundle", tiny_trk)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "trk-run: --web needs fastapi: pip install 'trk-engine[web]'\n"


def test_page_on_a_port_in_use(refused, clip, tiny_trk):
    pytest.importorskip("fastapi", reason="the extra web is not installed (trk-engine[web])")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        refused(clip.video, "--web", "--port", port, "--bundle", tiny_trk, words=["--port", str(port)])


def test_password_of_a_stream_is_written_nowhere(trk_run, clip, tiny_trk, tmp_path):
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *words):
            pass

    boxes = tmp_path / "b.json"
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(clip.video.parent))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        url = f"http://me:secret@127.0.0.1:{server.server_port}/{clip.video.name}?key=hidden"
        try:
            code, _, lines = trk_run(url, "--init", clip.init, "--bundle", tiny_trk, "--boxes", boxes)
        finally:
            server.shutdown()
            thread.join()
    assert code == 0, lines
    text = boxes.read_text() + "".join(lines)
    assert f"127.0.0.1:{server.server_port}/{clip.video.name}" in text
    assert "secret" not in text
    assert "hidden" not in text


SOURCES = {
    "missing": ("nowhere.mp4", "no file or folder"),
    "text": ("text.mp4", "not a video"),
    "empty": ("empty.mp4", "empty"),
    "folder without images": ("nothing", "holds no images"),
    "glob of nothing": ("nothing/*.png", "matches no file"),
    "pointer": ("pointer.mp4", "git lfs pull"),
    "image that is none": ("bad.png", "bad.png"),
    "sound only": ("sound.wav", "not a video"),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_video_that_can_not_be_read(refused, tiny_trk, tmp_path, kind):
    (tmp_path / "text.mp4").write_text("once upon a time\n" * 20)
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "nothing").mkdir()
    (tmp_path / "pointer.mp4").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 50 + b"IEND")
    header = b"RIFF\x24\x08\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x40\x1f\0\0\x80\x3e\0\0\2\0\x10\0data\0\x08\0\0"
    (tmp_path / "sound.wav").write_bytes(header + b"\0" * 2048)
    name, words = SOURCES[kind]
    outputs = ("--out", tmp_path / "o.mp4", "--boxes", tmp_path / "b.csv", "--sheet", tmp_path / "s.png")
    refused(tmp_path / name, "--init", "1,2,30,40", "--bundle", tiny_trk, *outputs, words=words)


def test_video_without_a_frame(refused, clip, tiny_trk, tmp_path):
    empty = tmp_path / "empty.mkv"
    with av.open(str(empty), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        container.start_encoding()
    refused(empty, "--init", clip.init, "--bundle", tiny_trk, words="empty.mkv")


@pytest.mark.parametrize("kind", ["image", "video"])
def test_frame_that_fails_in_the_middle_keeps_the_results_so_far(trk_run, clip, tiny_trk, tmp_path, kind):
    if kind == "image":
        source = Path(shutil.copytree(clip.folder, tmp_path / "frames"))
        (source / "011.png").write_bytes((source / "011.png").read_bytes()[:900])
    else:
        source = tmp_path / "cut.mp4"
        data = clip.video.read_bytes()
        source.write_bytes(data[: len(data) * 7 // 10])
    out, table, document, sheet = (tmp_path / name for name in ("o.mp4", "b.csv", "b.json", "s.png"))
    code, _, lines = trk_run(
        source, "--init", clip.init, "--bundle", tiny_trk, "--out", out, "--boxes", table, "--boxes", document,
        "--sheet", sheet,
    )  # fmt: skip
    assert code == 2
    rows = read_csv(table)
    assert len(rows) == 11 if kind == "image" else 3 < len(rows) < 20
    assert f"frame {len(rows)}" in lines[-1]
    assert len(lines) == 1
    assert len(frames_of(out)) == len(rows)
    assert len(json.loads(document.read_text())["frames"]) == len(rows)
    assert cv2.imread(str(sheet)) is not None
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("init", "words"),
    [
        ("", "--init"),
        ("1,2,3", "four numbers"),
        ("1,2,3,4,5", "four numbers"),
        ("a,b,c,d", "four numbers"),
        ("10;20;30;40", "four numbers"),
        ("nan,20,30,40", "not finite"),
        ("10,20,inf,40", "not finite"),
        ("10,20,1e999,40", "not finite"),
        ("10,20,0,40", "no area"),
        ("10,20,30,-40", "no area"),
        ("0.1,0.2,0.3,0.4", "shares of the frame"),
        ("400,20,30,40", "outside the frame 320x240"),
        ("-40,20,30,40", "outside the frame 320x240"),
        ("-1e6,-1e6,2e6,2e6", "4 times as large"),
    ],
)
def test_init_that_is_no_box_in_the_frame(refused, clip, tiny_trk, tmp_path, init, words):
    outputs = ("--out", tmp_path / "o.mp4", "--boxes", tmp_path / "b.json", "--sheet", tmp_path / "s.png")
    refused(clip.video, "--init", init, "--bundle", tiny_trk, *outputs, words=words)


@pytest.mark.parametrize("init", ["-10,-10,60,60", "90, 70, 48, 48", "90 70 48 48", "9e1,7e1,48,48"])
def test_init_that_is_one(trk_run, clip, tiny_trk, init):
    assert trk_run(clip.folder, "--init", init, "--bundle", tiny_trk)[0] == 0


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["{video}"], "--init x,y,w,h"),
        ([], "trk-run --demo"),
        (["{video}", "--init", "{init}", "--preset", "vot2099"], "it has default, steady"),
        (["{video}", "--init", "{init}", "--set", "lr=0.3"], "it has scale_penalty"),
        (["{video}", "--init", "{init}", "--set", "scale_lr"], "name=number"),
        (["{video}", "--init", "{init}", "--set", "scale_lr=fast"], "name=number"),
        (["{video}", "--init", "{init}", "--set", "scale_lr=nan"], "name=number"),
        (["{video}", "--init", "{init}", "--set", "=1"], "name=number"),
        (["{video}", "--init", "{init}", "--set", "scale_step=0"], "between 0.5 and 2"),
        (["{video}", "--init", "{init}", "--backend", "caffe"], "onnxruntime"),
        (["{video}", "--init", "{init}", "--device", "tpu"], "cpu, cuda"),
        (["{video}", "--init", "{init}", "--threads", "0"], "at least 1"),
        (["{video}", "--init", "{init}", "--threads", "two"], "--threads"),
        (["{video}", "--init", "{init}", "--start", "-1"], "--start"),
        (["{video}", "--init", "{init}", "--start", "20"], "has no frame 20"),
        (["{video}", "--demo"], "leave VIDEO and --init out"),
        (["{video}", "--init", "{init}", "--intt"], "trk-run --help"),
        (["{video}", "{video}", "--init", "{init}"], "trk-run --help"),
        (["{video}", "--init", "90", "70", "48", "48"], "belong together, --init 120,80,60,40"),
    ],
)
def test_option_that_makes_no_sense(refused, clip, tiny_trk, args, words):
    filled = [arg.format(video=clip.video, init=clip.init) for arg in args]
    refused(*filled, "--bundle", tiny_trk, words=words)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("no bundle", "trk-export"),
        ("missing", "search.onnx is missing"),
        ("truncated", "truncated"),
        ("altered", "altered"),
        ("manifest", "bundle.json is not valid"),
    ],
)
def test_bundle_that_is_not_whole(refused, clip, bundle_copy, tmp_path, damage, words):
    graph = bundle_copy / "search.onnx"
    data = graph.read_bytes()
    if damage == "missing":
        graph.unlink()
    elif damage == "manifest":
        (bundle_copy / "bundle.json").write_text("{}")
    else:
        graph.write_bytes(data[:-5] if damage == "truncated" else data[:-1] + b"?")
    bundle = tmp_path / "nowhere" if damage == "no bundle" else bundle_copy
    outputs = ("--out", tmp_path / "o.mp4", "--boxes", tmp_path / "b.csv")
    refused(clip.video, "--init", clip.init, "--bundle", bundle, *outputs, words=words)


@pytest.mark.parametrize(
    ("option", "name", "words"),
    [
        ("--out", "nowhere/o.mp4", "no folder"),
        ("--boxes", "nowhere/b.csv", "no folder"),
        ("--sheet", "nowhere/s.png", "no folder"),
        ("--out", "file/o.mp4", "no folder"),
        ("--out", "folder.mp4", "is a folder"),
        ("--boxes", "folder.csv", "is a folder"),
        ("--out", "o.avi", ".mp4, .mkv, .mov"),
        ("--out", "o", ".mp4, .mkv, .mov"),
        ("--boxes", "b.xml", ".csv, .json, .txt"),
        ("--sheet", "s.gif", ".png"),
    ],
)
def test_output_that_can_not_be_written(refused, clip, tiny_trk, tmp_path, option, name, words):
    (tmp_path / "file").write_text("mine")
    for folder in ("folder.mp4", "folder.csv"):
        (tmp_path / folder).mkdir()
    others = {"--out": tmp_path / "x.mp4", "--boxes": tmp_path / "x.csv", "--sheet": tmp_path / "x.png"}
    chosen = {**others, option: tmp_path / name}
    options = [part for pair in chosen.items() for part in pair]
    refused(clip.video, "--init", clip.init, "--bundle", tiny_trk, *options, words=words)


def test_output_named_twice(refused, clip, tiny_trk, tmp_path):
    again = f"{tmp_path}/x/../b.csv"
    options = ("--boxes", tmp_path / "b.csv", "--boxes", again)
    refused(clip.video, "--init", clip.init, "--bundle", tiny_trk, *options, words="named twice")


def test_output_never_replaces_the_video(refused, clip, tiny_trk, tmp_path):
    video = shutil.copy(clip.video, tmp_path / "clip.mp4")
    (tmp_path / "link.mp4").symlink_to(video)
    for out in ("clip.mp4", "link.mp4"):
        refused(video, "--init", clip.init, "--bundle", tiny_trk, "--out", tmp_path / out, words="belongs to the video")


@pytest.mark.parametrize("spec", ["{}", "{}/*.png", "{}/*"])
def test_output_never_replaces_an_image_of_the_sequence(refused, trk_run, clip, tiny_trk, tmp_path, spec):
    frames = shutil.copytree(clip.folder, tmp_path / "frames")
    source = spec.format(frames)
    args = (source, "--init", clip.init, "--bundle", tiny_trk)
    refused(*args, "--sheet", f"{frames}/003.png", words="belongs to the video")
    for _ in range(2):  # boxes beside the images are no part of the sequence, the second time neither
        assert trk_run(*args, "--boxes", f"{frames}/boxes.csv")[0] == 0


def test_disk_that_fills_up_keeps_what_was_written(clip, tiny_trk, tmp_path, trk_run, monkeypatch):
    from trk.video.boxes import TextSink

    overwrite = TextSink._overwrite

    def full(sink, data):
        if sink.written == 6 and len(data) > len(sink._tail):
            raise OSError(28, "No space left on device")
        overwrite(sink, data)

    monkeypatch.setattr(TextSink, "_overwrite", full)
    boxes = tmp_path / "b.csv"
    code, _, lines = trk_run(clip.video, "--init", clip.init, "--bundle", tiny_trk, "--boxes", boxes)
    assert code == 2
    assert "No space left on device" in lines[-1]
    assert len(read_csv(boxes)) == 6


def test_traceback_only_where_it_is_asked_for(trk_run, tiny_trk):
    args = ("nowhere.mp4", "--init", "1,2,30,40", "--bundle", tiny_trk)
    assert len(trk_run(*args)[2]) == 1
    code, _, lines = trk_run(*args, "--traceback")
    assert code == 2
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1] == trk_run(*args)[2][0]


def test_help_ends_with_examples(trk_run):
    code, out, _ = trk_run("--help")
    assert code == 0
    assert "--traceback" in out
    assert out.rstrip().splitlines()[-1].strip() == "trk-run --demo"


def test_version(trk_run):
    code, out, _ = trk_run("--version")
    assert code == 0
    assert "0.1.0" in out


def call(program, *args, **options):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-c", program, *map(str, args)]
    return subprocess.run(words, capture_output=True, text=True, timeout=120, env=environment, **options)


def test_real_process_tracks_without_pytorch_and_keeps_stdout_clean(clip, tiny_trk, tmp_path):
    boxes = tmp_path / "b.csv"
    done = call(WITHOUT_TORCH, clip.video, "--init", clip.init, "--bundle", tiny_trk, "--boxes", boxes)
    assert (done.returncode, done.stdout) == (0, "")
    assert "20 frames" in done.stderr
    assert overlap(csv_boxes(boxes), clip.boxes).min() > 0.7


def test_real_process_tells_an_error_in_one_line(tmp_path, tiny_trk):
    done = call(MAIN, tmp_path / "nowhere.mp4", "--init", "1,2,3,4", "--bundle", tiny_trk)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


@pytest.fixture
def endless(clip, tmp_path):
    """A folder of so many images that no run ends before it is interrupted; they are links and take no room."""
    folder = tmp_path / "endless"
    folder.mkdir()
    images = sorted(clip.folder.iterdir())
    order = [*range(20), *range(18, 0, -1)] * 200
    for number, image in enumerate(order):
        os.link(images[image], folder / f"{number:05d}.png")
    return folder


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "terminated"])
def test_interruption_keeps_complete_results(clip, endless, tiny_trk, tmp_path, number):
    results = tmp_path / "results"
    results.mkdir()
    out, table, document, sheet = (results / name for name in ("o.mp4", "b.csv", "b.json", "s.png"))
    args = [endless, "--init", clip.init, "--bundle", tiny_trk, "--out", out, "--boxes", table, "--boxes", document]
    words = [sys.executable, "-c", MAIN, *map(str, args), "--sheet", str(sheet)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while lines_so_far(results) < 10 and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(number)
        printed, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert printed == ""
    rows = read_csv(table)
    assert 9 <= len(rows) < 7000
    assert told.splitlines()[-1].startswith("trk-run: interrupted after ")
    assert sorted(results.iterdir()) == sorted([out, table, document, sheet])
    # The signal may fall between two sinks of one frame.
    assert 0 <= len(json.loads(document.read_text())["frames"]) - len(rows) + 1 <= 1
    assert 0 <= len(frames_of(out)) - len(rows) <= 1
    assert cv2.imread(str(sheet)) is not None


def lines_so_far(folder):
    return sum(path.read_bytes().count(b"\n") for path in folder.glob(".b.csv*"))
