"""Where targets are to begin: boxes of several formats, from text and from files."""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from math import isfinite
from pathlib import Path
from typing import Any

from ..errors import BoxError
from .record import Box

FORMATS = ("xywh", "xyxy", "cxcywh")
"""x, y, w, h with the top-left corner; two corners; the centre and the size."""

MAX_FILE_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Seed:
    """A box that starts a target, or puts one right that is tracked already.

    `numbers` are four floats in the file's own format; `frame` is the frame's number, None where tracking begins;
    `target` its number, from 1.
    """

    numbers: Box
    target: int = 1
    frame: int | None = None


def as_xywh(numbers: Sequence[float], form: str, size_wh: tuple[int, int], *, relative: bool = False) -> Box:
    """The box as x, y, w, h in pixels; `relative` numbers are shares of the frame's width and height.

    Raises BoxError: relative numbers outside 0..1 (a centre or a corner may lie there, so up to 2 is let pass).
    """
    a, b, c, d = numbers
    if relative:
        if all(isfinite(value) for value in numbers) and max(abs(value) for value in numbers) > 2:
            shown = ",".join(f"{value:g}" for value in numbers)
            raise BoxError(f"box {shown} is not relative: shares of the frame lie in 0..1; leave --relative out")
        width, height = size_wh
        a, b, c, d = a * width, b * height, c * width, d * height
    if form == "xyxy":
        if c <= a or d <= b:
            shown = ",".join(f"{value:g}" for value in (a, b, c, d))
            raise BoxError(f"box {shown} has no area: xyxy is left,top,right,bottom, right and bottom the larger ones")
        return a, b, c - a, d - b
    if form == "cxcywh":
        return a - c / 2, b - d / 2, c, d
    return a, b, c, d


def read_seeds(path: Path) -> list[Seed]:
    """The boxes of a CSV or JSON file.

    CSV: a header with four of x,y,w,h / x1,y1,x2,y2 / cx,cy,w,h (in this order of columns), and `frame` and `id` where
    wanted. JSON: a list of {"box": [...], "frame": 0, "id": 1}, or an object that holds such a list as "frames" or
    "boxes": what --boxes writes is read, too. Raises BoxError: unreadable, or not that.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise BoxError(f"{path} is larger than {MAX_FILE_BYTES >> 20} MiB: is it a file of boxes?")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BoxError(f"{path} can't be read as boxes ({getattr(error, 'strerror', None) or 'not text'})") from error
    rows = _json_rows(path, text) if path.suffix.lower() in (".json", ".jsonl") else _csv_rows(path, text)
    seeds = [_seed(path, number, row, total=len(rows)) for number, row in enumerate(rows, start=1)]
    if not seeds:
        raise BoxError(f"{path} holds no box")
    return seeds


def number_targets(given: Iterable[list[Seed]]) -> list[Seed]:
    """All boxes of several --init; targets of different ones get different numbers."""
    numbers = count(1)
    seeds = []
    for group in given:
        renamed = {target: next(numbers) for target in dict.fromkeys(seed.target for seed in group)}
        seeds += [Seed(seed.numbers, renamed[seed.target], seed.frame) for seed in group]
    return seeds


COLUMNS = (("x", "y", "w", "h"), ("x1", "y1", "x2", "y2"), ("cx", "cy", "w", "h"))


def _csv_rows(path: Path, text: str) -> list[Mapping[str, Any]]:
    lines = list(csv.DictReader(text.splitlines(), skipinitialspace=True))
    header = [name.strip() for name in (lines[0] if lines else {}) if name]
    columns = next((names for names in COLUMNS if set(names) <= set(header)), None)
    if columns is None:
        raise BoxError(f"{path} has no header with x,y,w,h (and frame,id where wanted): its columns are {header}")
    rows: list[Mapping[str, Any]] = []
    for line in lines:
        clean = {(key or "").strip(): value for key, value in line.items()}
        rows.append(
            {
                "box": [clean[name] for name in columns],
                "frame": clean.get("frame") or None,
                "id": clean.get("id") or 1,
            }
        )
    return rows


def _json_rows(path: Path, text: str) -> list[Mapping[str, Any]]:
    try:
        if path.suffix.lower() == ".jsonl":
            found: Any = [json.loads(line) for line in text.splitlines() if line.strip()]
        else:
            found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BoxError(f"{path} is not valid JSON ({str(error)[:80]})") from error
    if isinstance(found, dict):
        found = found.get("boxes", found.get("frames"))
    if not isinstance(found, list) or not all(isinstance(row, dict) and "box" in row for row in found):
        raise BoxError(f'{path} is no list of boxes: [{{"frame": 0, "box": [x, y, w, h]}}, ...] is needed')
    return found


def _seed(path: Path, number: int, row: Mapping[str, Any], *, total: int) -> Seed:
    try:
        a, b, c, d = (float(value) for value in row["box"])
        frame = row.get("frame")
        frame = None if frame is None else int(frame)
        target = int(row.get("id") or 1)
        if frame is not None and frame < 0:
            raise ValueError("a frame below 0")
    except (TypeError, ValueError, OverflowError) as error:
        raise BoxError(f"{path}: box {number} of {total} is not four numbers at a frame ({error})") from None
    return Seed((a, b, c, d), target, frame)
