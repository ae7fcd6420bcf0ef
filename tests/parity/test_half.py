"""FP16 bundles of real weights against FP32, every result rounded (backend torch): boxes over whole sequences."""

import numpy as np
import pytest

from trk import Tracker
from trk.bench.ope import run_folder
from trk.export.bundle import export_bundle
from trk.export.precision import BOX_DRIFT
from trk.export.weights import choose

from shared import shared_path

IOU = 0.005
"""Mean overlap over all sequences may change by this much."""


def exported(version, precision, out):
    row, net, weights = choose("nanotrack", version, shared_path("nanotrack", f"nanotrack{version}.npz"))
    return export_bundle(row, out / f"{version}-{precision}.trk", net, weights, precision=precision)


@pytest.mark.slow
def test_nanotrack_keeps_its_overlap_over_all_sequences(tmp_path):
    sequences = shared_path("sequences")
    found = {}
    for precision, backend in (("fp32", "onnxruntime"), ("fp16", "torch")):
        exported("v2", precision, tmp_path)
        tracker = Tracker(tmp_path / f"v2-{precision}.trk", backend, threads=1)
        found[precision] = [run.mean_overlap for run in run_folder(tracker, sequences)]
    assert len(found["fp16"]) == 15
    assert np.mean(found["fp32"]) > 0.7
    assert abs(np.mean(found["fp16"]) - np.mean(found["fp32"])) <= IOU


@pytest.mark.slow
def test_nanotrack_v1_is_repaired_by_a_few_layers(tmp_path):
    half = exported("v1", "fp16", tmp_path).half
    assert 1 <= len(half.wide) <= 10
    assert all("boxes drift by" in why for why in half.wide.values())
    assert half.box_drift <= BOX_DRIFT
    assert half.wide_share < 0.2
    # Its correlation of raw features is the largest number in it: beyond 1024 FP16 knows whole numbers only.
    assert max(half.ranges, key=half.ranges.get) in (
        "ban_head.corr_pw.correlate",
        "ban_head.cls_tower.0",
        "ban_head.bbox_tower.0",
    )
    assert 1024 < max(half.ranges.values()) < 4096
