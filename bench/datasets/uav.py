"""UAV123, UAV20L and UAV123_10fps: `anno/SET/NAME.txt` and `data_seq/SET/FOLDER/*.jpg`.

Several sequences are parts of one folder's images; the others are whole folders of their own name. Boxes are 0-indexed
here as in the toolkits, nan where the target is absent. Starts: the benchmark's configSeqs, by
got-10k/toolkit:got10k/datasets/uav123.json.
"""

import re
from functools import partial
from pathlib import Path

from ...errors import SourceError
from .sequence import Sequence, Unread
from .text import read_boxes

SETS = {"UAV123": 1, "UAV123_10fps": 3, "UAV20L": 1}
"""Sets, and how many frames of the original a frame of theirs stands for."""

STARTS = {
    "bird1": (1, 775, 1573),
    "car1": (1, 751, 1627),
    "car6": (1, 487, 1807, 2953, 3925),
    "car8": (1, 1357),
    "car16": (1, 415),
    "group1": (1, 1333, 2515, 3925),
    "group2": (1, 907, 1771),
    "group3": (1, 1567, 2827, 4369),
    "person2": (1, 1189),
    "person4": (1, 1501),
    "person5": (1, 877),
    "person7": (1, 1249),
    "person8": (1, 1075),
    "person12": (1, 601),
    "person14": (1, 847, 1813),
    "person17": (1, 1501),
    "person19": (1, 1243, 2791),
    "truck4": (1, 577),
    "uav1": (1, 1555, 2473),
}
"""Folder: numbers of the images with which its parts 1, 2, ... begin. The number of lines says where they end."""

_PART = re.compile(r"(.+)_(\d+)")


def find(folder: Path, subset: str | None) -> list[Unread]:
    """Return the sequences of the set `subset`, or of the first set that is there."""
    sets = [name for name in SETS if (folder / "anno" / name).is_dir()]
    if subset is not None:
        sets = [name for name in sets if name.lower() == subset.lower()]
    if not sets:
        return []
    files = sorted((folder / "anno" / sets[0]).glob("*.txt"))
    return [Unread(file.stem, partial(_read, folder, sets[0], file)) for file in files]


def _read(folder: Path, name: str, file: Path) -> Sequence:
    boxes = read_boxes(file)
    data = folder / "data_seq"
    # UAV20L is annotated on the images of UAV123.
    frames = next((data / place for place in (name, "UAV123", "") if (data / place).is_dir()), data)
    part = _PART.fullmatch(file.stem)
    start, place = 1, frames / file.stem
    if part and name != "UAV20L" and int(part[2]) <= len(STARTS.get(part[1], ())):
        start = (STARTS[part[1]][int(part[2]) - 1] - 1) // SETS[name] + 1
        place = frames / part[1]
    if not place.is_dir():
        raise SourceError(f"no folder {place}: the images of {file.stem} belong there")
    by_number = {int(image.stem): image for image in place.iterdir() if image.stem.isdigit()}
    numbers = range(start, start + len(boxes))
    missing = [number for number in numbers if number not in by_number]
    if missing:
        raise SourceError(f"{file.stem}: image {missing[0]} is missing in {place} (and {len(missing) - 1} others)")
    attributes = _attributes(file.parent / "att" / file.name)
    return Sequence(file.stem, tuple(by_number[number] for number in numbers), boxes, attributes)


ATTRIBUTES = ("SV", "ARC", "LR", "FM", "FOC", "POC", "OV", "BC", "IV", "VC", "CM", "SOB")
"""Columns of anno/SET/att/NAME.txt, a 0 or 1 each."""


def _attributes(path: Path) -> tuple[str, ...]:
    if not path.is_file():
        return ()
    flags = re.findall(r"[01]", path.read_text(encoding="utf-8"))
    return tuple(name for name, flag in zip(ATTRIBUTES, flags, strict=False) if flag == "1")
