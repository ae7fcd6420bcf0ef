"""Whole sequences with real weights: the overlap that upstream's own code reaches, on every one of them."""

import pytest

from trk import Tracker
from trk.bench.conventions import convention
from trk.bench.datasets import folder
from trk.bench.metrics import compare, score
from trk.bench.ope import run

from shared import shared_path

OVERLAP = 0.002
RULE = convention("ope")  # counts the first frame, as the table does
TRACKERS = {
    "LightFC FP32": ("weights/lightfc.npz", None),
    "FEAR-XS demo": ("weights/fearxs.npz", None),
    "FEAR-XS NoEmbs": ("weights/fearxs_noembs.npz", None),
    "FEAR demo smooth": ("weights/fearxs.npz", "smooth"),
}
"""Weights and preset of the table's columns."""


def upstreams_overlaps(data, column):
    """Return upstream's mean overlap on each sequence of the set `data`: the table of its name, in Markdown."""
    text = shared_path("reference", "LIGHT_RESULTS.md").read_text(encoding="utf-8")
    section = text.split("## Per sequence, 1 run, first frame counted")[1].split("\n## ")[0]
    table = next(part for part in section.split("\n\n") if part.startswith(f"| {data} |"))
    head, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines())
    at = head.index(column)
    return {row[0]: float(row[at]) for row in rows if row[0] != "mean"}


@pytest.mark.slow
@pytest.mark.parametrize(("data", "count"), [("sequences", 15), ("validation", 16)])
@pytest.mark.parametrize("column", TRACKERS)
def test_overlap_of_every_sequence_is_upstreams(data, count, column, published_bundle):
    expected, place = upstreams_overlaps(data, column), shared_path(data)
    assert len(expected) == count
    weights, preset = TRACKERS[column]
    tracker = Tracker(published_bundle(weights), threads=1, preset=preset)
    found = {name: overlap(tracker, folder.read(place / name)) for name in expected}
    assert found == pytest.approx(expected, abs=OVERLAP)


def overlap(tracker, sequence):
    followed = run(tracker, sequence)
    return score(compare(followed.boxes, sequence, RULE, followed.frame_wh), RULE).figures["ao"]
