"""The sample clips that ship with trk: videos with boxes, each a folder of `weights/samples`.

A folder holds `sample.json` (what it is), the video, a CSV of boxes and a README with provenance and licence.
"""

import csv
import json
from dataclasses import dataclass
from pathlib import Path

from ..errors import SourceError, UsageError

SAMPLES_FOLDER = Path(__file__).parent / "samples"
SAMPLES = ("bunny", "cat")
"""`bunny`: the demo, boxes by eye every tenth frame. `cat`: the tests' clip, boxes exact at every frame."""
DEMO = "bunny"

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Sample:
    """A clip and what is known about it. Boxes are x, y, w, h: top-left corner, 0-indexed, float pixels."""

    name: str
    title: str
    target: str
    """What the boxes hold, in a word: a label."""
    video: Path
    init_frame: int
    """Where tracking best begins; `groundtruth` has a box there."""
    groundtruth: dict[int, Box]
    """Frame index to box: every frame where `exact`, else some."""
    exact: bool
    """Whether the boxes come from the clip's construction and not from a person's eye."""
    licence: str
    """An SPDX identifier."""
    attribution: str
    """The notice to show wherever the clip is shown."""

    @property
    def init_box(self) -> Box:
        """The target's box at `init_frame`."""
        return self.groundtruth[self.init_frame]

    @property
    def folder(self) -> Path:
        """Where the clip, its boxes and its README lie."""
        return self.video.parent


def sample(name: str = DEMO) -> Sample:
    """The sample clip `name`, one of `SAMPLES`.

    Raises UsageError: no such sample. SourceError: its files are not there or not readable.
    """
    if name not in SAMPLES:
        raise UsageError(f"no sample {name!r}: choose one of {', '.join(SAMPLES)}")
    folder = SAMPLES_FOLDER / name
    try:
        about = json.loads((folder / "sample.json").read_text(encoding="utf-8"))
        boxes = read_boxes(folder / about["boxes"])
        video = folder / about["video"]
        if not video.is_file():
            raise FileNotFoundError(video)
    except (OSError, ValueError, KeyError) as error:
        raise SourceError(
            f"sample {name} is incomplete ({folder}: {error}): reinstall trk-engine, or check out its repository whole"
        ) from error
    fields = ("title", "target", "init_frame", "exact", "licence", "attribution")
    return Sample(name=name, video=video, groundtruth=boxes, **{field: about[field] for field in fields})


def read_boxes(path: Path) -> dict[int, Box]:
    """Boxes by frame from a CSV with a header of at least frame, x, y, w, h."""
    with path.open(encoding="utf-8", newline="") as file:
        return {
            int(row["frame"]): (float(row["x"]), float(row["y"]), float(row["w"]), float(row["h"]))
            for row in csv.DictReader(file)
        }
