"""The layouts in which training data comes, each read into tracks. Absent, tiny and absurd boxes are left out."""

import csv
import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from ..errors import SourceError, UsageError
from .shards import read_shards
from .tracks import Box, Frame, Track, usable

DAMAGED: tuple[type[Exception], ...] = (
    *(LookupError, ValueError, TypeError, AttributeError, ArithmeticError, RecursionError, OSError),
    *(csv.Error, ElementTree.ParseError),
)
"""What files that are none of these layouts, or damaged, make their readers raise."""
IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


def read_got10k(folder: Path) -> list[Track]:
    """GOT-10k: a folder a sequence, images beside groundtruth.txt (x,y,w,h) and absence.label (1: absent)."""
    return [
        _sequence(path.parent, path.parent, path, [path.parent / "absence.label"])
        for path in sorted(folder.glob("*/groundtruth.txt"))
    ]


def read_lasot(folder: Path) -> list[Track]:
    """LaSOT: class/sequence/img, with groundtruth.txt, full_occlusion.txt and out_of_view.txt (1: not to be seen)."""
    tracks = []
    for path in sorted(folder.glob("*/*/groundtruth.txt")):
        hidden = [path.parent / "full_occlusion.txt", path.parent / "out_of_view.txt"]
        tracks.append(_sequence(path.parent, path.parent / "img", path, hidden))
    return tracks


def read_trackingnet(folder: Path) -> list[Track]:
    """TrackingNet: TRAIN_n/frames/sequence/0.jpg, 1.jpg, ... and TRAIN_n/anno/sequence.txt."""
    paths = sorted([*folder.glob("*/anno/*.txt"), *folder.glob("anno/*.txt")])
    return [_sequence(path, path.parent.parent / "frames" / path.stem, path, []) for path in paths]


def read_coco(folder: Path) -> list[Track]:
    """COCO: annotations/instances_*.json beside the image folders.

    Each object is a track of one picture; those with a `track_id`, as in what trk-run labelled, are frames of one
    video.
    """
    tracks: list[Track] = []
    for path in sorted(folder.glob("annotations/instances_*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        place = folder / path.stem.removeprefix("instances_").removesuffix(".coco")
        names = {image["id"]: image["file_name"] for image in content["images"]}
        videos: defaultdict[str, list[Frame]] = defaultdict(list)
        for found in content["annotations"]:
            box = _box(found["bbox"])
            if not found.get("iscrowd") and usable(box):
                frame = Frame(place / names[found["image_id"]], box, number=found["image_id"])
                if "track_id" in found:
                    videos[f"{path.stem}/track {found['track_id']}"].append(frame)
                else:
                    tracks.append(Track(f"{path.stem}/{found['id']}", "coco", "still", (frame,)))
        tracks += [Track(name, "coco", "video", tuple(frames)) for name, frames in videos.items()]
    return tracks


def read_vid(folder: Path) -> list[Track]:
    """ImageNet VID: Annotations/VID/train/.../sequence/000000.xml and Data/VID/train/.../sequence/000000.JPEG."""
    frames: defaultdict[str, list[Frame]] = defaultdict(list)
    annotations = folder / "Annotations" / "VID"
    for path in sorted(annotations.glob("train/**/*.xml")):
        place = (folder / "Data" / "VID" / path.relative_to(annotations)).with_suffix(".JPEG")
        for found in ElementTree.parse(path).getroot().iter("object"):
            corners = {side.tag: float(side.text or "nan") for side in found.find("bndbox") or ()}
            x, y = corners["xmin"], corners["ymin"]
            box = (x, y, corners["xmax"] - x, corners["ymax"] - y)
            if usable(box):
                name = f"{path.parent.relative_to(annotations)}/{found.findtext('trackid')}"
                frames[name].append(Frame(place, box, number=int(path.stem)))
    return [Track(name, "vid", "video", tuple(found)) for name, found in frames.items()]


def read_ytbb(folder: Path) -> list[Track]:
    """YouTube-BB: its CSV files (relative corners, no header) and frames as youtube_id/timestamp_ms.jpg."""
    frames: defaultdict[str, list[Frame]] = defaultdict(list)
    for path in sorted(folder.glob("*.csv")):
        with path.open(newline="", encoding="utf-8") as stream:
            for row in csv.reader(stream):
                video, time, _, _, number, presence, left, right, top, bottom = row[:10]
                place = folder / video / f"{time}.jpg"
                if presence == "present" and place.is_file():
                    x, y = float(left), float(top)
                    box = (x, y, float(right) - x, float(bottom) - y)
                    # Timestamps are a second apart: numbered by the second, neighbours are a gap of 1.
                    frames[f"{video}/{number}"].append(Frame(place, box, number=int(time) // 1000, relative=True))
    return [Track(name, "ytbb", "video", tuple(found)) for name, found in frames.items()]


def read_csv(path: Path) -> list[Track]:
    """A CSV of boxes: image,x,y,w,h and, where known, track and frame; images relative to the file."""
    frames: defaultdict[str, list[Frame]] = defaultdict(list)
    with path.open(newline="", encoding="utf-8") as stream:
        for line, row in enumerate(csv.DictReader(stream), start=2):
            try:
                box = _box([float(row[side]) for side in "xywh"])
                place, number = path.parent / row["image"], int(float(row.get("frame") or 0))
            except (KeyError, TypeError, ValueError) as error:
                raise SourceError(f"{path} line {line}: image,x,y,w,h (and track,frame) are wanted: {error}") from None
            if usable(box):
                frames[row.get("track") or f"line {line}"].append(Frame(place, box, number=number))
    return [
        Track(name, path.stem, "video" if len(found) > 1 else "still", tuple(found)) for name, found in frames.items()
    ]


def read_images(folder: Path) -> list[Track]:
    """Plain pictures without boxes: a random region of each stands for an object."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGES)
    return [Track(str(path), "images", "still", (Frame(path, None),)) for path in paths]


LAYOUTS: dict[str, Callable[[Path], list[Track]]] = {
    "got10k": read_got10k,
    "lasot": read_lasot,
    "trackingnet": read_trackingnet,
    "coco": read_coco,
    "vid": read_vid,
    "ytbb": read_ytbb,
    "csv": read_csv,
    "shards": read_shards,
    "images": read_images,
}


def read_data(places: Iterable[str], uses: Collection[str] = ()) -> list[Track]:
    """Return the tracks of `places`, each LAYOUT:PATH. Raises UsageError, and SourceError where one holds none."""
    tracks: list[Track] = []
    for place in places:
        layout, colon, name = place.partition(":")
        if not colon or layout not in LAYOUTS:
            raise UsageError(f"--data {place!r} names no layout: LAYOUT:PATH, with one of {', '.join(LAYOUTS)}")
        path = Path(name)
        if not path.exists():
            raise SourceError(f"no training data at {path}")
        try:
            found = read_shards(path, uses) if layout == "shards" and uses else LAYOUTS[layout](path)
        except DAMAGED as error:
            raise SourceError(f"{path} is not laid out as {layout}: {repr(error)[:200]}") from None
        found = [track for track in found if track.frames]
        if not found:
            raise SourceError(f"{path} holds no usable track in the layout {layout} (see docs/training.md)")
        tracks += found
    return tracks


def _sequence(name: Path, images: Path, truth: Path, hidden: Sequence[Path]) -> Track:
    boxes = np.loadtxt(truth, delimiter=",", ndmin=2)
    absent = np.zeros(len(boxes), bool)
    for path in hidden:
        if path.is_file():
            absent |= np.array(path.read_text().replace(",", " ").split(), float)[: len(boxes)] > 0
    paths = sorted((path for path in images.glob("*") if path.suffix.lower() in IMAGES), key=_order)
    frames = [
        Frame(path, _box(box), number=number)
        for number, (path, box, gone) in enumerate(zip(paths, boxes, absent, strict=False))
        if not gone and usable(box)
    ]
    return Track(str(name), name.parent.name, "video", tuple(frames))


def _order(path: Path) -> tuple[int, str]:
    """TrackingNet numbers without leading zeros."""
    return (int(path.stem), "") if path.stem.isdigit() else (0, path.stem)


def _box(values: Sequence[float]) -> Box:
    x, y, w, h = values
    return float(x), float(y), float(w), float(h)
