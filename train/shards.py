"""The layout of an index of crops in zips: index.csv, sources.json, and the shards that the index names."""

import csv
import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from ..errors import SourceError
from .tracks import Frame, Track, usable

INDEX = "index.csv"
SOURCES = "sources.json"


def read_shards(folder: Path, uses: Collection[str] = ("permissive", "web")) -> list[Track]:
    """Return the tracks of `folder` whose source allows one of `uses` ("permissive", "web", ...).

    Columns of the index: shard, member, track, source, kind, x, y, w, h, frame; a row without a box is a picture of
    which any region may be a target. Without sources.json all are taken.
    """
    try:
        with (folder / INDEX).open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        allowed = None
        if (folder / SOURCES).is_file():
            listed = json.loads((folder / SOURCES).read_text(encoding="utf-8"))
            allowed = {source["id"] for source in listed if source["use"] in uses}
    except (OSError, ValueError, KeyError) as error:
        raise SourceError(f"{folder} is no folder of shards with {INDEX}: {error}") from None
    return tracks_of(rows, folder, allowed)


def tracks_of(rows: Iterable[Mapping[str, Any]], folder: Path, allowed: Collection[str] | None = None) -> list[Track]:
    """Return the tracks of an index's rows; `folder`: where the shards lie, `allowed`: sources, None: all."""
    frames: defaultdict[tuple[str, str, str], list[Frame]] = defaultdict(list)
    for row in rows:
        boxed = row.get("x") not in ("", None)
        box = (float(row["x"]), float(row["y"]), float(row["w"]), float(row["h"])) if boxed else None
        if (allowed is None or row["source"] in allowed) and (box is None or usable(box, 3.0)):
            path = folder / row["shard"]
            frames[row["track"], row["source"], row["kind"]].append(
                Frame(path, box, row["member"], int(float(row["frame"] or 0)))
            )
    return [Track(name, source, kind, tuple(found)) for (name, source, kind), found in frames.items()]
