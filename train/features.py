"""Trunk features of augmented crops, computed once and kept on disk: a frozen trunk then costs nothing a step.

A round has, of every target, some template crops and some search crops, each augmented anew; any template may be
paired with any search crop of the same target and round (`samples.py`).
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..models.light import LightNet
from .cutouts import Cutout
from .samples import Plan, each
from .tracks import Image, Track

SHAPES = {
    "template_shallow": (32, 9, 9),
    "template_deep": (96, 5, 5),
    "template_mean": (768,),
    "search_shallow": (32, 25, 25),
    "search_deep": (96, 13, 13),
}


def write_round(
    out: Path,
    net: LightNet,
    tracks: Sequence[Track],
    seed: int,
    plan: Plan,
    report: Callable[[int, int], None],
    cutouts: Sequence[Cutout] = (),
) -> None:
    """Write the features of one round to the folder `out`; whole or not at all."""
    rows: list[tuple[str, int, Image, NDArray[np.float32]]] = []
    parts: dict[str, list[NDArray[np.float16]]] = {name: [] for name in SHAPES}
    templates: list[tuple[int, NDArray[np.float32]]] = []
    searches: list[tuple[int, NDArray[np.float32]]] = []
    sources: list[tuple[str, str]] = []
    for index, (sample, total) in enumerate(each(tracks, cutouts, seed, plan)):
        sources.append((sample.source, sample.kind))
        rows += [("template", index, *crop) for crop in sample.templates]
        rows += [("search", index, *crop) for crop in sample.searches]
        if len(rows) >= 64 or index == total - 1:
            _run(net, rows, parts, templates, searches)
            rows = []
            report(index + 1, total)
    arrays: dict[str, NDArray[Any]] = {name: np.concatenate(found) for name, found in parts.items()}
    arrays["template_track"] = np.array([i for i, _ in templates], np.int32)
    arrays["template_size"] = np.stack([t[2:] for _, t in templates])
    arrays["search_track"] = np.array([i for i, _ in searches], np.int32)
    arrays["search_target"] = np.stack([t for _, t in searches])
    temporary = out.with_name(out.name + ".part")
    temporary.mkdir(parents=True, exist_ok=True)
    for name, values in arrays.items():
        np.save(temporary / f"{name}.npy", values)
    (temporary / "tracks.json").write_text(json.dumps(sources), encoding="utf-8")
    temporary.replace(out)


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
