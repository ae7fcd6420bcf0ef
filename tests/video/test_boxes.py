import csv
import json
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from trk.errors import SinkError
from trk.video.boxes import BOX_FORMATS, Frames, Record, TextSink, open_sink
from trk.video.formats import open_format

RECORDS = [
    Record(30, 1.2, (10.5, 20.25, 30.0, 40.125), 0.9876543, confidence=0.75),
    Record(31, 1.24, (-3.0, 0.0, 30.0, 40.0), None, lost=True),
    Record(32, 1.28, (0.0, 0.0, 1e-7, 123456.75), float("nan")),
]


def write_all(path: Path, **options: object) -> None:
    with open_sink(path, **options) as sink:
        for record in RECORDS:
            sink.write(record)


def test_csv_has_a_header_and_a_row_per_frame(tmp_path: Path) -> None:
    write_all(tmp_path / "boxes.csv")
    text = (tmp_path / "boxes.csv").read_text()
    assert text.splitlines()[0] == "frame,time,x,y,w,h,score,lost,confidence"
    rows = list(csv.DictReader(text.splitlines()))
    assert [int(row["frame"]) for row in rows] == [30, 31, 32]
    assert [float(row["time"]) for row in rows] == [1.2, 1.24, 1.28]
    assert [tuple(float(row[key]) for key in "xywh") for row in rows[:2]] == [r.box for r in RECORDS[:2]]
    assert [row["score"] for row in rows] == ["0.987654", "", ""]
    assert [row["confidence"] for row in rows] == ["0.750000", "", ""]


def test_json_is_one_document_with_what_is_known(tmp_path: Path) -> None:
    write_all(tmp_path / "boxes.json", about={"video": 'a "quoted" näme.mp4', "size": [640, 480]})
    document = json.loads((tmp_path / "boxes.json").read_text())
    assert document["video"] == 'a "quoted" näme.mp4'
    assert document["size"] == [640, 480]
    assert document["frames"][0] == {
        "frame": 30,
        "time": 1.2,
        "box": [10.5, 20.25, 30.0, 40.125],
        "score": 0.987654,
        "lost": False,
        "confidence": 0.75,
    }
    assert [frame["lost"] for frame in document["frames"]] == [False, True, False]
    assert [frame["score"] for frame in document["frames"]] == [0.987654, None, None]


def test_txt_counts_from_one_as_otb_does(tmp_path: Path) -> None:
    write_all(tmp_path / "boxes.txt")
    lines = (tmp_path / "boxes.txt").read_text().splitlines()
    assert lines[0] == "11.5000,21.2500,30.0000,40.1250"
    assert lines[1] == "-2.0000,1.0000,30.0000,40.0000"
    assert len(lines) == 3


@pytest.mark.parametrize("suffix", BOX_FORMATS)
def test_an_error_or_ctrl_c_leaves_a_shorter_complete_file(tmp_path: Path, suffix: str) -> None:
    whole, shorter = tmp_path / f"whole{suffix}", tmp_path / f"shorter{suffix}"
    with open_sink(whole) as sink:
        for record in RECORDS[:2]:
            sink.write(record)
    with pytest.raises(KeyboardInterrupt), open_sink(shorter) as sink:
        write_until_ctrl_c(sink)
    assert shorter.read_bytes() == whole.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([whole.name, shorter.name])


def rows_in(text: str, suffix: str) -> int:
    if suffix in (".json", ".coco.json"):
        document = json.loads(text)
        return len(document["frames" if suffix == ".json" else "annotations"])
    lines = text.splitlines()
    assert text.endswith("\n")
    assert all(json.loads(line)["box"] for line in lines if suffix == ".jsonl")
    return len(lines) - (suffix == ".csv")


def write_until_ctrl_c(sink: object) -> None:
    for number, record in enumerate(RECORDS):
        if number == 2:
            os.kill(os.getpid(), signal.SIGINT)
        sink.write(record)  # type: ignore[attr-defined]


@pytest.mark.parametrize("suffix", BOX_FORMATS)
def test_an_error_before_the_first_frame_leaves_what_was_there(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"boxes{suffix}"
    path.write_text("of an earlier run")
    with pytest.raises(ValueError, match="no bundle"), open_sink(path):
        raise ValueError("no bundle")
    assert path.read_text() == "of an earlier run"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", BOX_FORMATS)
def test_what_a_killed_process_wrote_is_whole(tmp_path: Path, suffix: str) -> None:
    code = (
        "import os, signal, sys\n"
        "from trk.video.boxes import Record, open_sink\n"
        "sink = open_sink(sys.argv[1])\n"
        "for number in range(5): sink.write(Record(number, number / 25, (1.0, 2.0, 3.0, 4.0), 0.5))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / f"boxes{suffix}")], check=False)
    assert done.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    text = left.read_text()
    rows = rows_in(text, suffix)
    assert rows == 5


@pytest.mark.parametrize("suffix", BOX_FORMATS)
def test_a_full_disk_is_told_and_keeps_whole_rows(tmp_path: Path, suffix: str) -> None:
    code = (
        "import resource, sys\n"
        "from trk.errors import SinkError\n"
        "from trk.video.boxes import Record, open_sink\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))\n"
        "try:\n"
        "    with open_sink(sys.argv[1]) as sink:\n"
        "        for number in range(500): sink.write(Record(number, number / 25, (1.0, 2.0, 3.0, 4.0), 0.5))\n"
        "except SinkError as error: print(sink.written, error)\n"
    )
    path = tmp_path / f"boxes{suffix}"
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    written, _, error = done.stdout.partition(" ")
    assert "can't go on writing" in error
    text = path.read_text()
    rows = rows_in(text, suffix)
    assert rows == int(written) > 10
    assert text.endswith("\n")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nowhere/boxes.csv", "no folder"),
        ("file/boxes.csv", "no folder"),
        ("folder.csv", "it is a folder"),
        ("x" * 250 + ".csv", "File name too long"),
        ("boxes.xml", "ends in .csv, .json, .txt"),
        ("boxes", "ends in .csv, .json, .txt"),
    ],
    ids=["folder-missing", "under-a-file", "is-a-folder", "name-too-long", "suffix", "no-suffix"],
)
def test_a_place_that_cannot_be_written_is_told_at_once(tmp_path: Path, name: str, says: str) -> None:
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "file").touch()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(SinkError) as caught:
        open_sink(tmp_path / name)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_about_that_json_cannot_hold_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        open_sink(tmp_path / "boxes.json", about={"video": tmp_path})
    assert list(tmp_path.iterdir()) == []


SEVERAL = [
    Record(0, 0.0, (10.0, 20.0, 30.0, 40.0), 0.5, False, 1),
    Record(0, 0.0, (50.0, 60.0, 30.0, 40.0), 0.25, False, 2),
    Record(1, 0.04, (11.0, 20.0, 30.0, 40.0), None, True, 1),
]


def several(path: Path) -> str:
    with open_sink(path, several=True, about={"video": "a.mp4", "size_wh": [640, 480]}) as sink:
        for record in SEVERAL:
            sink.write(record)
    return path.read_text()


def test_several_targets_carry_their_numbers(tmp_path: Path) -> None:
    rows = list(csv.DictReader(several(tmp_path / "b.csv").splitlines()))
    assert [(row["frame"], row["id"], row["x"]) for row in rows] == [
        ("0", "1", "10.0000"), ("0", "2", "50.0000"), ("1", "1", "11.0000"),
    ]  # fmt: skip
    assert [row["id"] for row in json.loads(several(tmp_path / "b.json"))["frames"]] == [1, 2, 1]
    assert [json.loads(line)["id"] for line in several(tmp_path / "b.jsonl").splitlines()] == [1, 2, 1]


def test_mot_counts_frames_and_pixels_from_one(tmp_path: Path) -> None:
    lines = several(tmp_path / "b.mot.txt").splitlines()
    assert lines[1] == "1,2,51.0000,61.0000,30.0000,40.0000,0.25,-1,-1,-1"
    assert len(lines) == 2


@pytest.mark.parametrize("suffix", BOX_FORMATS)
def test_formats_that_can_not_tell_leave_the_boxes_of_lost_targets_out(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"b{suffix}"
    write_all(path)
    assert rows_in(path.read_text(), suffix) == (2 if suffix in (".mot.txt", ".coco.json") else 3)


def test_coco_has_images_annotations_and_a_category(tmp_path: Path) -> None:
    document = json.loads(several(tmp_path / "b.coco.json"))
    assert document["images"] == [
        {"id": 0, "file_name": "000000.jpg", "width": 640, "height": 480},
    ]
    assert document["info"] == {"video": "a.mp4"}
    first, second = document["annotations"]
    assert (first["id"], second["id"]) == (1, 2)
    assert (second["image_id"], second["track_id"], second["category_id"]) == (0, 2, document["categories"][0]["id"])
    assert (second["bbox"], second["area"], second["iscrowd"]) == ([50.0, 60.0, 30.0, 40.0], 1200.0, 0)


def test_vot_and_got10k(tmp_path: Path) -> None:
    write_all(tmp_path / "b.vot.txt")
    write_all(tmp_path / "b.got10k.txt")
    vot, got10k = ((tmp_path / f"b.{name}.txt").read_text().splitlines() for name in ("vot", "got10k"))
    assert vot == ["1", *got10k[1:]]
    assert got10k[0] == "10.5000,20.2500,30.0000,40.1250"


@pytest.mark.parametrize("name", ["b.txt", "b.vot.txt", "b.got10k.txt"])
def test_formats_for_one_target_refuse_several(tmp_path: Path, name: str) -> None:
    with pytest.raises(SinkError, match=r"room for one; choose .*\.mot\.txt"):
        open_sink(tmp_path / name, several=True)
    assert list(tmp_path.iterdir()) == []


def test_json_lines_can_be_read_along(tmp_path: Path) -> None:
    path = tmp_path / "b.jsonl"
    with open_sink(path) as sink:
        assert not path.exists()
        for number, record in enumerate(RECORDS, start=1):
            sink.write(record)
            assert [json.loads(line)["frame"] for line in path.read_text().splitlines()] == [30, 31, 32][:number]


def test_dash_is_json_lines_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    write_all(Path("-"))
    assert [json.loads(line)["frame"] for line in capsys.readouterr().out.splitlines()] == [30, 31, 32]


@pytest.mark.parametrize("suffix", BOX_FORMATS)
def test_a_file_wound_back_is_as_if_nothing_had_been_written_since(tmp_path: Path, suffix: str) -> None:
    plain, wound = tmp_path / f"plain{suffix}", tmp_path / f"wound{suffix}"
    with open_sink(plain) as sink:
        for record in RECORDS:
            sink.write(record)
    with TextSink(wound, open_format(wound, False), {}) as sink:
        nothing = sink.mark()
        sink.write(RECORDS[1])
        sink.rewind(nothing)
        for record in RECORDS[:2]:
            sink.write(record)
        mark = sink.mark()
        for _ in range(2):
            sink.write(Record(70, 1e9, (123456.0, 123456.0, 123456.0, 123456.0), 0.25))
            sink.write(RECORDS[0])
            sink.rewind(mark)
        sink.write(RECORDS[2])
        assert sink.written == rows_in(plain.read_text(), suffix)
    assert wound.read_bytes() == plain.read_bytes()


def test_frames_are_kept_as_runs() -> None:
    frames = Frames()
    for number in [5, 5, 6, 7, 4, 20, 21, 2]:
        frames.add(number)
    kept = frames.copy()
    frames.add(9)
    assert list(kept) == [4, 5, 6, 7, 20, 21, 2]
    many = Frames()
    for number in range(100_000):
        many.add(number)
    assert len(pickle.dumps(many)) < 200
    assert sum(1 for _ in many) == 100_000
