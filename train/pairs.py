"""Batches of image pairs for any network of the registry: a template crop and a search crop, cut and augmented."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..engine.geometry import Geometry
from ..errors import SourceError
from .augment import SEARCH, TEMPLATE, Augment, cut
from .numbered import Numbered
from .scale import Scales
from .tracks import Box, Frame, Image, Images, Track


class PairBatch(NamedTuple):
    """Crops of pairs and where the targets are in them, in crop pixels.

    `z` [N, T, T, 3] and `x` [N, S, S, 3] uint8 BGR; `size` [N, 2]: w, h of the template's target; `target` [N, 4]: cx,
    cy from the middle and w, h of the search's; `present` [N]: whether it is the same target; `seed`: for the labels.
    """

    z: Tensor
    x: Tensor
    size: Tensor
    target: Tensor
    present: Tensor
    seed: int


@dataclass(frozen=True)
class Sampling:
    """Which pairs. `gap`: largest distance of two frames of a video. `negative`: share of pairs of different targets.

    `region_gap`: the same of pictures without boxes, whose target is a region that stays where it is.
    `weights`: of a track, by its source, 1 where not named. `both_ways`: every two pictures give two pairs, each the
    template of one and the search crop of the other, for half of the decoding.
    Source: STVIR/pysot (gap 100, 0.2 negative pairs).
    """

    gap: int = 100
    region_gap: int = 100
    negative: float = 0.2
    weights: Mapping[str, float] | None = None
    both_ways: bool = False
    flip: float = 0.0
    template: Augment = TEMPLATE
    search: Augment = SEARCH


Pair = tuple[Image, Image, NDArray[np.float32], NDArray[np.float32], bool]


class PairBatches(Numbered):
    """An endless row of batches; batch k depends on the seed and k alone, so a run can go on from any k.

    The next batch is prepared in a thread while the last one is learned from.
    """

    def __init__(
        self,
        tracks: Sequence[Track],
        geometry: Geometry,
        search_size: int,
        batch: int,
        seed: int = 0,
        sampling: Sampling | None = None,
    ):
        self.tracks = [track for track in tracks if track.frames]
        if not self.tracks:
            raise SourceError("no training data: none of the folders given has a track with a usable box")
        self.scales = Scales(geometry, search_size)
        self.batch, self.seed = batch, seed
        self.sampling = sampling or Sampling()
        weights = self.sampling.weights or {}
        weight = np.array([weights.get(track.source, 1.0) for track in self.tracks])
        if weight.sum() <= 0:
            raise SourceError("no training data: every source has the weight 0")
        self._running = np.cumsum(weight / weight.sum())
        self._images = Images()
        self._pool = ThreadPoolExecutor(1)
        self._ahead: tuple[int, Future[PairBatch]] | None = None
        self.count = 0

    def next(self) -> PairBatch:
        """Return the next batch. Raises SourceError where an image can't be read."""
        if self._ahead is None or self._ahead[0] != self.count:
            self._ahead = (self.count, self._pool.submit(self.make, self.count))
        batch = self._ahead[1].result()
        self.count += 1
        self._ahead = (self.count, self._pool.submit(self.make, self.count))
        return batch

    def make(self, number: int) -> PairBatch:
        """Return batch `number`."""
        rng = np.random.default_rng([self.seed, number])
        pairs: list[Pair] = []
        while len(pairs) < self.batch:
            pairs += self._pairs(rng)
        z, x, size, target, present = zip(*pairs[: self.batch], strict=True)
        return PairBatch(
            torch.from_numpy(np.stack(z)),
            torch.from_numpy(np.stack(x)),
            torch.from_numpy(np.stack(size)),
            torch.from_numpy(np.stack(target)),
            torch.tensor(present),
            int(rng.integers(1 << 31)),
        )

    def _pairs(self, rng: np.random.Generator) -> list[Pair]:
        track = self._track(rng)
        first = track.frames[int(rng.integers(len(track.frames)))]
        present = bool(rng.random() >= self.sampling.negative) or len(self.tracks) == 1
        second = self._second(track, first, rng) if present else self._other(track, rng)
        # A random region of a picture is the same region in both crops.
        state = int(rng.integers(1 << 31))
        z_image, z_box = self._image(first, np.random.default_rng(state))
        x_image, x_box = self._image(second, np.random.default_rng(state))
        rule = self.sampling.search
        other = self._image(self._other(track, rng), rng)[0] if rule.occlusion or rule.distractor else None
        one, two = (z_image, z_box), (x_image, x_box)
        both = [(one, two), (two, one)] if self.sampling.both_ways else [(one, two)]
        return [(*self._cut(z, x, other, rng), present) for z, x in both]

    def _cut(
        self, z: tuple[Image, Box], x: tuple[Image, Box], other: Image | None, rng: np.random.Generator
    ) -> tuple[Image, Image, NDArray[np.float32], NDArray[np.float32]]:
        scales, sampling = self.scales, self.sampling
        fill, flip = scales.fill, bool(rng.random() < sampling.flip)
        scale = scales.template(*z)
        template, size = cut(*z, scales.template_size, sampling.template, rng, flip=flip, scale=scale, fill=fill)
        scale = scales.search(*x)
        search, target = cut(
            *x, scales.search_size, sampling.search, rng, flip=flip, other=other, scale=scale, fill=fill
        )
        return template, search, size[2:], target

    def _track(self, rng: np.random.Generator) -> Track:
        at = int(np.searchsorted(self._running, rng.random(), side="right"))
        return self.tracks[min(at, len(self.tracks) - 1)]

    def _second(self, track: Track, first: Frame, rng: np.random.Generator) -> Frame:
        gap = self.sampling.gap if first.box else self.sampling.region_gap
        near = [frame for frame in track.frames if abs(frame.number - first.number) <= gap]
        return near[int(rng.integers(len(near)))]

    def _other(self, track: Track, rng: np.random.Generator) -> Frame:
        found = self._track(rng)
        if found is track:
            found = self.tracks[(self.tracks.index(track) + 1) % len(self.tracks)]
        return found.frames[int(rng.integers(len(found.frames)))]

    def _image(self, frame: Frame, rng: np.random.Generator) -> tuple[Image, Box]:
        image = self._images.read(frame)
        return image, frame.box_in(image) or random_region(image, rng)


def pixels(crops: Tensor, channels: str, device: torch.device) -> Tensor:
    """Return uint8 BGR crops [N, H, W, 3] as a network wants them: float [N, 3, H, W] in its colours, on `device`."""
    values = crops.to(device).float()
    return (values.flip(3) if channels == "RGB" else values).permute(0, 3, 1, 2)


def random_region(image: Image, rng: np.random.Generator) -> Box:
    """Return a box that may stand for an object: a tenth to a half of the picture's shorter side, 1 to 3 at most."""
    height, width = image.shape[:2]
    x, y, w, h = regions(np.array([width, height], np.float64), rng.random(4))
    return float(x), float(y), float(w), float(h)


def regions(sizes: NDArray[np.float64], chance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return `random_region` x, y, w, h [..., 4] of pictures of w, h `sizes` [..., 2], by `chance` [..., 4] of 0..1."""
    side = sizes.min(-1) * (0.1 + 0.4 * chance[..., 0])
    ratio = np.exp((2 * chance[..., 1] - 1) * np.log(3) / 2)
    box = np.minimum(np.stack([side * ratio, side / ratio], -1), sizes * 0.9)
    return np.concatenate([chance[..., 2:] * (sizes - box), box], -1)


def sampling_for(search_shift: float, **changes: Any) -> Sampling:
    """Return a sampling whose search crops are shifted by up to `search_shift` crop pixels."""
    return Sampling(search=replace(SEARCH, shift=search_shift), **changes)
