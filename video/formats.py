"""The formats of boxes: how each spells records. A format is a row of `BOX_FORMATS`."""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import SinkError
from .record import Record

About = Mapping[str, object]


@dataclass(frozen=True)
class BoxFormat:
    """How a text format spells records: `head` (given `about`), rows joined by `between`, `tail`.

    `row` gets the record and how many came before it. No row may be shorter than `tail`: the next row overwrites it.
    """

    head: Callable[[About], str]
    row: Callable[[Record, int], str]
    between: str = ""
    tail: str = ""
    end: Callable[[About, Iterable[int]], str] | None = None
    """In place of `tail` when the file is complete; given the numbers of the frames that have records."""
    several: bool = True
    """Whether it can hold several targets."""
    with_id: "BoxFormat | None" = None
    """In place of this one where there are several targets: rows that tell them apart."""
    only_sure: bool = False
    """Whether boxes of a lost target are left out: readers of such files take every box for the target's."""
    streams: bool = False
    """Whether the file appears under its name with the first record, for whoever reads along."""


def open_format(path: Path, several: bool) -> BoxFormat:
    """The format for the path's suffixes, the longest first. Raises SinkError: unknown, or for one target only."""
    name = path.name.lower()
    suffix = max((suffix for suffix in BOX_FORMATS if name.endswith(suffix)), key=len, default=None)
    if suffix is None:
        raise SinkError(f"can't write boxes to {path}: name a file that ends in {', '.join(BOX_FORMATS)}")
    form = BOX_FORMATS[suffix]
    if several and not form.several:
        allowed = ", ".join(name for name, row in BOX_FORMATS.items() if row.several)
        raise SinkError(f"can't write several targets to {path}: {suffix} has room for one; choose {allowed}")
    return form.with_id or form if several else form


def csv_row(record: Record) -> str:
    """`frame,time,x,y,w,h,score,lost,confidence`: frame and box 0-indexed, lost 0 or 1, empty where there is none."""
    score, confidence = (
        "" if _number(value) is None else f"{value:.6f}" for value in (record.score, record.confidence)
    )
    box = (f"{value:.4f}" for value in record.box)
    cells = (str(record.frame_index), f"{record.time:.6f}", *box, score, str(int(record.lost)), confidence)
    return ",".join(cells) + "\n"


def csv_id_row(record: Record) -> str:
    """The same with the target's number behind the frame: `frame,id,time,...`."""
    frame, rest = csv_row(record).split(",", 1)
    return f"{frame},{record.target},{rest}"


def json_row(record: Record) -> str:
    """One object on one line; numbers that JSON does not have (NaN, infinity) become null."""
    return json.dumps(_fields(record), allow_nan=False)


def json_id_row(record: Record) -> str:
    """The same with the target's number as `id`."""
    return json.dumps({**_fields(record), "id": record.target}, allow_nan=False)


def jsonl_row(record: Record) -> str:
    """`json_id_row` as a line."""
    return json_id_row(record) + "\n"


def _fields(record: Record) -> dict[str, object]:
    return {
        "frame": record.frame_index,
        "time": _number(record.time, 6),
        "box": [_number(v, 4) for v in record.box],
        "score": _number(record.score, 6),
        "lost": record.lost,
        "confidence": _number(record.confidence, 6),
    }


def otb_row(record: Record) -> str:
    """`x,y,w,h` as the OTB benchmark has it: x and y count from 1, so a box at the corner is `1.0000,1.0000,...`."""
    x, y, w, h = record.box
    return f"{x + 1:.4f},{y + 1:.4f},{w:.4f},{h:.4f}\n"


def plain_row(record: Record) -> str:
    """`x,y,w,h`, counted from 0: GOT-10k's result files. Source: got-10k/toolkit:got10k/trackers/__init__.py."""
    x, y, w, h = record.box
    return f"{x:.4f},{y:.4f},{w:.4f},{h:.4f}\n"


def vot_row(record: Record, before: int) -> str:
    """A line of VOT's trajectory: `1` where the tracker was initialised, else the rectangle, counted from 0.

    Source: votchallenge/toolkit:vot/tracker/results.py (Trajectory), vot/region/io.py.
    """
    return plain_row(record) if before else "1\n"


def mot_row(record: Record) -> str:
    """`frame,id,x,y,w,h,confidence,-1,-1,-1`; frames, x and y count from 1. Source: motchallenge.net/instructions."""
    x, y, w, h = record.box
    confidence = _number(record.score)
    return (
        f"{record.frame_index + 1},{record.target},{x + 1:.4f},{y + 1:.4f},{w:.4f},{h:.4f},"
        f"{-1 if confidence is None else confidence:.6g},-1,-1,-1\n"
    )


def json_head(about: About) -> str:
    """The document up to its first row: `about`'s keys, then the list of frames."""
    keys = "".join(f"{json.dumps(key)}: {json.dumps(value)},\n" for key, value in about.items())
    return f'{{\n{keys}"frames": [\n'


def coco_head(about: About) -> str:
    """COCO's document up to its first annotation."""
    info = {key: value for key, value in about.items() if key != "size_wh"}
    category = json.dumps([{"id": 1, "name": "target", "supercategory": ""}])
    return f'{{\n"info": {json.dumps(info)},\n"categories": {category},\n"annotations": [\n'


def coco_row(record: Record, before: int) -> str:
    """One annotation; `image_id` is the frame's number, `track_id` the target's. Source: cocodataset.org."""
    x, y, w, h = (_number(value, 4) or 0.0 for value in record.box)
    fields = {
        "id": before + 1,
        "image_id": record.frame_index,
        "category_id": 1,
        "bbox": [x, y, w, h],
        "area": round(w * h, 4),
        "segmentation": [],
        "iscrowd": 0,
        "track_id": record.target,
        "score": _number(record.score),
    }
    return json.dumps(fields, allow_nan=False)


def coco_end(about: About, frames: Iterable[int]) -> str:
    """The list of images, one per frame with a box, and the end of the document."""
    size = about.get("size_wh")
    width, height = size if isinstance(size, (list, tuple)) else (0, 0)
    images = (
        json.dumps({"id": frame, "file_name": f"{frame:06d}.jpg", "width": width, "height": height})
        for frame in sorted(set(frames))
    )
    return '\n],\n"images": [\n' + ",\n".join(images) + "\n]\n}\n"


def _number(value: float | None, digits: int = 6) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, digits)


def _nothing(about: About) -> str:
    return ""


def _of(row: Callable[[Record], str]) -> Callable[[Record, int], str]:
    return lambda record, before: row(record)


CSV_WITH_ID = BoxFormat(lambda about: "frame,id,time,x,y,w,h,score,lost,confidence\n", _of(csv_id_row))
JSON_WITH_ID = BoxFormat(json_head, _of(json_id_row), ",\n", "\n]\n}\n")

BOX_FORMATS: dict[str, BoxFormat] = {
    ".csv": BoxFormat(lambda about: "frame,time,x,y,w,h,score,lost,confidence\n", _of(csv_row), with_id=CSV_WITH_ID),
    ".json": BoxFormat(json_head, _of(json_row), ",\n", "\n]\n}\n", with_id=JSON_WITH_ID),
    ".txt": BoxFormat(_nothing, _of(otb_row), several=False),
    ".jsonl": BoxFormat(_nothing, _of(jsonl_row), streams=True),
    ".vot.txt": BoxFormat(_nothing, vot_row, several=False),
    ".got10k.txt": BoxFormat(_nothing, _of(plain_row), several=False),
    ".mot.txt": BoxFormat(_nothing, _of(mot_row), only_sure=True),
    ".coco.json": BoxFormat(coco_head, coco_row, ",\n", '\n],\n"images": []\n}\n', coco_end, only_sure=True),
}
"""By the end of the file's name, longest first. `.txt` alone is OTB's."""
