"""Trunk features of augmented crops, computed once and kept on disk: a frozen trunk then costs nothing a step.

A round cuts, of every track, some template crops and some search crops, each augmented anew; any template may be
paired with any search crop of the same track and round.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..models.light import LightNet
from .augment import TEMPLATE, WIDE, cut
from .tracks import Image, Images, Track

TEMPLATE_PIXELS = 159
SEARCH_PIXELS = 223
SHAPES = {
    "template_shallow": (32, 9, 9),
    "template_deep": (96, 5, 5),
    "template_mean": (768,),
    "search_shallow": (32, 25, 25),
    "search_deep": (96, 13, 13),
}


@dataclass(frozen=True)
class Plan:
    """How many crops of each branch a track gives: at most one a frame for video, `still` for a still picture."""

    video: int = 5
    still: int = 2


def write_round(
    out: Path, net: LightNet, tracks: Sequence[Track], seed: int, plan: Plan, report: Callable[[int, int], None]
) -> None:
    """Write the features of one round to the folder `out`; whole or not at all."""
    rng = np.random.default_rng(seed)
    images = Images()
    rows: list[tuple[str, int, Image, NDArray[np.float32]]] = []
    parts: dict[str, list[NDArray[np.float16]]] = {name: [] for name in SHAPES}
    templates: list[tuple[int, NDArray[np.float32]]] = []
    searches: list[tuple[int, NDArray[np.float32]]] = []
    for index, track in enumerate(tracks):
        flip = bool(rng.random() < 0.5)
        other = images.read(_someone_else(tracks, index, rng))
        count = min(plan.video, len(track.frames)) if track.kind == "video" else plan.still
        picked = rng.permutation(len(track.frames))
        for number in range(count):
            frame = track.frames[picked[number % len(track.frames)]]
            image = images.read(frame)
            box = frame.box_in(image)
            assert box is not None
            rows.append(("template", index, *cut(image, box, TEMPLATE_PIXELS, TEMPLATE, rng, flip=flip)))
            rows.append(("search", index, *cut(image, box, SEARCH_PIXELS, WIDE, rng, flip=flip, other=other)))
        if len(rows) >= 64 or index == len(tracks) - 1:
            _run(net, rows, parts, templates, searches)
            rows = []
            report(index + 1, len(tracks))
    arrays: dict[str, NDArray[Any]] = {name: np.concatenate(found) for name, found in parts.items()}
    arrays["template_track"] = np.array([i for i, _ in templates], np.int32)
    arrays["template_size"] = np.stack([t[2:] for _, t in templates])
    arrays["search_track"] = np.array([i for i, _ in searches], np.int32)
    arrays["search_target"] = np.stack([t for _, t in searches])
    temporary = out.with_name(out.name + ".part")
    temporary.mkdir(parents=True, exist_ok=True)
    for name, values in arrays.items():
        np.save(temporary / f"{name}.npy", values)
    sources = [[track.source, track.kind] for track in tracks]
    (temporary / "tracks.json").write_text(json.dumps(sources), encoding="utf-8")
    temporary.replace(out)


def _someone_else(tracks: Sequence[Track], index: int, rng: np.random.Generator) -> Any:
    track = tracks[int(rng.integers(len(tracks)))]
    if track is tracks[index]:
        track = tracks[index - 1]
    return track.frames[int(rng.integers(len(track.frames)))]


@torch.no_grad()
def _run(
    net: LightNet,
    rows: list[tuple[str, int, Image, NDArray[np.float32]]],
    parts: dict[str, list[NDArray[np.float16]]],
    templates: list[tuple[int, NDArray[np.float32]]],
    searches: list[tuple[int, NDArray[np.float32]]],
) -> None:
    for branch, trunk, where in (
        ("template", net.trunk_template, templates),
        ("search", net.trunk_search, searches),
    ):
        of_branch = [row for row in rows if row[0] == branch]
        for start in range(0, len(of_branch), 16):
            batch = of_branch[start : start + 16]
            crops = np.stack([row[2] for row in batch])
            pixels = torch.from_numpy(crops).permute(0, 3, 1, 2).float()
            names = [name for name in SHAPES if name.startswith(branch)]
            for name, values in zip(names, trunk(pixels), strict=True):
                parts[name].append(values.numpy().astype(np.float16))
            where.extend((row[1], row[3]) for row in batch)


class Rounds:
    """The first `count` rounds of features in a folder, opened as memory maps."""

    def __init__(self, folder: Path, count: int):
        self.folder = folder
        self.names: list[str] = []
        self.rounds: list[dict[str, NDArray[Any]]] = []
        self.sources: list[list[tuple[str, str]]] = []
        for path in sorted(self.folder.glob("round-???/tracks.json"))[:count]:
            name = path.parent.name
            files = path.parent.glob("*.npy")
            self.rounds.append({file.stem: np.load(file, mmap_mode="r") for file in files})
            self.sources.append([(source, kind) for source, kind in json.loads(path.read_text(encoding="utf-8"))])
            self.names.append(name)
