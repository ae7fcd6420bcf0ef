"""A package holds what a training needs and no more, in pieces of a largest size, whole or not at all."""

import errno
import json
import shutil
import zipfile
from collections import Counter
from pathlib import Path

import pytest
from train_package import FRAMES, Material

from trk.errors import SourceError
from trk.models.registry import find
from trk.train import packing
from trk.train.clips import main as make_shards
from trk.train.packing import MANIFEST_ROOM
from trk.train.parts import load_parts
from trk.train.pieces import MANIFEST, STUDENT, Package
from trk.train.teacher import read_teacher


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    return Material(tmp_path_factory.mktemp("material"))


@pytest.fixture(scope="module")
def packed(material: Material, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("packed") / "package"
    assert material.pack(out) == 0
    return out


def _pieces(out: Path) -> list[Path]:
    return sorted(out.iterdir())


def _said(capsys: pytest.CaptureFixture[str]) -> str:
    """What was said of an error: one line."""
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_it_holds_the_tracks_whose_use_is_allowed_and_their_files_alone(packed: Path) -> None:
    package = Package(_pieces(packed))
    tracks = package.tracks()
    assert Counter(track.source for track in tracks) == {"made-shots": 2, "made-objects": 1, "free": 2, "shown": 2}
    assert {frame.path.name for track in tracks for frame in track.frames} == {"one.mp4", "a.zip", "b.zip"}
    assert not list(packed.rglob("two.mp4"))
    with zipfile.ZipFile(package.path("data-0/b.zip")) as stored:
        assert sorted(stored.namelist()) == ["shown-0.png", "shown-1.png"]


def test_more_uses_bring_more(material: Material, tmp_path: Path) -> None:
    assert material.pack(tmp_path / "out", "--use", "research") == 0
    tracks = Package(_pieces(tmp_path / "out")).tracks()
    assert {track.source for track in tracks} == {"lent-shots", "closed"}


def test_student_and_teacher_are_read_from_it(packed: Path) -> None:
    package = Package(_pieces(packed))
    row = find(package.manifest.model, package.manifest.variant)
    assert read_teacher(str(package.path(package.manifest.teacher)), row).row is find("lightfc")
    load_parts(row.build(), str(package.path(STUDENT)))


def test_tracks_come_from_the_index_of_shards_made_of_the_clips(material: Material, tmp_path: Path) -> None:
    shards, out = tmp_path / "shards", tmp_path / "out"
    assert make_shards([str(material.clips), str(shards)]) == 0
    assert material.pack(out, "--index", str(shards)) == 0
    again = tmp_path / "again"
    assert material.pack(again) == 0
    ours, theirs = (Package(_pieces(folder)).tracks() for folder in (out, again))
    assert [(t.name, t.source, [(f.box, f.number) for f in t.frames]) for t in ours] == [
        (t.name, t.source, [(f.box, f.number) for f in t.frames]) for t in theirs
    ]


def test_pieces_are_no_larger_than_asked_for_and_all_are_needed(material: Material, tmp_path: Path) -> None:
    limit = max(material.teacher.stat().st_size, material.student.stat().st_size) + MANIFEST_ROOM + 4096
    assert material.pack(tmp_path / "out", "--limit", str(limit / 2**20)) == 0
    pieces = _pieces(tmp_path / "out")
    assert len(pieces) > 1
    for piece in pieces:
        assert sum(path.stat().st_size for path in piece.rglob("*") if path.is_file()) <= limit
    assert Package(pieces[::-1]).manifest.pieces == len(pieces)
    with pytest.raises(SourceError, match="is missing: it is in piece 1"):
        Package(pieces[1:])


def test_a_file_larger_than_a_piece_is_told(
    material: Material, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert material.pack(tmp_path / "out", "--limit", "1") == 2
    assert "more than a piece holds" in _said(capsys)
    assert not list(tmp_path.iterdir())


def test_an_altered_file_is_refused(packed: Path, tmp_path: Path) -> None:
    copy = tmp_path / "package"
    shutil.copytree(packed, copy)
    clip = next(copy.rglob("one.mp4"))
    data = bytearray(clip.read_bytes())
    data[len(data) // 2] ^= 1
    clip.write_bytes(bytes(data))
    with pytest.raises(SourceError, match=r"one\.mp4 is not what was packed"):
        Package(_pieces(copy))


@pytest.mark.parametrize("content", ["", "[]", '{"format": 99}', '{"format": 1, "members": [3]}'])
def test_a_damaged_manifest_is_told(content: str, tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text(content)
    with pytest.raises(SourceError, match="is no manifest of a package"):
        Package([tmp_path])


def test_pieces_of_two_packages_are_refused(packed: Path, tmp_path: Path) -> None:
    shutil.copytree(packed, tmp_path / "other")
    manifest = next((tmp_path / "other").rglob(MANIFEST))
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"variant": "small"}))
    with pytest.raises(SourceError, match="of another package"):
        Package([*_pieces(packed), manifest.parent])


def test_a_full_disk_leaves_nothing(
    material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(source: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(packing.shutil, "copyfile", full)
    assert material.pack(tmp_path / "out") == 2
    assert "No space left on device" in _said(capsys)
    assert not list(tmp_path.iterdir())


def test_what_is_there_already_stays(packed: Path, material: Material, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in packed.rglob("*")}
    assert material.pack(packed) == 2
    assert "is there already" in _said(capsys)
    assert {path: path.stat().st_mtime_ns for path in packed.rglob("*")} == before


def test_a_missing_clip_is_told(material: Material, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clips = tmp_path / "clips"
    shutil.copytree(material.clips, clips)
    (clips / "one.mp4").unlink()
    assert material.pack(tmp_path / "out", "--clips", str(clips)) == 2
    assert "lacks one.mp4" in _said(capsys)
    assert not (tmp_path / "out").exists()


def test_a_clip_shorter_than_its_tracks_is_told(
    material: Material, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shards = tmp_path / "shards"
    assert make_shards([str(material.clips), str(shards)]) == 0
    index = shards / "index.csv"
    index.write_text(index.read_text().replace(f",{FRAMES - 1}\n", ",99\n").replace(f",{FRAMES - 1}\r\n", ",99\r\n"))
    capsys.readouterr()
    assert material.pack(tmp_path / "out", "--index", str(shards)) == 2
    assert f"has {FRAMES} frames" in _said(capsys)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--data", "got10k:x"], "only shards:PATH"),
        (["--teacher", "lightfc"], "a file of weights is wanted"),
        (["--use", "nobody"], "holds no usable track"),
        (["--init", "missing.pt"], "missing.pt"),
        (["--model", "nothing"], "nothing"),
    ],
)
def test_what_can_not_be_packed_is_told_in_one_line(
    more: list[str], said: str, material: Material, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert material.pack(tmp_path / "out", *more) == 2
    assert said in _said(capsys)
    assert not list(tmp_path.iterdir())
