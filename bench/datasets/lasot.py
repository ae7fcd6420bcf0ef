"""LaSOT: `CLASS/NAME/img/*.jpg`, `groundtruth.txt`, and flags of the frames in which the target is not to be seen.

The classes may be left out. Where `testing_set.txt` lies in the folder (or above it), it says what is evaluated.
Source: Fan et al., LaSOT, CVPR 2019; STVIR/pysot:toolkit/datasets/lasot.py.
"""

from functools import partial
from pathlib import Path

import numpy as np

from ...errors import SourceError
from .sequence import Sequence, Unread, images_in
from .text import read_boxes, read_flags

FLAGS = ("full_occlusion.txt", "out_of_view.txt")
LISTS = {"test": "testing_set.txt", "train": "training_set.txt"}


def find(folder: Path, subset: str | None) -> list[Unread]:
    """Return the sequences of `subset`: test or train, by the lists that come with the data; None: test, or all."""
    places = sorted(flag.parent for pattern in ("*", "*/*") for flag in folder.glob(f"{pattern}/{FLAGS[0]}"))
    names = _names(folder, subset) if places else None
    return [Unread(place.name, partial(_read, place)) for place in places if names is None or place.name in names]


def _names(folder: Path, subset: str | None) -> frozenset[str] | None:
    if subset is not None and subset not in LISTS:
        raise SourceError(f"LaSOT has no subset {subset!r}: it has {', '.join(LISTS)}")
    name = LISTS[subset or "test"]
    path = next((place / name for place in (folder, folder.parent) if (place / name).is_file()), None)
    if path is None:
        if subset is not None:
            raise SourceError(f"no {name} in {folder}: it lists the sequences of the subset {subset}")
        return None
    return frozenset(path.read_text(encoding="utf-8").split())


def _read(place: Path) -> Sequence:
    boxes = read_boxes(place / "groundtruth.txt")
    hidden = np.zeros(len(boxes), bool)
    for path in (place / name for name in FLAGS):
        flags = read_flags(path) if path.is_file() else hidden
        if len(flags) != len(boxes):
            raise SourceError(f"{path} has {len(flags)} flags, the ground truth has {len(boxes)} lines")
        hidden |= flags > 0
    return Sequence(place.name, images_in(place / "img"), boxes, hidden=hidden)
