"""What a round of cached features is cut from: crops of tracks, of composed scenes and of random regions."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .augment import TEMPLATE, TURNED, Augment, cut
from .compose import companion, compose, first_pose
from .cutouts import Cutout
from .pairs import random_region
from .tracks import Box, Image, Images, Track

TEMPLATE_PIXELS = 159
SEARCH_PIXELS = 223
SCENE = replace(TURNED, scale=0.3, rotation=0, occlusion=0, distractor=0)
FLAT = 12.0
"""Standard deviation, in grey levels, below which a region holds nothing to follow."""

Crop = tuple[Image, NDArray[np.float32]]
"""uint8 [pixels, pixels, 3] and its target: cx, cy from the middle, w, h."""


@dataclass(frozen=True)
class Plan:
    """How many pairs of crops a round has.

    `video`: of a track, at most one a frame; `still`: of a still; `composed`: of a cut-out object; `regions`: one each,
    so many a track. `search`: how search crops are augmented. `skipped`: share of the tracks of a source that a
    round leaves out by chance.
    """

    video: int = 5
    still: int = 1
    composed: int = 2
    regions: float = 0.4
    search: Augment = TURNED
    skipped: Mapping[str, float] = field(default_factory=lambda: {"drone-detection": 0.6})


class Sample(NamedTuple):
    """Crops of one target: any template goes with any search crop. `kind`: video, still, composed or region."""

    source: str
    kind: str
    templates: list[Crop]
    searches: list[Crop]


def samples(tracks: Sequence[Track], cutouts: Sequence[Cutout], rng: np.random.Generator, plan: Plan) -> list[Any]:
    """Return what makes each sample of a round when it is called: of all kinds, in any order."""
    images = Images()
    made: list[Any] = []
    for track in tracks:
        if rng.random() >= plan.skipped.get(track.source, 0.0):
            made.append(lambda track=track: _of_track(track, tracks, images, rng, plan))
    for cutout in cutouts if plan.composed else ():
        made.append(lambda cutout=cutout: _of_cutout(cutout, cutouts, tracks, images, rng, plan))
    for _ in range(round(plan.regions * len(tracks))):
        made.append(lambda: _of_region(tracks, images, rng, plan))
    return [made[number] for number in rng.permutation(len(made))]


def each(tracks: Sequence[Track], cutouts: Sequence[Cutout], seed: int, plan: Plan) -> Iterator[tuple[Sample, int]]:
    """Yield every sample of a round and how many there are."""
    made = samples(tracks, cutouts, np.random.default_rng(seed), plan)
    for make in made:
        yield make(), len(made)


def _of_track(track: Track, tracks: Sequence[Track], images: Images, rng: np.random.Generator, plan: Plan) -> Sample:
    flip = bool(rng.random() < 0.5)
    other = images.read(_any_frame(tracks, rng, track))
    count = min(plan.video, len(track.frames)) if track.kind == "video" else plan.still
    picked = rng.permutation(len(track.frames))
    templates, searches = [], []
    for number in range(count):
        frame = track.frames[picked[number % len(track.frames)]]
        image = images.read(frame)
        box = frame.box_in(image)
        assert box is not None
        templates.append(cut(image, box, TEMPLATE_PIXELS, TEMPLATE, rng, flip=flip))
        searches.append(cut(image, box, SEARCH_PIXELS, plan.search, rng, flip=flip, other=other))
    return Sample(track.source, track.kind, templates, searches)


def _of_cutout(
    cutout: Cutout,
    cutouts: Sequence[Cutout],
    tracks: Sequence[Track],
    images: Images,
    rng: np.random.Generator,
    plan: Plan,
) -> Sample:
    pose, others = first_pose(rng), list(cutouts)
    beside = companion(others, rng)
    grounds = [images.read(_any_frame(tracks, rng)) for _ in range(2)]
    templates, searches = [], []
    for number in range(plan.composed):
        ground = grounds[number % 2]
        alone = bool(rng.random() < 0.6)
        templates.append(compose(cutout, pose, TEMPLATE_PIXELS, TEMPLATE, ground, others, rng, beside, alone))
        changed = pose.changed(rng, 1.0)
        searches.append(compose(cutout, changed, SEARCH_PIXELS, SCENE, grounds[0], others, rng, beside))
    return Sample(f"composed:{cutout.source}", "composed", templates, searches)


def _of_region(tracks: Sequence[Track], images: Images, rng: np.random.Generator, plan: Plan) -> Sample:
    """A part of a picture, or of the object in it: a box means what it holds, not the object around it."""
    for _ in range(20):
        frame = _any_frame(tracks, rng)
        image = images.read(frame)
        box = _part(frame.box_in(image), rng) or random_region(image, rng)
        x, y, w, h = (round(value) for value in box)
        piece = image[max(y, 0) : y + h, max(x, 0) : x + w]
        if piece.size and min(piece.shape[:2]) >= 12 and piece.std(axis=(0, 1)).mean() >= FLAT:
            break
    flip = bool(rng.random() < 0.5)
    other = images.read(_any_frame(tracks, rng))
    rule = replace(plan.search, rotation=plan.search.rotation / 3)
    template = cut(image, box, TEMPLATE_PIXELS, TEMPLATE, rng, flip=flip)
    return Sample("region", "region", [template], [cut(image, box, SEARCH_PIXELS, rule, rng, flip=flip, other=other)])


def _part(box: Box | None, rng: np.random.Generator) -> Box | None:
    """Return a part of `box`, or None by chance, or where its parts are too small."""
    if box is None or rng.random() < 0.5:
        return None
    x, y, w, h = box
    pw, ph = w * rng.uniform(0.35, 0.8), h * rng.uniform(0.35, 0.8)
    if min(pw, ph) < 16:
        return None
    return float(x + rng.uniform(0, w - pw)), float(y + rng.uniform(0, h - ph)), float(pw), float(ph)


def _any_frame(tracks: Sequence[Track], rng: np.random.Generator, besides: Track | None = None) -> Any:
    track = tracks[int(rng.integers(len(tracks)))]
    while track is besides and len(tracks) > 1:
        track = tracks[int(rng.integers(len(tracks)))]
    return track.frames[int(rng.integers(len(track.frames)))]
