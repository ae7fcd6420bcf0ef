"""Every layout that users have becomes tracks, absent and absurd boxes left out."""

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from trk.errors import SourceError, UsageError
from trk.train.layouts import read_data
from trk.train.tracks import Images
from trk.video.boxes import Record, open_sink

from shared import shared_path

SIZE = (60, 80)


def _image(path: Path, value: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((*SIZE, 3), value, np.uint8))


def test_got10k_leaves_absent_frames_out(tmp_path: Path) -> None:
    for number in range(3):
        _image(tmp_path / "train_1" / f"{number + 1:08d}.jpg")
    (tmp_path / "train_1" / "groundtruth.txt").write_text("1,2,30,40\n2,2,30,40\n3,2,30,40\n")
    (tmp_path / "train_1" / "absence.label").write_text("0\n1\n0\n")
    (track,) = read_data([f"got10k:{tmp_path}"])
    assert [frame.box for frame in track.frames] == [(1, 2, 30, 40), (3, 2, 30, 40)]
    assert [frame.number for frame in track.frames] == [0, 2]


def test_lasot_leaves_occluded_and_outside_frames_out(tmp_path: Path) -> None:
    place = tmp_path / "cat" / "cat-1"
    for number in range(4):
        _image(place / "img" / f"{number + 1:08d}.jpg")
    (place / "groundtruth.txt").write_text("1,2,30,40\n2,2,30,40\n3,2,30,40\n4,2,0,0\n")
    (place / "full_occlusion.txt").write_text("1,0,0,0")
    (place / "out_of_view.txt").write_text("0,0,1,0")
    (track,) = read_data([f"lasot:{tmp_path}"])
    assert [frame.number for frame in track.frames] == [1]


def test_trackingnet_orders_frames_by_number(tmp_path: Path) -> None:
    for number in range(11):
        _image(tmp_path / "TRAIN_0" / "frames" / "abc" / f"{number}.jpg")
    (tmp_path / "TRAIN_0" / "anno").mkdir()
    (tmp_path / "TRAIN_0" / "anno" / "abc.txt").write_text("".join(f"{n},2,30,40\n" for n in range(11)))
    (track,) = read_data([f"trackingnet:{tmp_path}"])
    assert [frame.path.stem for frame in track.frames] == [str(n) for n in range(11)]
    assert track.frames[10].box == (10, 2, 30, 40)


def test_coco_objects_are_tracks_of_one_picture_without_crowds(tmp_path: Path) -> None:
    _image(tmp_path / "val2017" / "1.jpg")
    (tmp_path / "annotations").mkdir()
    found = [
        {"id": 7, "image_id": 1, "bbox": [1, 2, 30, 40], "iscrowd": 0},
        {"id": 8, "image_id": 1, "bbox": [1, 2, 30, 40], "iscrowd": 1},
        {"id": 9, "image_id": 1, "bbox": [1, 2, 1, 1], "iscrowd": 0},
    ]
    content = {"images": [{"id": 1, "file_name": "1.jpg"}], "annotations": found}
    (tmp_path / "annotations" / "instances_val2017.json").write_text(json.dumps(content))
    (track,) = read_data([f"coco:{tmp_path}"])
    assert track.kind == "still"
    assert Images().read(track.frames[0]).shape == (*SIZE, 3)


def test_what_trk_run_labelled_is_a_track_of_each_target(tmp_path: Path) -> None:
    place = tmp_path / "annotations" / "instances_clip.coco.json"
    place.parent.mkdir()
    with open_sink(place, about={"size_wh": [64, 48]}, several=True) as sink:
        for number in range(3):
            _image(tmp_path / "clip" / f"{number:06d}.jpg")
            for target in (1, 2):
                lost = (number, target) == (1, 2)
                sink.write(Record(number, number / 25, (target, 2.0, 30.0, 40.0), 0.9, lost=lost, target=target))
    first, second = read_data([f"coco:{tmp_path}"])
    assert (first.kind, [frame.number for frame in first.frames]) == ("video", [0, 1, 2])
    assert [(frame.number, frame.box) for frame in second.frames] == [(n, (2.0, 2.0, 30.0, 40.0)) for n in (0, 2)]
    assert Images().read(second.frames[1]).shape == (*SIZE, 3)


def test_vid_objects_of_one_video_are_tracks_of_their_own(tmp_path: Path) -> None:
    place = Path("train", "ILSVRC2015_VID_train_0000", "video")
    for number in range(2):
        _image(tmp_path / "Data" / "VID" / place / f"{number:06d}.JPEG")
        boxes = "".join(
            f"<object><trackid>{track}</trackid><bndbox><xmax>{41 + track}</xmax><xmin>{1 + track}</xmin>"
            f"<ymax>32</ymax><ymin>2</ymin></bndbox></object>"
            for track in range(2)
        )
        annotation = tmp_path / "Annotations" / "VID" / place / f"{number:06d}.xml"
        annotation.parent.mkdir(parents=True, exist_ok=True)
        annotation.write_text(f"<annotation>{boxes}</annotation>")
    first, second = read_data([f"vid:{tmp_path}"])
    assert [frame.box for frame in first.frames] == [(1, 2, 40, 30)] * 2
    assert second.frames[0].box == (2, 2, 40, 30)


def test_youtube_bb_boxes_are_shares_of_the_image(tmp_path: Path) -> None:
    _image(tmp_path / "AbC" / "1000.jpg")
    lines = ["AbC,1000,0,person,0,present,0.25,0.75,0.1,0.6", "AbC,2000,0,person,0,absent,-1,-1,-1,-1"]
    (tmp_path / "yt_bb_detection_train.csv").write_text("\n".join(lines) + "\n")
    (track,) = read_data([f"ytbb:{tmp_path}"])
    (frame,) = track.frames
    assert frame.box_in(Images().read(frame)) == pytest.approx((20, 6, 40, 30))


def test_a_csv_of_boxes_groups_by_track(tmp_path: Path) -> None:
    with (tmp_path / "boxes.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image", "track", "frame", "x", "y", "w", "h"])
        writer.writerows([["a.jpg", "one", n, 1, 2, 30, 40] for n in range(3)])
        writer.writerow(["b.jpg", "", 0, 1, 2, 30, 40])
    tracks = read_data([f"csv:{tmp_path / 'boxes.csv'}"])
    assert [(len(track.frames), track.kind) for track in tracks] == [(3, "video"), (1, "still")]
    assert tracks[0].frames[0].path == tmp_path / "a.jpg"


def test_a_csv_without_a_column_names_the_line(tmp_path: Path) -> None:
    (tmp_path / "boxes.csv").write_text("image,x,y,w\na.jpg,1,2,3\n")
    with pytest.raises(SourceError, match="line 2"):
        read_data([f"csv:{tmp_path / 'boxes.csv'}"])


def test_plain_pictures_have_no_boxes(tmp_path: Path) -> None:
    _image(tmp_path / "deep" / "a.png")
    (track,) = read_data([f"images:{tmp_path}"])
    assert track.frames[0].box is None


def test_an_unknown_layout_an_empty_and_a_missing_folder_are_errors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="names no layout"):
        read_data([str(tmp_path)])
    with pytest.raises(SourceError, match="no usable track"):
        read_data([f"got10k:{tmp_path}"])
    with pytest.raises(SourceError, match="no training data at"):
        read_data([f"got10k:{tmp_path / 'none'}"])


def test_shards_keep_to_the_uses_asked_for() -> None:
    folder = shared_path("trainset")
    sources = json.loads((folder / "sources.json").read_text())
    permissive = {source["id"] for source in sources if source["use"] == "permissive"}
    tracks = read_data([f"shards:{folder}"], ["permissive"])
    assert {track.source for track in tracks} <= permissive
    assert Images().read(tracks[0].frames[0]).ndim == 3
