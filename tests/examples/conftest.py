"""What the examples that read a manifest themselves are compared with the engine on: rules of few models, at borders."""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest

from trk import Tracker


class BorderClip(NamedTuple):
    """A target crosses a small frame, from partly beyond the left and top border to partly beyond the others."""

    frames: list[np.ndarray]
    box: list[float]
    folder: Path

    def boxes_of_the_engine(self, bundle: Path) -> tuple[np.ndarray, list[float]]:
        """Boxes and scores of all frames but the first. They reach each of the borders."""
        tracker = Tracker(bundle, threads=1)
        tracker.init(self.frames[0], self.box)
        results = [tracker.update(frame) for frame in self.frames[1:]]
        boxes = np.array([result.box for result in results])
        height, width = self.frames[0].shape[:2]
        assert boxes[:, :2].min(axis=0).tolist() == [0, 0]
        assert (boxes[:, :2] + boxes[:, 2:]).max(axis=0).tolist() == [width, height]
        return boxes, [result.score for result in results]


@pytest.fixture(scope="session")
def border_clip(tmp_path_factory: pytest.TempPathFactory) -> BorderClip:
    random = np.random.default_rng(11)
    w, h, out = 30, 20, 12
    ground = cv2.resize(random.integers(60, 120, (9, 12, 3), np.uint8), (96 + 2 * out, 72 + 2 * out))
    target = cv2.resize(random.integers(0, 256, (5, 6, 3), np.uint8), (w, h), interpolation=cv2.INTER_NEAREST)
    folder, frames = tmp_path_factory.mktemp("borders"), []
    for number, (x, y) in enumerate(np.linspace((6, 6), (90, 74), 24).round().astype(int)):
        frame = ground.copy()
        frame[y : y + h, x : x + w] = target
        frames.append(frame[out:-out, out:-out].copy())
        cv2.imwrite(str(folder / f"{number:03d}.png"), frames[-1])
    return BorderClip(frames, [-5.6, -5.3, w - 0.2, h + 0.6], folder)


@pytest.fixture(scope="session", params=["lightfc", "fear/xs"])
def border_trk(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with the crops and limits of a model that has its own, and three scales that it has not."""
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
