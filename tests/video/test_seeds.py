import json
from pathlib import Path

import pytest

from trk.errors import BoxError
from trk.video.boxes import Record, open_sink
from trk.video.seeds import Seed, as_xywh, number_targets, read_seeds


@pytest.mark.parametrize(
    ("numbers", "form", "relative", "expected"),
    [
        ((10, 20, 30, 40), "xywh", False, (10, 20, 30, 40)),
        ((10, 20, 40, 60), "xyxy", False, (10, 20, 30, 40)),
        ((25, 40, 30, 40), "cxcywh", False, (10, 20, 30, 40)),
        ((0.1, 0.2, 0.3, 0.4), "xywh", True, (20, 20, 60, 40)),
        ((0.1, 0.2, 0.4, 0.6), "xyxy", True, (20, 20, 60, 40)),
        ((0.25, 0.4, 0.3, 0.4), "cxcywh", True, (20, 20, 60, 40)),
    ],
)
def test_every_format_comes_to_the_same_box(numbers, form, relative, expected):
    assert as_xywh(numbers, form, (200, 100), relative=relative) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("numbers", "form", "relative", "says"),
    [
        ((40, 20, 10, 60), "xyxy", False, "no area"),
        ((10, 60, 40, 20), "xyxy", False, "no area"),
        ((120, 80, 60, 40), "xywh", True, "leave --relative out"),
    ],
)
def test_numbers_that_are_no_box_of_their_format(numbers, form, relative, says):
    with pytest.raises(BoxError, match=says):
        as_xywh(numbers, form, (200, 100), relative=relative)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("b.csv", "x,y,w,h\n1,2,3,4\n", [Seed((1, 2, 3, 4))]),
        ("b.csv", "frame, id, x1, y1, x2, y2\n7, 2, 1, 2, 3, 4\n", [Seed((1, 2, 3, 4), 2, 7)]),
        ("b.csv", "\ufefffile,frame,cx,cy,w,h\na,0,1,2,3,4\n", [Seed((1, 2, 3, 4), 1, 0)]),
        ("b.json", '[{"box": [1, 2, 3, 4]}, {"box": [5, 6, 7, 8], "id": 2, "frame": 9}]',
         [Seed((1, 2, 3, 4)), Seed((5, 6, 7, 8), 2, 9)]),
        ("b.json", '{"boxes": [{"box": [1, 2, 3, 4], "frame": 3}]}', [Seed((1, 2, 3, 4), 1, 3)]),
        ("b.jsonl", '{"box": [1, 2, 3, 4], "frame": 3}\n\n', [Seed((1, 2, 3, 4), 1, 3)]),
    ],
)  # fmt: skip
def test_files_of_boxes(tmp_path: Path, name, text, expected):
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_seeds(tmp_path / name) == expected


@pytest.mark.parametrize("suffix", [".csv", ".json", ".jsonl"])
def test_what_a_sink_writes_is_read_back(tmp_path: Path, suffix):
    path = tmp_path / f"boxes{suffix}"
    with open_sink(path, several=True) as sink:
        for target in (1, 2):
            sink.write(Record(5, 0.2, (1.5, 2.0, 30.0, 40.0), 0.5, False, target))
    assert read_seeds(path) == [Seed((1.5, 2.0, 30.0, 40.0), target, 5) for target in (1, 2)]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("b.csv", "", "no header"),
        ("b.csv", "x,y,w,h\n", "no header|no box"),
        ("b.csv", "1,2,3,4\n5,6,7,8\n", "no header"),
        ("b.csv", "x,y,w,h\n1,2,3\n", "box 1 of 1"),
        ("b.csv", "x,y,w,h\n1,2,three,4\n", "box 1 of 1"),
        ("b.csv", "frame,x,y,w,h\n-1,1,2,3,4\n", "frame below 0"),
        ("b.json", "{", "not valid JSON"),
        ("b.json", "[" * 100_000, "not valid JSON"),
        ("b.json", "[1, 2, 3, 4]", "no list of boxes"),
        ("b.json", '[{"box": 7}]', "box 1 of 1"),
        ("b.json", '[{"box": [1, 2, 3, 4], "frame": "x"}]', "box 1 of 1"),
        ("b.json", "[]", "holds no box"),
    ],
)
def test_files_that_are_none(tmp_path: Path, name, text, says):
    (tmp_path / name).write_text(text)
    with pytest.raises(BoxError, match=says) as caught:
        read_seeds(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_file_that_can_not_be_read(tmp_path: Path):
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00\xd8" * 10)
    for path in (tmp_path / "b.csv", tmp_path / "nowhere.csv", tmp_path):
        with pytest.raises(BoxError, match="can't be read as boxes"):
            read_seeds(path)


def test_targets_of_different_inits_get_different_numbers():
    groups = [[Seed((1, 2, 3, 4))], [Seed((1, 2, 3, 4), 7, 0), Seed((2, 2, 3, 4), 9, 3), Seed((3, 2, 3, 4), 7, 5)]]
    assert [seed.target for seed in number_targets(groups)] == [1, 2, 3, 2]
    assert json.dumps([seed.frame for seed in number_targets(groups)]) == "[null, 0, 3, 5]"
