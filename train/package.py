"""All that a machine without a network needs to train a student, in folders small enough to be carried one by one.

    python -m trk.train.package --clips video --index cleaned --data shards:trainset --teacher lightfc.npz \\
        --init start.pt --out package

The clips stay the short videos that they are: their pictures are decoded where the training runs (card.py). Of the
shards goes in what the tracks need. Every piece has the manifest of all, with sizes and SHA-256 (pieces.py).
"""

import argparse
import csv
import sys
import zipfile
from collections import defaultdict
from collections.abc import Collection, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ..errors import SinkError, SourceError, TrkError, UsageError
from ..models.registry import find
from ..models.row import Row
from .clips import Clip, index_rows, read_clips, read_tracks
from .layouts import read_data
from .packing import write_pieces
from .parts import load_parts, write_weights
from .pictures import count_frames
from .pieces import STUDENT, TRACKS, Manifest
from .shards import INDEX, read_shards, tracks_of
from .teacher import BUNDLE, Featured, read_teacher
from .tracks import Track

LIMIT = 40.0
"""MiB of a piece."""
USES = ("permissive", "web")
COLUMNS = ("shard", "member", "track", "source", "kind", "x", "y", "w", "h", "frame")

Files = dict[Path, tuple[str, Path]]
"""By the path that frames name: a file's name in the package, and where it is now."""


def pack(options: argparse.Namespace) -> Manifest:
    """Write the package that the options ask for, whole or not at all.

    Raises UsageError, SourceError, CheckpointError: something named is missing or does not fit; SinkError.
    """
    row = find(options.model, options.variant)
    teacher = _teacher(options.teacher, row)
    uses = options.use or USES
    tracks, files = clip_tracks(options.clips, options.index, uses)
    with _staging(options.out) as staging:
        stage = Path(staging)
        for number, place in enumerate(options.data):
            found, zips = shard_tracks(place, uses, stage, f"data-{number}")
            tracks, files = tracks + found, files | zips
        if not tracks:
            raise SourceError(f"nothing to pack: no source allows {' or '.join(uses)}")
        contents = {TRACKS: stage / INDEX, STUDENT: stage / STUDENT, f"teacher{teacher.suffix}": teacher}
        _write_index(contents[TRACKS], tracks, files)
        _write_student(contents[STUDENT], row, options.init)
        contents |= {f"wheels/{path.name}": path for path in _wheels(options.wheels)}
        used = {frame.path for track in tracks for frame in track.frames}
        contents |= dict(sorted(files[path] for path in used))
        about = (row.model, row.variant, f"teacher{teacher.suffix}")
        return write_pieces(options.out, contents, int(options.limit * 2**20), about)


def clip_tracks(folder: Path, index: Path | None, uses: Collection[str]) -> tuple[list[Track], Files]:
    """Return the tracks of clips whose use is among `uses`, and the videos.

    `index`: a folder with the index of shards that were made of these clips; None: the clips' own tracks. Raises
    SourceError: a clip is missing, or has fewer frames than its tracks.
    """
    clips = [clip for clip in read_clips(folder) if clip.use in uses]
    place = index or folder
    files = {_path(clip, place, index): (f"clips/{clip.file}", folder / clip.file) for clip in clips}
    if index is None:
        tracks = _own_tracks(folder, clips)
    else:
        stems = {path.stem for path in files}
        listed = read_shards(index, uses)
        lacking = {frame.path.stem for track in listed for frame in track.frames} - stems
        if lacking:
            raise SourceError(f"{index / INDEX} has tracks of {min(lacking)}, which is no clip of {folder}")
        tracks = listed
        for path, last in _last_frames(tracks).items():
            count, _ = count_frames(files[path][1])
            if last >= count:
                raise SourceError(f"{files[path][1]} has {count} frames, its tracks have one more: {last}")
    return tracks, files


def shard_tracks(place: str, uses: Collection[str], stage: Path, name: str) -> tuple[list[Track], Files]:
    """Return the tracks of shards whose use is among `uses`, and zips of just their pictures, in part made in `stage`.

    Raises UsageError: `place` is no shards:PATH; SourceError.
    """
    layout, _, where = place.partition(":")
    if layout != "shards":
        raise UsageError(f"--data {place}: only shards:PATH can be packed")
    tracks, folder = read_data([place], uses), Path(where)
    members: defaultdict[Path, set[str]] = defaultdict(set)
    for track in tracks:
        for frame in track.frames:
            members[frame.path].add(frame.member or "")
    files: Files = {}
    for path, wanted in members.items():
        inside = f"{name}/{path.relative_to(folder).as_posix()}"
        files[path] = (inside, _reduced(path, wanted, stage / inside))
    return tracks, files


def _path(clip: Clip, place: Path, index: Path | None) -> Path:
    """Return the path that frames of a clip name."""
    return clip.shard(place) if index else place / clip.file


def _own_tracks(folder: Path, clips: Sequence[Clip]) -> list[Track]:
    known = read_tracks(folder)
    rows: list[dict[str, Any]] = []
    for clip in clips:
        count, size = count_frames(folder / clip.file)
        rows += index_rows(clip, clip.file, count, size, [track for track in known if track.clip == clip.file])
    return tracks_of(rows, folder)


def _last_frames(tracks: Sequence[Track]) -> dict[Path, int]:
    last: dict[Path, int] = {}
    for track in tracks:
        for frame in track.frames:
            last[frame.path] = max(frame.number, last.get(frame.path, 0))
    return last


def _reduced(path: Path, wanted: set[str], copy: Path) -> Path:
    """Return a zip with the members `wanted`: `path` where it has no other, or else `copy`, which is made."""
    try:
        with zipfile.ZipFile(path) as stored:
            names = set(stored.namelist())
            if names == wanted:
                return path
            if wanted - names:
                raise SourceError(f"{path} lacks {min(wanted - names)}, which its index names")
            copy.parent.mkdir(parents=True, exist_ok=True)
            with zipfile.ZipFile(copy, "w", zipfile.ZIP_STORED) as reduced:
                for name in sorted(wanted):
                    reduced.writestr(name, stored.read(name))
    except (OSError, zipfile.BadZipFile) as error:
        raise SourceError(f"{path} can't be packed: {error}") from None
    return copy


def _teacher(named: str, row: Row) -> Path:
    """Return the file of the teacher's weights. Raises UsageError where it is none for this student."""
    path = Path(named)
    if not path.is_file() or path.suffix == BUNDLE:
        raise UsageError(f"--teacher {named}: a file of weights is wanted, whose network runs on any device")
    if not isinstance(read_teacher(named, row).net, Featured):
        raise UsageError(f"--teacher {named} has no features to learn from: take another")
    return path


def _write_student(path: Path, row: Row, named: Sequence[str]) -> None:
    net = row.build()
    for one in named:
        load_parts(net, one)
    write_weights(path, net.state_dict(), about={"model": row.name})


def _write_index(path: Path, tracks: Sequence[Track], files: Files) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(COLUMNS)
        for track in tracks:
            for frame in track.frames:
                box = [f"{value:.7g}" for value in frame.box] if frame.box else [""] * 4
                name = files[frame.path][0]
                writer.writerow([name, frame.member, track.name, track.source, track.kind, *box, frame.number])


def _wheels(folder: Path | None) -> list[Path]:
    if folder is None:
        return []
    found = sorted(folder.glob("*.whl"))
    if not found:
        raise SourceError(f"--wheels {folder} holds no wheel")
    return found


def _staging(out: Path) -> "TemporaryDirectory[str]":
    """Return a folder for what is made on the way, on the disk of `out`."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        return TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent)
    except OSError as error:
        raise SinkError(f"can't write to {out.parent} ({error.strerror}): choose another --out") from None


def main(arguments: Sequence[str] | None = None) -> int:
    """Pack; 2 where that can't be done."""
    parser = argparse.ArgumentParser(
        prog="python -m trk.train.package", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=Path, required=True, help="Folder of videos with clips.json.")
    parser.add_argument(
        "--index", type=Path, help="Shards made of these clips, whose tracks count. Default: tracks.json."
    )
    parser.add_argument("--data", action="append", default=[], metavar="shards:PATH", help="More data. Repeatable.")
    parser.add_argument("--use", action="append", help=f"Uses that a source may state. Default: {', '.join(USES)}.")
    parser.add_argument("--teacher", required=True, help="Weights of a tracker with features like the student's.")
    parser.add_argument(
        "--init", action="append", required=True, metavar="[PART=]FILE", help="The student's start. Repeatable."
    )
    parser.add_argument("--model", default="slimfc", help="The student. Default: slimfc.")
    parser.add_argument("--variant", help="Its variant. Default: the first.")
    parser.add_argument("--wheels", type=Path, help="Folder of wheels that the machine lacks; they go along.")
    parser.add_argument("--limit", type=float, default=LIMIT, help=f"MiB of a piece. Default: {LIMIT:g}.")
    parser.add_argument("--out", type=Path, required=True, help="Folder of the pieces.")
    options = parser.parse_args(arguments)
    try:
        manifest = pack(options)
    except TrkError as error:
        print(f"package: {error}", file=sys.stderr)
        return 2
    for number in range(1, manifest.pieces + 1):
        sizes = [member.bytes for member in manifest.members if member.piece == number]
        print(f"{options.out / f'piece-{number}'}: {len(sizes)} files, {sum(sizes) / 2**20:.1f} MiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
