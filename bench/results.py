"""Result files in the benchmarks' own formats: written for their servers and toolkits, and read back.

Formats: got-10k/toolkit:got10k/experiments/otb.py (flat), got10k.py (folders); TrackingNet's and GOT-10k's servers take
a zip. Boxes are x,y,w,h with three digits, and as many lines as images; the first is the given one.
"""

import io
import zipfile
from collections.abc import Sequence as Many
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import SourceError
from .datasets.sequence import Boxes, Sequence
from .datasets.text import read_boxes
from .ope import Run
from .store import make_folder, write_bytes


@dataclass(frozen=True)
class Format:
    """Where the files of a tracker lie: `{name}` stands for the sequence."""

    name: str
    boxes: str
    times: str | None
    zipped: bool = False
    """The server takes one zip of the tracker's folder."""


FORMATS = (
    Format("flat", "{name}.txt", "times/{name}_time.txt"),
    Format("got10k", "{name}/{name}_001.txt", "{name}/{name}_time.txt", zipped=True),
    Format("trackingnet", "{name}.txt", None, zipped=True),
)


def format_of(name: str) -> Format:
    """Return the format `name`."""
    return next(row for row in FORMATS if row.name == name)


def write_results(place: Path, form: Format, runs: Many[Run], first_pixel: int = 0, *, complete: bool = True) -> Path:
    """Write the files of one tracker in the folder `place` and return it, or the zip beside it.

    `first_pixel`: what the benchmark's files call the first one. The zip is made only of a `complete` set of runs, and
    one of an earlier evaluation is removed: a part of it would be scored as failed.
    """
    for run in runs:
        boxes = run.boxes + np.array([first_pixel, first_pixel, 0, 0])
        _write(place / form.boxes.format(name=run.name), boxes, "%.3f")
        if form.times:
            _write(place / form.times.format(name=run.name), run.times[:, None], "%.8f")
    if not form.zipped:
        return place
    archive = place.with_name(f"{place.name}.zip")
    archive.unlink(missing_ok=True)
    if not complete:
        return place
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as file:
        for run in runs:
            for pattern in (form.boxes, form.times):
                if pattern:
                    name = pattern.format(name=run.name)
                    file.write(place / name, name)
    write_bytes(archive, content.getvalue())
    return archive


def _write(path: Path, rows: Boxes, digits: str) -> None:
    make_folder(path.parent)
    text = io.StringIO()
    np.savetxt(text, rows, fmt=digits, delimiter=",")
    write_bytes(path, text.getvalue().encode())


def read_results(place: Path, sequence: Sequence, first_pixel: int = 0) -> Boxes:
    """Return the boxes [frames, 4], 0-indexed, that a tracker's folder in any of the formats has for `sequence`.

    Names are matched as the tools write them: Jogging-1, jogging_1, Jogging.1. Raises SourceError where there is no
    file, or not a line for each image.
    """
    wanted = _plain(sequence.name)
    places = {pattern.boxes for pattern in FORMATS}
    files = (path for pattern in sorted(places) for path in sorted(place.glob(pattern.format(name="*"))))
    for path in files:
        if wanted in (_plain(path.stem), _plain(path.stem.removesuffix("_001"))):
            boxes = read_boxes(path, first_pixel)
            if len(boxes) != len(sequence.images):
                raise SourceError(f"{path} has {len(boxes)} lines, {sequence.name} has {len(sequence.images)} images")
            return boxes
    raise SourceError(f"no results of {sequence.name} in {place}: looked for {', '.join(sorted(places))}")


def _plain(name: str) -> str:
    return name.lower().replace(".", "-").replace("_", "-")
