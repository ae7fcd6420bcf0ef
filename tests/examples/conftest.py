"""What the examples that read a manifest themselves are tried on: targets at borders, rules of few models or none."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest

from trk import Tracker


class BorderClip(NamedTuple):
    """A target that crosses a small frame, from beyond the left and top border to beyond the other two."""

    frames: list[np.ndarray]
    walks: list[tuple[Sequence[int], list[float]]]
    """Numbers of frames, and the target's box in the first: from the middle to either end; from beyond a border; in a
    corner, smaller than limits let it be.
    """
    folder: Path

    def expected(self, bundle: Path) -> np.ndarray:
        """The engine's x, y, w, h and score in the frames of all walks but the first. They reach each border."""
        tracker, found = Tracker(bundle, threads=1), []
        for numbers, box in self.walks:
            tracker.init(self.frames[numbers[0]], box)
            results = [tracker.update(self.frames[number]) for number in numbers[1:]]
            found += [[*result.box, result.score] for result in results]
        x, y, w, h, _ = np.array(found).T
        height, width = self.frames[0].shape[:2]
        assert (x.min(), y.min(), (x + w).max(), (y + h).max()) == pytest.approx((0, 0, width, height))
        return np.array(found)


@pytest.fixture(scope="session")
def border_clip(tmp_path_factory: pytest.TempPathFactory) -> BorderClip:
    random = np.random.default_rng(11)
    w, h, out = 30, 20, 12
    ground = cv2.resize(random.integers(60, 120, (9, 12, 3), np.uint8), (96 + 2 * out, 72 + 2 * out))
    target = cv2.resize(random.integers(0, 256, (5, 6, 3), np.uint8), (w, h), interpolation=cv2.INTER_NEAREST)
    folder, frames = tmp_path_factory.mktemp("borders"), []
    corners = np.linspace((out - 7, out - 6), (out + 74, out + 60), 24).round().astype(int)
    for number, (x, y) in enumerate(corners):
        frame = ground.copy()
        frame[y : y + h, x : x + w] = target
        frames.append(frame[out:-out, out:-out].copy())
        cv2.imwrite(str(folder / f"{number:03d}.png"), frames[-1])
    first, middle = ([x - out - 0.3, y - out + 0.4, w + 0.8, h - 0.2] for x, y in corners[[0, 12]].tolist())
    corner = [94.4, 70.6, 1.3, 1.2]
    walks = [(range(12, 24), middle), (range(12, -1, -1), middle), (range(12), first), (range(4), corner)]
    return BorderClip(frames, walks, folder)


@pytest.fixture(scope="session", params=["lightfc", "fear/xs"])
def border_trk(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with the crops and limits of a model whose regions or boxes are like no other's, at three scales."""
    from tiny import TINY, seeded

    from trk.engine.manifest import Weights
    from trk.export.bundle import export_bundle
    from trk.models.registry import find
    from trk.models.row import Preset, SearchSize

    geometry = {**find(*request.param.split("/")).geometry, "search_steps": (-1, 0, 1)}
    row = replace(TINY, searches=(SearchSize(256),), geometry=geometry, presets={"default": Preset()})
    out = tmp_path_factory.mktemp("borders") / "bundle.trk"
    export_bundle(row, out, seeded(), Weights(origin="checkpoint", file="tiny", licence="none: random projections"))
    return out


UNKNOWN = [
    ("crop", {"sampling": "affine"}, 'sampling = "affine"'),
    ("crop", {"fill": "mirror"}, 'fill = "mirror"'),
    ("crop", {"origin": "middle"}, 'origin = "middle"'),
    ("crop", {"scale": "none"}, 'scale = "none"'),
    ("crop", {"origin_rounding": "down"}, 'origin_rounding = "down"'),
    ("crop", {"side_rounding": "down"}, 'side_rounding = "down"'),
    ("limits", {"relative_size": [0.5, 2]}, "relative_size = [0.5,2]"),
    ("limits", {"in_frame": {"min_side": 2, "beyond": "turn"}}, 'beyond = "turn"'),
]


@pytest.fixture
def unknown_rules(tiny_bundle: Path) -> list[tuple[str, str]]:
    """Manifests with a rule that the examples do not know, and how they name it."""
    changed = []
    for part, change, says in UNKNOWN:
        manifest = json.loads((tiny_bundle / "bundle.json").read_text())
        manifest["geometry"][part].update(change)
        changed.append((json.dumps(manifest), says))
    return changed


@pytest.fixture
def older_manifest(tiny_bundle: Path) -> str:
    """The tiny bundle's manifest as it was before regions that are not square."""
    manifest = json.loads((tiny_bundle / "bundle.json").read_text())
    geometry = manifest["geometry"]
    del geometry["box_context"]
    for part, names in (("crop", ("origin", "scale", "unseen_edge")), ("limits", ("in_frame", "whole_pixels"))):
        for name in names:
            del geometry[part][name]
    return json.dumps(manifest)
