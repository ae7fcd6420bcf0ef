"""What a round is cut from, and which pairs come of it."""

from collections import Counter

import numpy as np
from train_data import moving_squares

from trk.models.light import LightNet
from trk.train.batches import FeatureBatches, Mixture
from trk.train.cutouts import Cutout
from trk.train.features import Rounds, write_round
from trk.train.samples import SEARCH_PIXELS, TEMPLATE_PIXELS, Plan, each

PLAN = Plan(video=2, composed=2, regions=1)


def cutouts(count=2):
    rng = np.random.default_rng(1)
    mask = np.zeros((30, 30), np.uint8)
    mask[3:27, 3:27] = 255
    return [Cutout(rng.integers(0, 255, (30, 30, 3)).astype(np.uint8), mask, "squares") for _ in range(count)]


def test_a_round_has_every_track_every_object_and_the_regions_asked_for(tmp_path):
    tracks = moving_squares(tmp_path)
    found = [sample for sample, _ in each(tracks, cutouts(), 0, PLAN)]
    assert Counter(sample.kind for sample in found) == {"video": 3, "composed": 2, "region": 3}
    for sample in found:
        assert all(crop.shape == (TEMPLATE_PIXELS, TEMPLATE_PIXELS, 3) for crop, _ in sample.templates)
        assert all(crop.shape == (SEARCH_PIXELS, SEARCH_PIXELS, 3) for crop, _ in sample.searches)
        assert all((target[2:] > 3).all() for _, target in sample.templates + sample.searches)


def test_a_round_is_decided_by_its_seed(tmp_path):
    tracks = moving_squares(tmp_path)
    one, same, another = ([s for s, _ in each(tracks, cutouts(), seed, PLAN)] for seed in (3, 3, 4))
    assert [s.kind for s in one] == [s.kind for s in same]
    assert all(np.array_equal(a.searches[0][0], b.searches[0][0]) for a, b in zip(one, same, strict=True))
    assert not all(np.array_equal(a.searches[0][0], b.searches[0][0]) for a, b in zip(one, another, strict=True))


def test_a_source_can_be_left_out_by_chance(tmp_path):
    tracks = moving_squares(tmp_path, tracks=6)
    plan = Plan(video=1, regions=0, skipped={tracks[0].source: 0.5})
    counts = {sum(1 for _ in each(tracks, [], seed, plan)) for seed in range(6)}
    assert len(counts) > 1
    assert max(counts) <= 6


def test_pairs_come_from_the_kinds_by_their_shares(tmp_path):
    tracks = moving_squares(tmp_path)
    net = LightNet().eval()
    write_round(tmp_path / "cache" / "round-000", net, tracks, 0, PLAN, lambda done, total: None, cutouts())
    rounds = Rounds(tmp_path / "cache", 1)
    kinds = np.array([kind for _, kind in rounds.sources[0]])
    batches = FeatureBatches(rounds, 64, 0, Mixture(shares={"video": 0.5, "composed": 0.5}, negative=0.0))
    batches.next()
    steps = np.diff(batches._rounds[0].running, prepend=0.0)
    assert np.isclose(steps[kinds == "video"].sum(), 0.5)
    assert np.isclose(steps[kinds == "composed"].sum(), 0.5)
    assert steps[kinds == "region"].sum() == 0
