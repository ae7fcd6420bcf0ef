"""Files into folders of a largest size: all of them, or none."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from ..errors import SinkError, UsageError
from .pieces import MANIFEST, Manifest, Member, digest

MANIFEST_ROOM = 1 << 18
"""Bytes of a piece that are kept free for the manifest."""


def write_pieces(out: Path, contents: Mapping[str, Path], limit: int, about: tuple[str, str, str]) -> Manifest:
    """Write folders piece-1, piece-2, ... of at most `limit` bytes with the files of `contents`, by their names there.

    Each file goes into the first piece that has room. `about`: model, variant and the teacher's file. `out` is there
    whole or not at all. Raises UsageError: it is there already, or a file is too large; SinkError.
    """
    if out.exists():
        raise UsageError(f"{out} is there already: name another folder")
    places = _placed({name: path.stat().st_size for name, path in contents.items()}, limit - MANIFEST_ROOM)
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        members = []
        for name, path in contents.items():
            copy = part / f"piece-{places[name]}" / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
            members.append(Member(name, places[name], copy.stat().st_size, digest(copy)))
        manifest = Manifest(*about, max(places.values()), tuple(members))
        for number in range(1, manifest.pieces + 1):
            (part / f"piece-{number}" / MANIFEST).write_text(manifest.text(), encoding="utf-8")
        part.rename(out)
    except OSError as error:
        raise SinkError(f"{out} can't be written ({error.strerror or error}): make room, or name another") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return manifest


def _placed(sizes: Mapping[str, int], room: int) -> dict[str, int]:
    """Return the number of the piece of each file, from 1. Raises UsageError where one fits none."""
    left: list[int] = []
    places = {}
    for name, size in sizes.items():
        if size > room:
            raise UsageError(
                f"{name} has {size / 2**20:.1f} MiB, more than a piece holds: a larger --limit, or leave it"
            )
        number = next((number for number, free in enumerate(left) if size <= free), len(left))
        if number == len(left):
            left.append(room)
        left[number] -= size
        places[name] = number + 1
    return places
