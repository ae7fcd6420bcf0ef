"""A package of training data in pieces: what lies in which, and whether it is what was packed (package.py makes them).

A piece is a folder: files, and the manifest of all pieces. The index of the tracks is one of shards.py, in which the
videos of clips stand beside zips of pictures.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import SourceError
from .shards import INDEX, read_shards
from .tracks import Track

MANIFEST = "manifest.json"
FORMAT = 1
TRACKS, STUDENT = f"tracks/{INDEX}", "student.safetensors"


@dataclass(frozen=True)
class Member:
    """A file of a package: its name in the piece of that number, its size and its SHA-256."""

    file: str
    piece: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a package holds. `model`, `variant`: of the student; `teacher`: the file of its weights."""

    model: str
    variant: str
    teacher: str
    pieces: int
    members: tuple[Member, ...]

    def text(self) -> str:
        """Return it as JSON."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1) + "\n"

    @classmethod
    def of(cls, content: Any) -> "Manifest":
        """Return what JSON says. Raises KeyError, TypeError or ValueError where that is no manifest."""
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']}")
        members = tuple(
            Member(str(one["file"]), int(one["piece"]), int(one["bytes"]), str(one["sha256"]))
            for one in content["members"]
        )
        model, variant, teacher = (str(content[name]) for name in ("model", "variant", "teacher"))
        return cls(model, variant, teacher, int(content["pieces"]), members)


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, as hexadecimal digits."""
    found = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            found.update(block)
    return found.hexdigest()


class Package:
    """All pieces of one package, in any order. Raises SourceError: one is missing, altered or of another package."""

    def __init__(self, pieces: Sequence[Path]):
        self.manifest = _read(pieces[0])
        for piece in pieces[1:]:
            if _read(piece) != self.manifest:
                raise SourceError(f"{piece} is of another package than {pieces[0]}: name pieces of one")
        self._files = {member.file: _find(member, pieces) for member in self.manifest.members}

    def path(self, file: str) -> Path:
        """Return where a file of the package lies. Raises SourceError where it has none of that name."""
        try:
            return self._files[file]
        except KeyError:
            raise SourceError(f"the package has no {file}: pack it anew") from None

    def tracks(self) -> list[Track]:
        """Return the tracks; the path of a frame is a video, or a zip that has its picture as a member."""
        root = self.path(TRACKS).parent
        return [
            replace(
                track,
                frames=tuple(
                    replace(frame, path=self.path(frame.path.relative_to(root).as_posix())) for frame in track.frames
                ),
            )
            for track in read_shards(root)
        ]


def _read(piece: Path) -> Manifest:
    path = piece / MANIFEST
    try:
        return Manifest.of(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise SourceError(f"{piece} is no piece of a package: {path} can't be read ({error.strerror})") from None
    except (KeyError, TypeError, ValueError) as error:
        raise SourceError(f"{path} is no manifest of a package that this version reads ({error!r})") from None


def _find(member: Member, pieces: Sequence[Path]) -> Path:
    path = next((piece / member.file for piece in pieces if (piece / member.file).is_file()), None)
    if path is None:
        raise SourceError(f"{member.file} is missing: it is in piece {member.piece}; name all pieces")
    if path.stat().st_size != member.bytes or digest(path) != member.sha256:
        raise SourceError(f"{path} is not what was packed (its size or SHA-256 differ): copy the piece anew")
    return path
