"""Which pairs, and how each crop of them is changed: many at once, as numbers; who has the pictures cuts them.

What is drawn is what `pairs.PairBatches` draws and `augment.cut` does, for rules without turns, stretches, occluders
and distractors, as those of lessons.py are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import SourceError, UsageError
from .augment import COARSE, GAIN, LENGTHS, LIFT, NOISE, TIMES, TINT, Augment, coarse, smear
from .pairs import Sampling, regions
from .pictures import Key, key
from .tracks import Track

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Views:
    """N pictures, by number, and the box x, y, w, h [N, 4] of the target in each."""

    pictures: Integers
    boxes: Floats


class Pairs:
    """Draws pairs of pictures of tracks. Raises SourceError where there are no tracks, or none that counts."""

    def __init__(self, tracks: Sequence[Track], numbers: Mapping[Key, int], sizes: Integers, sampling: Sampling):
        """Keep the frames whose picture is there. numbers: of pictures; sizes: their w, h, [P, 2]."""
        self._sizes, self._negative = sizes, sampling.negative
        pictures: list[int] = []
        boxes: list[tuple[float, ...]] = []
        near: list[Integers] = []
        starts, weights = [0], []
        for track in tracks:
            frames = sorted((frame for frame in track.frames if key(frame) in numbers), key=lambda one: one.number)
            if not frames:
                continue
            times = np.array([frame.number for frame in frames])
            gaps = np.array([sampling.gap if frame.box else sampling.region_gap for frame in frames])
            ends = np.searchsorted(times, times - gaps, "left"), np.searchsorted(times, times + gaps, "right")
            near.append(np.stack(ends, 1) + len(pictures))
            pictures += [numbers[key(frame)] for frame in frames]
            boxes += [frame.box or (np.nan,) * 4 for frame in frames]
            starts.append(len(pictures))
            weights.append((sampling.weights or {}).get(track.source, 1.0))
        if not pictures or sum(weights) <= 0:
            raise SourceError("no training data: no track has a picture, or every source has the weight 0")
        self._pictures, self._boxes, self._near = np.array(pictures), np.array(boxes), np.concatenate(near)
        self._starts, self._counts = np.array(starts[:-1]), np.diff(starts)
        self._running = np.cumsum(weights) / sum(weights)

    def draw(self, rng: np.random.Generator, count: int) -> tuple[Views, Views, NDArray[np.bool_]]:
        """Return `count` templates, as many searches, and whether both show the same target."""
        tracks, many = self._tracks(rng, count), len(self._starts)
        first = self._frames(rng, tracks)
        present = (rng.random(count) >= self._negative) | (many == 1)
        low, high = self._near[first].T
        second = low + (rng.random(count) * (high - low)).astype(np.int64)
        others = self._tracks(rng, count)
        others = np.where(others == tracks, (others + 1) % many, others)
        second = np.where(present, second, self._frames(rng, others))
        # A random region of a picture is the same region in both crops.
        chance = rng.random((count, 4))
        return self._views(first, chance), self._views(second, chance), present

    def _tracks(self, rng: np.random.Generator, count: int) -> Integers:
        return np.searchsorted(self._running, rng.random(count), side="right").clip(max=len(self._running) - 1)

    def _frames(self, rng: np.random.Generator, tracks: Integers) -> Integers:
        return self._starts[tracks] + (rng.random(len(tracks)) * self._counts[tracks]).astype(np.int64)

    def _views(self, frames: Integers, chance: Floats) -> Views:
        pictures, boxes = self._pictures[frames], self._boxes[frames]
        regional = regions(self._sizes[pictures].astype(np.float64), chance)
        return Views(pictures, np.where(np.isnan(boxes), regional, boxes))


@dataclass(frozen=True)
class Changes:
    """How N crops differ from those that the engine would cut.

    zoom: [N]; shift: [N, 2], crop pixels; gain: [N, 3] and lift: [N], of blue, green and red; grey: [N]; noise: [N],
    standard deviation; coarse: pixels that are left of a crop's side, by its number; smear: kernels, likewise.
    """

    zoom: Floats
    shift: Floats
    gain: Floats
    lift: Floats
    grey: NDArray[np.bool_]
    noise: Floats
    coarse: Mapping[int, int]
    smear: Mapping[int, NDArray[np.float32]]


def check_rule(rule: Augment) -> None:
    """Raise UsageError where `rule` asks for what `changes` does not draw."""
    if rule.aspect or rule.rotation or rule.occlusion or rule.distractor:
        raise UsageError("crops that are cut on a device are not turned, stretched or covered: leave that out")


def changes(rule: Augment, rng: np.random.Generator, count: int, pixels: int) -> Changes:
    """Draw the changes of `count` crops of `pixels` to each side."""
    zoom = np.exp(rng.uniform(-1, 1, count) * np.log1p(rule.scale))
    shift = rng.uniform(-rule.shift, rule.shift, (count, 2))
    near = rng.random(count) < rule.near
    shift[near] = rng.normal(0.0, rule.shift / 7, (int(near.sum()), 2))
    blurred = rng.random(count) < rule.blur
    low = rng.random(count) < COARSE
    times, lengths, angles = rng.uniform(*TIMES, count), rng.integers(*LENGTHS, count), rng.uniform(0, np.pi, count)
    coloured = rng.random(count) < rule.colour
    gain = rng.uniform(*GAIN, (count, 1)) * rng.uniform(*TINT, (count, 3))
    return Changes(
        zoom,
        shift,
        np.where(coloured[:, None], gain, 1.0),
        np.where(coloured, rng.uniform(*LIFT, count), 0.0),
        rng.random(count) < rule.grey,
        np.where(rng.random(count) < rule.noise, rng.uniform(*NOISE, count), 0.0),
        {int(one): coarse(pixels, times[one]) for one in np.flatnonzero(blurred & low)},
        {int(one): smear(int(lengths[one]), angles[one]) for one in np.flatnonzero(blurred & ~low)},
    )
