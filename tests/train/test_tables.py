"""The tables of what ships: runs of any tracker, kept, and a reason where one is missing."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from trk.bench.peers import bundle_spec, peer_spec
from trk.bench.store import Store
from trk.train.tables import accuracy, accuracy_json, speed_json, speed_table


@pytest.fixture
def still_target(tmp_path: Path) -> Path:
    """A sequence whose target stays for two frames, then doubles its width."""
    place = tmp_path / "sequences" / "still"
    place.mkdir(parents=True)
    for number in range(1, 5):
        cv2.imwrite(str(place / f"{number:08d}.jpg"), np.full((60, 80, 3), 40 * number, np.uint8))
    (place / "groundtruth.txt").write_text("10,10,20,20\n10,10,20,20\n10,10,40,20\n10,10,40,20\n")
    return place.parent


def test_a_tracker_that_is_not_there_is_left_out_with_the_reason(still_target: Path, tmp_path: Path) -> None:
    missing = bundle_spec(tmp_path / "none.trk", "missing")
    runs, skipped = accuracy(still_target, [peer_spec("stay"), missing], Store(tmp_path / "runs"))
    assert list(runs) == ["stay"]
    assert "none.trk" in skipped["missing"]
    found = accuracy_json(runs)["stay"]
    assert found["sequences"] == {"still": pytest.approx((1 + 0.5 + 0.5) / 3, abs=1e-4)}
    assert found["mean_overlap"] == pytest.approx(2 / 3, abs=1e-4)


def test_runs_that_are_kept_are_not_made_again(still_target: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "runs")
    accuracy(still_target, [peer_spec("stay")], store)
    before = {path: path.stat().st_mtime_ns for path in store.folder.iterdir()}
    runs, _ = accuracy(still_target, [peer_spec("stay")], store)
    assert len(before) == 1
    assert {path: path.stat().st_mtime_ns for path in store.folder.iterdir()} == before
    assert runs["stay"][0].mean_overlap == pytest.approx(2 / 3)


def test_the_speed_table_has_a_line_for_each_bundle(tiny_trk: Path) -> None:
    found = speed_json([bundle_spec(tiny_trk, "one"), bundle_spec(tiny_trk, "two")], rounds=1)
    assert list(found["trackers"]) == ["one", "two"]
    assert all(one["cpu_ms"]["median"] > 0 for one in found["trackers"].values())
    assert speed_table(found).count("\n") == 4
