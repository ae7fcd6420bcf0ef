"""TrackingNet: `TEST/anno/NAME.txt` and `TEST/frames/NAME/0.jpg ...`; likewise TRAIN_0 to TRAIN_11.

In the test set only the first box was published. Source: Mueller et al., TrackingNet, ECCV 2018;
got-10k/toolkit:got10k/datasets/trackingnet.py.
"""

from functools import partial
from pathlib import Path

from .sequence import Sequence, Unread, images_in, withhold
from .text import read_boxes


def find(folder: Path, subset: str | None) -> list[Unread]:
    """Return the sequences of the part `subset` (TEST, TRAIN_0, ...); None: of the folder itself, or of TEST."""
    for place in (folder, folder / "TEST") if subset is None else (folder / subset.upper(),):
        if (place / "anno").is_dir() and (place / "frames").is_dir():
            files = sorted((place / "anno").glob("*.txt"))
            return [Unread(file.stem, partial(_read, place, file)) for file in files]
    return []


def _read(place: Path, file: Path) -> Sequence:
    boxes = read_boxes(file)
    images = images_in(place / "frames" / file.stem)
    withheld = len(boxes) == 1 < len(images)
    return Sequence(file.stem, images, withhold(boxes, len(images)) if withheld else boxes, withheld=withheld)
