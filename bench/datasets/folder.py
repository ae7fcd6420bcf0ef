"""Any folder: in it a folder for each sequence, of images with `groundtruth.txt` beside them (or images in `img/`).

A line is x,y,w,h, 0-indexed; nan, or a box without area, where the target is absent. `meta.json` beside it may name
`attributes`. A folder that holds images and `groundtruth.txt` itself is one sequence.
"""

import json
from functools import partial
from pathlib import Path

import numpy as np

from .sequence import Sequence, Unread, has_area, images_in
from .text import read_boxes

GROUNDTRUTH = "groundtruth.txt"
META = "meta.json"


def find(folder: Path, subset: str | None) -> list[Unread]:
    """Return the sequences, by name. There are no subsets."""
    if subset is not None:
        return []
    places = [folder] if (folder / GROUNDTRUTH).is_file() else [p.parent for p in folder.glob(f"*/{GROUNDTRUTH}")]
    return [Unread(place.name, partial(read, place)) for place in sorted(places)]


def read(place: Path) -> Sequence:
    """Return the sequence in the folder `place`."""
    images = images_in(place / "img" if (place / "img").is_dir() else place)
    boxes = read_boxes(place / GROUNDTRUTH)
    # Both ways to say that nothing is there mean the same here; benchmarks that tell them apart have layouts of theirs.
    boxes[~has_area(boxes)] = np.nan
    return Sequence(place.name, images, boxes, _attributes(place / META))


def _attributes(path: Path) -> tuple[str, ...]:
    if not path.is_file():
        return ()
    try:
        found = json.loads(path.read_text(encoding="utf-8")).get("attributes", ())
    except (ValueError, AttributeError):  # a file of somebody else's by that name
        return ()
    return tuple(str(name) for name in found) if isinstance(found, list) else ()
