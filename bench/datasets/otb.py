"""OTB: `NAME/img/*.jpg` and `NAME/groundtruth_rect*.txt`, 1-indexed, one file for each target.

Also DTB70, which has the same layout. Ranges, targets and lists: got-10k/toolkit:got10k/datasets/otb.py and the
benchmark's own pages (Wu, Lim, Yang: Object Tracking Benchmark, PAMI 2015).
"""

from functools import partial
from pathlib import Path

from ...errors import SourceError
from .otb_lists import SUBSETS
from .sequence import Sequence, Unread, images_in
from .text import read_boxes

FIRST_PIXEL = 1
RANGES = {"david": (300, 770), "football1": (1, 74), "freeman3": (1, 460), "freeman4": (1, 283), "diving": (1, 215)}
"""Images that are annotated, counted from 1, both ends included, where the folder holds more."""


def find(folder: Path, subset: str | None) -> list[Unread]:
    """Return the sequences; of a folder with several targets NAME-1, NAME-2. `subset`: a list of the benchmark."""
    places = sorted({path.parent for path in folder.glob("*/groundtruth_rect*.txt")})
    names = _names(subset) if places else None
    found = []
    for place in places:
        if names is not None and place.name.lower() not in names:
            continue
        files = sorted(place.glob("groundtruth_rect*.txt"))
        targets = [file for file in files if file.stat().st_size > 2]  # Human4's first file is empty
        for number, file in enumerate(targets, 1):
            name = place.name if len(targets) == 1 else f"{place.name}-{number}"
            found.append(Unread(name, partial(_read, name, place, file)))
    return found


def _names(subset: str | None) -> frozenset[str] | None:
    if subset is None:
        return None
    if subset.lower() not in SUBSETS:
        raise SourceError(f"OTB has no subset {subset!r}: it has {', '.join(SUBSETS)}")
    return SUBSETS[subset.lower()]


def _read(name: str, place: Path, file: Path) -> Sequence:
    boxes = read_boxes(file, FIRST_PIXEL)
    images = images_in(place / "img")
    if len(images) != len(boxes) and place.name.lower() in RANGES:
        first, last = RANGES[place.name.lower()]
        images = images[first - 1 : last]
    return Sequence(name, images, boxes, _attributes(place))


def _attributes(place: Path) -> tuple[str, ...]:
    """Attributes as sequences that were downloaded with them have them: `IV, SV, OCC` in attrs.txt."""
    path = place / "attrs.txt"
    if not path.is_file():
        return ()
    words = path.read_text(encoding="utf-8", errors="replace").replace("\n", ",").split(",")
    return tuple(word.strip() for word in words if word.strip())
