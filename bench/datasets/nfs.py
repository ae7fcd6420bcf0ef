"""Need for Speed: `NAME/30/NAME/*.jpg` or `NAME/240/NAME/*.jpg`, and `NAME/30/NAME.txt`.

A line is `id xmin ymin xmax ymax frame lost occluded generated "label"`. Annotations were made at 240 frames a second;
of a set of 30 every eighth line counts (got-10k/toolkit:got10k/datasets/nfs.py).
"""

from functools import partial
from pathlib import Path

import numpy as np

from ...errors import SourceError
from .sequence import Sequence, Unread, images_in

RATES = ("240", "30")
STEP = 8
LOST = 6


def find(folder: Path, subset: str | None) -> list[Unread]:
    """Return the sequences at `subset` frames a second: 240 or 30; where it is None, the higher one that is there."""
    for rate in RATES if subset is None else (subset,):
        files = sorted(folder.glob(f"*/{rate}/*.txt"))
        if files:
            return [Unread(file.stem, partial(_read, file)) for file in files]
    return []


def _read(file: Path) -> Sequence:
    rows = [line.split() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    try:
        numbers = np.array([[float(word) for word in row[1:8]] for row in rows])
        corners, lost = numbers[:, :4], numbers[:, LOST - 1] == 1
    except (ValueError, IndexError):
        raise SourceError(f"{file}: lines are not `id xmin ymin xmax ymax frame lost ...`") from None
    boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
    images = images_in(file.with_suffix(""))
    if abs(len(boxes) - len(images)) > 1 >= abs(len(boxes[::STEP]) - len(images)):
        boxes, lost = boxes[::STEP], lost[::STEP]
    if abs(len(boxes) - len(images)) == 1:  # the last frame is missing in some, or its line
        frames = min(len(boxes), len(images))
        boxes, lost, images = boxes[:frames], lost[:frames], images[:frames]
    return Sequence(file.stem, images, boxes, hidden=lost)
