"""The layouts, most telling first, and the data set in a folder."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ...errors import SourceError, UsageError
from . import folder as plain
from . import got10k, lasot, nfs, otb, trackingnet, uav
from .sequence import Unread


@dataclass(frozen=True)
class Layout:
    """How a benchmark lays out its data, and what goes with it."""

    name: str
    title: str
    find: Callable[[Path, str | None], list[Unread]]
    results: str
    """Name of the format of result files, in `results.FORMATS`."""
    convention: str
    """Name of the way to count, in `conventions.CONVENTIONS`."""
    looks_for: str
    first_pixel: int = 0
    """What the benchmark's files call the first pixel."""


LAYOUTS = (
    Layout("uav123", "UAV123", uav.find, "flat", "ope", "anno/UAV123/*.txt and data_seq/"),
    Layout("trackingnet", "TrackingNet", trackingnet.find, "trackingnet", "ope", "TEST/anno/*.txt and frames/"),
    Layout("got10k", "GOT-10k", got10k.find, "got10k", "got10k", "list.txt, or */cover.label"),
    Layout("lasot", "LaSOT", lasot.find, "flat", "ope", "*/*/full_occlusion.txt"),
    Layout("nfs", "Need for Speed", nfs.find, "flat", "ope", "*/240/*.txt or */30/*.txt"),
    Layout("otb", "OTB", otb.find, "flat", "ope", "*/groundtruth_rect*.txt", otb.FIRST_PIXEL),
    Layout("folder", "folder of sequences", plain.find, "flat", "ope", "*/groundtruth.txt"),
)


@dataclass(frozen=True)
class DataSet:
    """What was found in a folder."""

    folder: Path
    layout: Layout
    found: tuple[Unread, ...]


def open_dataset(folder: Path, layout: str | None = None, subset: str | None = None) -> DataSet:
    """Return the data set in `folder`, as laid out by `layout` (None: what it looks like) and cut down to `subset`.

    Raises SourceError where nothing is found, UsageError where there is no such layout.
    """
    rows = [row for row in LAYOUTS if layout in (None, row.name)]
    if not rows:
        raise UsageError(f"no layout {layout!r}: there are {', '.join(row.name for row in LAYOUTS)}")
    if not folder.is_dir():
        raise SourceError(f"no folder {folder}: name the folder that holds the sequences")
    for row in rows:
        found = row.find(folder, subset)
        if found:
            return DataSet(folder, row, tuple(found))
    wanted = "; ".join(f"{row.name}: {row.looks_for}" for row in rows)
    where = f"{folder}" if subset is None else f"{folder} (subset {subset})"
    raise SourceError(f"no sequence in {where}: looked for {wanted}")
