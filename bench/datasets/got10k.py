"""GOT-10k: `list.txt`, and for each name a folder of images with `groundtruth.txt`, `cover.label`, `meta_info.ini`.

In the test set only the first box was published. Frames with cover 0 do not count.
Source: Huang, Zhao, Huang: GOT-10k, PAMI 2021; got-10k/toolkit:got10k/datasets/got10k.py.
"""

from functools import partial
from pathlib import Path

from ...errors import SourceError
from .sequence import Sequence, Unread, images_in, withhold
from .text import read_boxes, read_flags

SUBSETS = ("val", "test", "train")
LIST = "list.txt"


def find(folder: Path, subset: str | None) -> list[Unread]:
    """Return the sequences of `subset`: val, test or train; where it is None, of the first of them that is there."""
    tried = [folder / name for name in (SUBSETS if subset is None else (subset,))]
    place = next((path for path in ([folder] if subset is None else []) + tried if (path / LIST).is_file()), None)
    if place is None:
        labels = sorted(folder.glob("*/cover.label")) + sorted(folder.glob("*/meta_info.ini"))
        names = sorted({label.parent.name for label in labels}) if subset is None else []
        return [Unread(name, partial(_read, folder / name)) for name in names]
    names = (place / LIST).read_text(encoding="utf-8").split()
    return [Unread(name, partial(_read, place / name)) for name in names]


def _read(place: Path) -> Sequence:
    boxes = read_boxes(place / "groundtruth.txt")
    images = images_in(place)
    if len(boxes) == 1 < len(images):
        return Sequence(place.name, images, withhold(boxes, len(images)), withheld=True)
    label = place / "cover.label"
    hidden = read_flags(label) <= 0 if label.is_file() else None
    if hidden is not None and len(hidden) != len(boxes):
        raise SourceError(f"{label}: {len(hidden)} lines, {len(boxes)} in the ground truth")
    return Sequence(place.name, images, boxes, hidden=hidden)
