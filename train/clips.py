"""Clips for training: videos, what is known of them, and tracks, made once into shards of pictures (shards.py).

    python -m trk.train.clips video shards
    python -m trk.train.clips video shards --teacher lightfc-int8.trk --starts 4

A folder of clips holds videos, clips.json (file, source, shots as [first frame, one past the last], use) and, where
there are some, tracks.json (clip, category, frames, boxes as x, y, w, h, scores). Every shot is a track too, without
boxes: any region of it may stand for an object. With a teacher the tracks are those that it agrees with, and starts of
its own (clean.py); the shards are then written a second time only as far as their index goes.
"""

import argparse
import csv
import io
import json
import sys
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..bench.store import write_text
from ..errors import SourceError, TrkError
from ..video.source import open_source
from .shards import INDEX, SOURCES
from .tracks import Box, decoded, usable

CLIPS, TRACKS = "clips.json", "tracks.json"
QUALITY = 92
"""Of the JPEG pictures: 60 to 80 kB of 480 rows."""
SHORTEST = 5
"""Frames of the shortest shot or track that is kept."""
LARGEST = 0.4
"""Share of the picture above which a box is left out: its search crop would be mostly outside."""
COLUMNS = ("shard", "member", "track", "source", "kind", "category", "x", "y", "w", "h", "width", "height", "frame")


@dataclass(frozen=True)
class ClipTrack:
    """Boxes of one target in one clip, by frame number."""

    clip: str
    category: str
    boxes: dict[int, Box]
    scores: dict[int, float]


@dataclass(frozen=True)
class Clip:
    """One video. `shots`: first frame and one past the last."""

    file: str
    source: str
    shots: tuple[tuple[int, int], ...]
    use: str = "permissive"

    def shard(self, folder: Path) -> Path:
        """Return where its pictures are in a folder of shards."""
        return folder / f"{Path(self.file).stem}.zip"

    def shot(self, frame: int) -> tuple[int, int]:
        """Return first frame and one past the last of the shot that `frame` is in."""
        return next((shot for shot in self.shots if shot[0] <= frame < shot[1]), (frame, frame + 1))


def read_clips(folder: Path) -> list[Clip]:
    """Return what clips.json tells. Raises SourceError in one line: no such file, or not of this form."""
    listed = _json(folder / CLIPS)
    try:
        clips = [
            Clip(
                str(one["file"]),
                str(one["source"]),
                tuple((int(first), int(last)) for first, last in one["shots"]),
                str(one.get("use", "permissive")),
            )
            for one in listed
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise SourceError(f"{folder / CLIPS}: every clip wants file, source and shots ({error!r})") from None
    lacking = [clip.file for clip in clips if not (folder / clip.file).is_file()]
    if lacking:
        more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
        raise SourceError(f"{folder} lacks {lacking[0]}{more}, which {CLIPS} names")
    for names, what in (
        ([Path(clip.file).stem for clip in clips], "two clips are called"),
        ([source for source, _ in dict.fromkeys((clip.source, clip.use) for clip in clips)], "two uses are stated for"),
    ):
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise SourceError(f"{folder / CLIPS}: {what} {twice[0]}: give each its own name")
    return clips


def read_tracks(folder: Path) -> list[ClipTrack]:
    """Return the tracks of tracks.json, none where there is none. Raises SourceError."""
    if not (folder / TRACKS).is_file():
        return []
    listed = _json(folder / TRACKS)
    if not isinstance(listed, list):
        raise SourceError(f"{folder / TRACKS} holds no list of tracks")
    tracks = []
    for number, one in enumerate(listed):
        try:
            frames = [int(frame) for frame in one["frames"]]
            boxes = [(float(x), float(y), float(w), float(h)) for x, y, w, h in one["boxes"]]
            scores = [float(score) for score in one.get("scores") or [1.0] * len(frames)]
            found = dict(zip(frames, boxes, strict=True))
            sure = dict(zip(frames, scores, strict=True))
            tracks.append(ClipTrack(str(one["clip"]), str(one.get("category", "object")), found, sure))
        except (KeyError, TypeError, ValueError) as error:
            raise SourceError(
                f"{folder / TRACKS}, track {number}: clip, frames, boxes are wanted ({error!r})"
            ) from None
    return tracks


def write_shards(folder: Path, out: Path, report: Callable[[int, int], None]) -> None:
    """Write the pictures of the clips in `folder`, a zip each, and their index to `out`. Raises SourceError.

    A clip that is there already is not written again; the index is written last, so what has one is whole.
    """
    clips = read_clips(folder)
    out.mkdir(parents=True, exist_ok=True)
    for number, clip in enumerate(clips):
        shard = clip.shard(out)
        if not shard.is_file():
            _write_pictures(folder / clip.file, shard)
        report(number + 1, len(clips))
    write_index(out, clips, read_tracks(folder))


def write_index(out: Path, clips: Sequence[Clip], tracks: Sequence[ClipTrack]) -> None:
    """Write the index of the shards in `out`: all shots, and `tracks`."""
    of_clip: defaultdict[str, list[ClipTrack]] = defaultdict(list)
    for track in tracks:
        of_clip[track.clip].append(track)
    rows: list[dict[str, Any]] = []
    for clip in clips:
        shard = clip.shard(out)
        with zipfile.ZipFile(shard) as stored:
            frames = len(stored.namelist())
            first = decoded(stored.read(member(0)), str(shard))
        rows += index_rows(clip, shard.name, frames, (first.shape[1], first.shape[0]), of_clip[clip.file])
    uses = {row["source"]: row.pop("use") for row in rows}
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS)
    writer.writeheader()
    writer.writerows(rows)
    write_text(out / SOURCES, json.dumps([{"id": name, "use": use} for name, use in uses.items()], indent=1) + "\n")
    write_text(out / INDEX, text.getvalue())


def index_rows(
    clip: Clip, shard: str, frames: int, size: tuple[int, int], tracks: Sequence[ClipTrack]
) -> Iterator[dict[str, Any]]:
    """Yield the rows of one clip of `frames` pictures of `size`, width and height: its shots, and `tracks` of it."""
    width, height = size
    common = {"shard": shard, "kind": "video", "width": width, "height": height, "use": clip.use}
    for number, (first, last) in enumerate(clip.shots):
        if min(last, frames) - first >= SHORTEST:
            for frame in range(first, min(last, frames)):
                named = {"track": f"{clip.file}/shot {number}", "source": f"{clip.source}-shots", "frame": frame}
                yield {**common, **named, "member": member(frame)}
    for number, track in enumerate(tracks):
        kind = "persons" if track.category == "person" else "objects"
        for piece, (first, last) in enumerate(clip.shots):
            boxes = {
                frame: box
                for frame, box in track.boxes.items()
                if first <= frame < min(last, frames)
                and usable(box, 8.0)
                and box[2] * box[3] < LARGEST * width * height
            }
            if len(boxes) < SHORTEST:
                continue
            name = f"{clip.file}/{number}.{piece}"
            for frame, (x, y, w, h) in boxes.items():
                named = {"track": name, "source": f"{clip.source}-{kind}", "category": track.category, "frame": frame}
                yield {**common, **named, "member": member(frame), "x": x, "y": y, "w": w, "h": h}


def _write_pictures(clip: Path, shard: Path) -> None:
    temporary = shard.with_name(shard.name + ".part")
    try:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as stored, open_source(clip) as source:
            for number, frame in enumerate(source):
                stored.writestr(member(number), _jpeg(frame.image))
        temporary.replace(shard)
    finally:
        temporary.unlink(missing_ok=True)


def _jpeg(image: NDArray[np.uint8]) -> bytes:
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return data.tobytes()


def member(frame: int) -> str:
    """Return the name of a frame in its shard."""
    return f"{frame:06d}.jpg"


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SourceError(f"{path} can't be read: {error}") from None


def main(arguments: list[str] | None = None) -> int:
    """Make shards of clips."""
    parser = argparse.ArgumentParser(prog="python -m trk.train.clips", description="Shards of pictures of clips.")
    parser.add_argument("folder", type=Path, help="Clips with clips.json and, where there are some, tracks.json.")
    parser.add_argument("out", type=Path, help="Folder of the shards.")
    parser.add_argument("--teacher", help="Bundle of a tracker that tracks are cleaned with.")
    parser.add_argument("--starts", type=int, default=4, help="With --teacher: regions tried in every shot.")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    try:
        write_shards(options.folder, options.out, _told)
        if options.teacher:
            from .clean import clean_all

            clips, tracks = read_clips(options.folder), read_tracks(options.folder)
            found = clean_all(options.out, clips, tracks, options.teacher, options.starts, options.seed, _told)
            write_index(options.out, clips, found)
            print(f"{len(tracks)} tracks were given; {len(found)} are kept or found")
    except TrkError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"wrote {options.out}")
    return 0


def _told(done: int, total: int) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{done} of {total} clips" + ("\n" if done == total else ""))


if __name__ == "__main__":
    sys.exit(main())
