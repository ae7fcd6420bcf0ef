"""Clips become shards: shots without boxes, tracks with them, and nothing that is half written."""

import json
from pathlib import Path
from typing import Any

import pytest
from small_clips import SIZE_WH, write_clip

from trk.errors import SourceError
from trk.train.clips import SHORTEST, main, read_clips, read_tracks, write_shards
from trk.train.layouts import read_data
from trk.train.shards import INDEX, SOURCES
from trk.train.tracks import Images, Track
from trk.video.source import open_source

BOX = [20.0, 30.0, 40.0, 30.0]


def _made(folder: Path, tracks: list[dict[str, Any]] | None = None, **changes: Any) -> Path:
    """Two clips of 12 and 8 frames, the first of two shots; `changes` to what is said of the second."""
    folder.mkdir()
    write_clip(folder / "one.mp4", frames=12)
    write_clip(folder / "two.mp4", frames=8)
    first = {"file": "one.mp4", "source": "made", "shots": [[0, 6], [6, 12]]}
    second = {"file": "two.mp4", "source": "lent", "shots": [[0, 8]], "use": "research", **changes}
    (folder / "clips.json").write_text(json.dumps([first, second]))
    if tracks is not None:
        (folder / "tracks.json").write_text(json.dumps(tracks))
    return folder


def _track(frames: range, box: list[float] = BOX, **more: Any) -> dict[str, Any]:
    return {"clip": "one.mp4", "frames": list(frames), "boxes": [box] * len(frames), **more}


def _written(folder: Path, out: Path, uses: list[str] | None = None) -> list[Track]:
    write_shards(folder, out, lambda done, total: None)
    return read_data([f"shards:{out}"], uses or ["permissive", "research"])


def test_every_shot_is_a_track_of_pictures_without_boxes(tmp_path: Path) -> None:
    tracks = _written(_made(tmp_path / "clips"), tmp_path / "out")
    assert [track.source for track in tracks] == ["made-shots", "made-shots", "lent-shots"]
    assert [[frame.number for frame in track.frames] for track in tracks] == [
        list(range(6)),
        list(range(6, 12)),
        list(range(8)),
    ]
    assert all(frame.box is None for track in tracks for frame in track.frames)
    assert all(track.kind == "video" for track in tracks)
    assert Images().read(tracks[1].frames[2]).shape == (SIZE_WH[1], SIZE_WH[0], 3)


def test_a_track_is_cut_where_the_shot_ends(tmp_path: Path) -> None:
    given = [_track(range(12), category="person"), _track(range(0, 12, 2))]
    tracks = _written(_made(tmp_path / "clips", given), tmp_path / "out")
    boxed = [track for track in tracks if track.frames[0].box]
    assert [track.source for track in boxed] == ["made-persons", "made-persons"]
    assert [[frame.number for frame in track.frames] for track in boxed] == [list(range(6)), list(range(6, 12))]
    assert {frame.box for track in boxed for frame in track.frames} == {tuple(BOX)}


@pytest.mark.parametrize(
    ("box", "frames"),
    [
        ([20, 30, 7, 30], range(6)),
        ([0, 0, 150, 100], range(6)),
        (BOX, range(SHORTEST - 1)),
        ([20, 30, 90, 10], range(6)),
    ],
    ids=["too small", "too large", "too short", "too narrow"],
)
def test_what_is_no_target_is_left_out(tmp_path: Path, box: list[float], frames: range) -> None:
    tracks = _written(_made(tmp_path / "clips", [_track(frames, box), _track(range(6))]), tmp_path / "out")
    (kept,) = (track for track in tracks if track.source == "made-objects")
    assert {frame.box for frame in kept.frames} == {tuple(BOX)}
    assert len(kept.frames) == 6


def test_a_use_that_was_not_asked_for_is_left_out(tmp_path: Path) -> None:
    tracks = _written(_made(tmp_path / "clips"), tmp_path / "out", ["permissive"])
    assert {track.source for track in tracks} == {"made-shots"}


def test_a_second_call_writes_the_index_alone(tmp_path: Path) -> None:
    folder, out = _made(tmp_path / "clips"), tmp_path / "out"
    _written(folder, out)
    before = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in out.glob("*.zip")}
    (folder / "tracks.json").write_text(json.dumps([_track(range(6))]))
    again = _written(folder, out)
    assert len(before) == 2
    assert before == {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in out.glob("*.zip")}
    assert "made-objects" in {track.source for track in again}


def test_shots_and_tracks_that_go_on_after_the_clips_end_are_cut_there(tmp_path: Path) -> None:
    given = [{"clip": "two.mp4", "frames": list(range(20)), "boxes": [BOX] * 20}]
    folder = _made(tmp_path / "clips", given, shots=[[0, 20]])
    lengths = {track.source: len(track.frames) for track in _written(folder, tmp_path / "out")}
    assert lengths["lent-shots"] == lengths["lent-objects"] == 8


LISTED = {"file": "one.mp4", "source": "made", "shots": [[0, 6]]}


@pytest.mark.parametrize(
    ("listed", "said"),
    [
        (None, "clips.json can't be read"),
        ("[{", "clips.json can't be read"),
        ([{"file": "one.mp4", "source": "made"}], "file, source and shots"),
        ([{**LISTED, "shots": [[0]]}], "file, source and shots"),
        (5, "file, source and shots"),
        ([LISTED, {**LISTED, "file": "gone.mp4"}, {**LISTED, "file": "lost.mp4"}], "lacks gone.mp4 and 1 more"),
        ([LISTED, {**LISTED, "file": "two.mp4", "use": "web"}], "two uses are stated for made"),
        ([LISTED, {**LISTED, "file": "./one.mp4"}], "two clips are called one"),
    ],
)
def test_clips_that_are_not_listed_as_they_should_be_are_told_in_one_line(
    tmp_path: Path, listed: Any, said: str
) -> None:
    folder = _made(tmp_path / "clips")
    (folder / "clips.json").unlink()
    if listed is not None:
        (folder / "clips.json").write_text(listed if isinstance(listed, str) else json.dumps(listed))
    with pytest.raises(SourceError, match=said) as raised:
        write_shards(folder, tmp_path / "out", lambda done, total: None)
    assert len(str(raised.value).splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("listed", "said"),
    [
        ([{"clip": "one.mp4", "frames": [0, 1], "boxes": [BOX]}], "track 0"),
        ([_track(range(6)), _track(range(6), scores=[0.5])], "track 1"),
        ([_track(range(6), box=[1.0, 2.0, 3.0])], "track 0"),
        ([{"frames": [], "boxes": []}], "track 0"),
        (5, "no list of tracks"),
    ],
)
def test_tracks_whose_parts_do_not_fit_are_told_in_one_line_and_no_index_is_written(
    tmp_path: Path, listed: Any, said: str
) -> None:
    folder = _made(tmp_path / "clips")
    (folder / "tracks.json").write_text(json.dumps(listed))
    with pytest.raises(SourceError, match=said) as raised:
        write_shards(folder, tmp_path / "out", lambda done, total: None)
    assert len(str(raised.value).splitlines()) == 1
    assert not (tmp_path / "out" / INDEX).exists()


@pytest.mark.parametrize("size", [0, 100, -2000], ids=["empty", "a header alone", "cut short"])
def test_a_damaged_clip_leaves_no_zip_and_no_index(tmp_path: Path, size: int) -> None:
    folder, out = _made(tmp_path / "clips"), tmp_path / "out"
    clip = folder / "two.mp4"
    clip.write_bytes(clip.read_bytes()[:size])
    with pytest.raises(SourceError) as raised:
        write_shards(folder, out, lambda done, total: None)
    assert len(str(raised.value).splitlines()) == 1
    assert [path.name for path in out.iterdir()] == ["one.zip"]


def test_a_clip_that_breaks_halfway_leaves_no_zip(tmp_path: Path) -> None:
    folder, out = _made(tmp_path / "clips", file="broken.mkv"), tmp_path / "out"
    clip = write_clip(folder / "broken.mkv", frames=8, codec="mjpeg")
    content = clip.read_bytes()
    clip.write_bytes(content[: len(content) // 2] + bytes(len(content) // 4))
    with open_source(clip) as source:
        assert next(source).index == 0
    with pytest.raises(SourceError):
        write_shards(folder, out, lambda done, total: None)
    assert [path.name for path in out.iterdir()] == ["one.zip"]


def test_the_command_writes_shards_and_tells_an_error_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = _made(tmp_path / "clips", [_track(range(6))])
    assert main([str(folder), str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out == f"wrote {tmp_path / 'out'}\n"
    assert {INDEX, SOURCES, "one.zip", "two.zip"} == {path.name for path in (tmp_path / "out").iterdir()}
    (folder / "clips.json").unlink()
    assert main([str(folder), str(tmp_path / "out")]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "clips.json can't be read" in said.err
    assert len(said.err.splitlines()) == 1


def test_scores_and_category_may_be_missing(tmp_path: Path) -> None:
    folder = _made(tmp_path / "clips", [_track(range(2)), _track(range(2), category="cat", scores=[0.5, 0.25])])
    plain, told = read_tracks(folder)
    assert (plain.category, plain.scores) == ("object", {0: 1.0, 1: 1.0})
    assert (told.category, told.scores) == ("cat", {0: 0.5, 1: 0.25})
    clip, _ = read_clips(folder)
    assert [clip.shot(frame) for frame in (0, 7, 40)] == [(0, 6), (6, 12), (40, 41)]
