"""Every row of the registry with the weights of `trk-export --random` becomes a bundle that runs on frames."""

import numpy as np
import pytest

from trk import Tracker
from trk.export.bundle import export_bundle
from trk.models.registry import ROWS


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_row_with_random_weights_becomes_a_bundle_that_runs(row, tmp_path, clip):
    manifest = export_bundle(row, tmp_path / "row.trk")
    assert manifest.weights.origin == "random"
    tracker = Tracker(tmp_path / "row.trk", threads=1)
    tracker.init(clip.frames[0], clip.boxes[0])
    results = [tracker.update(frame) for frame in clip.frames[1:4]]
    assert np.isfinite([[*result.box, result.score] for result in results]).all()
