"""Pairs of crops: of which pictures they are, where their targets lie, and what is around a picture."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from train_data import moving_squares

from trk.engine.geometry import Geometry
from trk.errors import SourceError
from trk.models.registry import find
from trk.train.augment import Augment, cut
from trk.train.lessons import GAP, REGION_GAP, SHARES, lessons
from trk.train.pairs import PairBatches, Sampling, random_region
from trk.train.shards import read_shards
from trk.train.tracks import Box, Frame, Image, Images, Track

PLAIN = Augment(scale=0, colour=0, grey=0, blur=0, noise=0)
"""Crops as the engine would cut them."""
STILL = Sampling(negative=0.0, template=PLAIN, search=PLAIN)
GEOMETRY = Geometry()
BLACK = Geometry.model_validate(find("slimfc").geometry)


def _batches(tracks: list[Track], sampling: Sampling, count: int = 8, geometry: Geometry = GEOMETRY) -> PairBatches:
    return PairBatches(tracks, geometry, 255, count, sampling=sampling)


def _flat(folder: Path, levels: list[int], box: Box | None = (60.0, 40.0, 30.0, 30.0), source: str = "flat") -> Track:
    """A video of pictures each of one grey level."""
    folder.mkdir()
    frames = []
    for number, level in enumerate(levels):
        path = folder / f"{number}.png"
        cv2.imwrite(str(path), np.full((120, 160, 3), level, np.uint8))
        frames.append(Frame(path, box, None, number))
    return Track(folder.name, source, "video", tuple(frames))


def _middle(crop: np.ndarray) -> int:
    return int(crop[crop.shape[0] // 2, crop.shape[1] // 2, 0])


def test_both_ways_gives_two_pairs_of_every_two_pictures(tmp_path: Path) -> None:
    track = _flat(tmp_path / "video", [20 * number for number in range(12)])
    batch = _batches([track], replace(STILL, both_ways=True), 24).make(0)
    levels = [(_middle(z), _middle(x)) for z, x in zip(batch.z.numpy(), batch.x.numpy(), strict=True)]
    for there, back in zip(levels[::2], levels[1::2], strict=True):
        assert back == there[::-1]
    assert any(z != x for z, x in levels)
    assert len(set(levels)) > 8


def test_both_ways_fill_a_batch_of_an_odd_number(tmp_path: Path) -> None:
    batch = _batches(moving_squares(tmp_path), replace(STILL, both_ways=True), 5).make(0)
    assert len(batch.z) == len(batch.x) == len(batch.size) == len(batch.target) == len(batch.present) == 5


def test_pairs_of_strangers_are_strangers_both_ways(tmp_path: Path) -> None:
    tracks = [_flat(tmp_path / "dark", [10] * 3), _flat(tmp_path / "light", [200] * 3)]
    batch = _batches(tracks, replace(STILL, both_ways=True, negative=0.5), 40).make(0)
    same = [_middle(z) == _middle(x) for z, x in zip(batch.z.numpy(), batch.x.numpy(), strict=True)]
    assert batch.present.tolist() == same
    assert set(same) == {True, False}
    assert same[::2] == same[1::2]


def test_what_lies_outside_the_picture_is_black_where_the_geometry_says_so(tmp_path: Path) -> None:
    track = _flat(tmp_path / "corner", [180] * 2, (0.0, 0.0, 40.0, 40.0))
    filled, black = (_batches([track], STILL, 2, geometry).make(0) for geometry in (GEOMETRY, BLACK))
    for crops in (filled.z, filled.x):
        assert set(np.unique(crops.numpy())) == {180}
    for crops in (black.z, black.x):
        assert set(crops[:, :8].flatten().tolist()) == {0}
        assert crops[:, crops.shape[1] // 2 + 8, crops.shape[2] // 2 + 8].unique().tolist() == [180]


def test_a_mirrored_pair_is_mirrored_in_both_crops(tmp_path: Path) -> None:
    tracks = moving_squares(tmp_path)
    straight, mirrored = (_batches(tracks, replace(STILL, flip=flip), 4).make(0) for flip in (0.0, 1.0))
    for one, other in ((straight.z, mirrored.z), (straight.x, mirrored.x)):
        assert float((one.flip(2).float() - other.float()).abs().mean()) < 1.0
        assert float((one.float() - other.float()).abs().mean()) > 5.0
    assert straight.target.tolist() == mirrored.target.tolist()
    assert straight.size.tolist() == mirrored.size.tolist()


def test_half_of_the_pairs_are_mirrored_if_half_are_asked_for(tmp_path: Path) -> None:
    tracks = moving_squares(tmp_path, tracks=1, frames=1)
    straight, mirrored = (_batches(tracks, replace(STILL, flip=flip), 40).make(0) for flip in (0.0, 0.5))
    same = [bool((one == other).all()) for one, other in zip(straight.x, mirrored.x, strict=True)]
    assert 10 < sum(same) < 30
    assert same == [bool((one == other).all()) for one, other in zip(straight.z, mirrored.z, strict=True)]


def _marked(folder: Path, frames: int) -> Track:
    """A video without boxes: every pixel tells where it is, its third colour in which frame."""
    folder.mkdir()
    found = []
    for number in range(frames):
        x, y = np.meshgrid(np.arange(240), np.arange(200))
        path = folder / f"{number}.png"
        cv2.imwrite(str(path), np.stack([x, y, np.full_like(x, 5 * number)], -1).astype(np.uint8))
        found.append(Frame(path, None, None, number))
    return Track(folder.name, "shots", "video", tuple(found))


def test_a_region_is_the_same_in_both_crops_and_near_in_time(tmp_path: Path) -> None:
    sampling = replace(STILL, region_gap=3)
    batch = _batches([_marked(tmp_path / "video", 40)], sampling, 40).make(0)
    gaps = []
    for z, x in zip(batch.z.numpy(), batch.x.numpy(), strict=True):
        middles = [crop[crop.shape[0] // 2, crop.shape[1] // 2].astype(int) for crop in (z, x)]
        assert np.abs(middles[0][:2] - middles[1][:2]).max() <= 1
        gaps.append(round(abs(middles[0][2] - middles[1][2]) / 5))
    assert max(gaps) == 3
    assert len({tuple(target) for target in batch.size.tolist()}) == 40


def test_the_gap_of_boxes_is_another(tmp_path: Path) -> None:
    track = _flat(tmp_path / "video", [5 * number for number in range(40)])
    batch = _batches([track], replace(STILL, gap=20, region_gap=0), 60).make(0)
    gaps = [abs(_middle(z) - _middle(x)) // 5 for z, x in zip(batch.z.numpy(), batch.x.numpy(), strict=True)]
    assert 10 < max(gaps) <= 20


def test_a_batch_is_decided_by_the_seed_and_its_number_however_far_ahead_one_reads(tmp_path: Path) -> None:
    tracks = moving_squares(tmp_path)
    sampling = Sampling(both_ways=True, flip=0.5)
    one, other = (PairBatches(tracks, GEOMETRY, 255, 4, 7, sampling) for _ in range(2))
    found = [one.next() for _ in range(3)]
    other.restore({"count": 2})
    again = other.next()
    for field in ("z", "x", "size", "target", "present"):
        assert bool((getattr(again, field) == getattr(found[2], field)).all())
    assert not bool((found[0].x == found[1].x).all())
    assert one.state() == {"count": 3}


def test_a_region_lies_in_its_picture() -> None:
    image: Image = np.zeros((90, 300, 3), np.uint8)
    boxes = np.array([random_region(image, np.random.default_rng(seed)) for seed in range(300)])
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, :2] + boxes[:, 2:] <= [300, 90]).all()
    sides = np.sqrt(boxes[:, 2] * boxes[:, 3])
    assert sides.min() > 0.1 * 90 * 0.85
    assert sides.max() <= 0.5 * 90 + 1e-6
    assert (boxes[:, 2:].max(1) / boxes[:, 2:].min(1)).max() <= 3 + 1e-6


def test_near_shifts_are_a_seventh_as_wide() -> None:
    image: Image = np.zeros((300, 300, 3), np.uint8)
    rng = np.random.default_rng(0)
    box = (130.0, 130.0, 40.0, 40.0)

    def spread(near: float) -> float:
        rule = replace(PLAIN, shift=70, near=near)
        return float(np.std([cut(image, box, 64, rule, rng)[1][:2] for _ in range(400)]))

    assert spread(0.0) == pytest.approx(70 / np.sqrt(3), rel=0.1)
    assert spread(1.0) == pytest.approx(10, rel=0.1)
    assert spread(1.0) < spread(0.5) < spread(0.0)


def test_weights_decide_which_sources_are_drawn(tmp_path: Path) -> None:
    tracks = [_flat(tmp_path / "dark", [10], source="a"), _flat(tmp_path / "light", [200], source="b")]
    batch = _batches(tracks, replace(STILL, weights={"a": 0.25, "b": 0.75}), 200).make(0)
    drawn = np.array([_middle(z) for z in batch.z.numpy()])
    assert set(drawn) == {10, 200}
    assert (drawn == 200).mean() == pytest.approx(0.75, abs=0.1)
    with pytest.raises(SourceError, match="every source has the weight 0"):
        _batches(tracks, replace(STILL, weights={"a": 0.0, "b": 0.0}))


def test_lessons_draw_kinds_by_their_shares_whatever_their_numbers(tmp_path: Path) -> None:
    names = ["one-shots"] * 5 + ["two-shots"] + ["one-persons"] * 2 + ["squares"] * 3
    tracks = [Track(str(number), name, "video", ()) for number, name in enumerate(names)]
    sampling = lessons(tracks)
    assert (sampling.gap, sampling.region_gap, sampling.both_ways) == (GAP, REGION_GAP, True)
    assert sampling.weights is not None
    drawn = {
        kind: sum(sampling.weights[name] for name in names if name.endswith(kind)) for kind in ("shots", "persons")
    }
    assert drawn == pytest.approx({kind: SHARES[kind] for kind in drawn})
    assert sum(sampling.weights[name] for name in names) == pytest.approx(1.0)
    assert lessons(tracks[8:]).weights == pytest.approx({"squares": 1 / 3})


def test_rows_of_an_index_without_a_box_are_pictures_of_any_region(tmp_path: Path) -> None:
    (tmp_path / "index.csv").write_text(
        "shard,member,track,source,kind,x,y,w,h,frame\n"
        "a.zip,0.jpg,shot,s,video,,,,,0\n"
        "a.zip,1.jpg,shot,s,video,,,,,1\n"
        "a.zip,0.jpg,cat,s,video,1,2,30,40,0\n"
        "a.zip,1.jpg,cat,s,video,1,2,1,1,1\n"
    )
    shot, cat = read_shards(tmp_path)
    assert [(frame.box, frame.number) for frame in shot.frames] == [(None, 0), (None, 1)]
    assert [frame.box for frame in cat.frames] == [(1.0, 2.0, 30.0, 40.0)]


def test_a_picture_that_cant_be_read_is_told_in_one_line(tmp_path: Path) -> None:
    track = _flat(tmp_path / "video", [10, 20])
    for frame in track.frames:
        frame.path.write_bytes(b"no picture")
    with pytest.raises(SourceError, match="no image that OpenCV can decode") as raised:
        _batches([track], STILL).next()
    assert len(str(raised.value).splitlines()) == 1
    with pytest.raises(SourceError):
        Images().read(track.frames[0])
