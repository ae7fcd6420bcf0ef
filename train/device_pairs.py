"""Batches of pairs that are cut on a device, out of pictures that lie there: thousands a second on a GPU."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ..engine.geometry import Geometry
from ..errors import UsageError
from .augment import GREY, LENGTHS
from .draws import Changes, Pairs, Views, changes, check_rule
from .numbered import Numbered
from .pairs import PairBatch, Sampling
from .pictures import Key, Pictures
from .scale import Scales, square_scales
from .tracks import Track

LONGEST = LENGTHS[1] - 1
"""Pixels of the longest line that a crop is smeared along."""


class DevicePairBatches(Numbered):
    """An endless row of batches on the device of `pictures`; batch k depends on the seed and k alone.

    Pairs and changes are those of `PairBatches`; each is of two pictures of its own. Raises UsageError where crops of
    this geometry or this sampling can't be cut this way, SourceError where no track has a picture.
    """

    def __init__(
        self,
        tracks: Sequence[Track],
        pictures: Pictures,
        numbers: Mapping[Key, int],
        geometry: Geometry,
        search_size: int,
        batch: int,
        sampling: Sampling,
        seed: int = 0,
    ):
        """Draw from `tracks`, whose pictures have the `numbers` that `read_pictures` gave."""
        if Scales(geometry, search_size).fill is None:
            raise UsageError("crops of this model are not black outside of pictures: it can't be trained this way")
        for rule in (sampling.template, sampling.search):
            check_rule(rule)
        self.pairs = Pairs(tracks, numbers, pictures.sizes, sampling)
        self.pictures, self.geometry, self.search_size = pictures, geometry, search_size
        self.batch, self.sampling, self.seed = batch, sampling, seed
        self.count = 0

    def next(self) -> PairBatch:
        """Return the next batch."""
        batch = self.make(self.count)
        self.count += 1
        return batch

    @torch.no_grad()
    def make(self, number: int) -> PairBatch:
        """Return batch `number`."""
        rng = np.random.default_rng([self.seed, number])
        sampling, size = self.sampling, self.geometry.template_size
        first, second, present = self.pairs.draw(rng, self.batch)
        flip = rng.random(self.batch) < sampling.flip
        template = changes(sampling.template, rng, self.batch, size)
        search = changes(sampling.search, rng, self.batch, self.search_size)
        seed = int(rng.integers(1 << 31))
        generator = torch.Generator(self.pictures.pixels.device).manual_seed(seed)
        # Under autocast a smeared crop would have 8 bits of mantissa.
        with torch.autocast(self.pictures.pixels.device.type, enabled=False):
            z, inside = self._cut(first, template, flip, size, generator)
            x, target = self._cut(second, search, flip, self.search_size, generator)
        return PairBatch(z, x, inside[:, 2:], target, self._tensor(present), seed)

    def _cut(
        self, views: Views, changed: Changes, flip: NDArray[np.bool_], side: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return crops uint8 [N, side, side, 3] and targets [N, 4], as `augment.cut` does."""
        sides = views.boxes[:, 2:]
        scale = (square_scales(self.geometry, sides) * changed.zoom)[:, None]
        step = np.where(np.stack([flip, np.zeros_like(flip)], 1), -1, 1) / scale
        centre = views.boxes[:, :2] + sides / 2 - 0.5
        origin = centre - step * ((side - 1) / 2 + changed.shift)
        chosen, start, along = (self._tensor(part) for part in (views.pictures, origin, step))
        crops = self.pictures.crops(chosen, start, along, side)
        target = self._tensor(np.concatenate([changed.shift, sides * scale], 1))
        return _changed(crops, changed, generator), target

    def _tensor(self, values: NDArray[Any]) -> Tensor:
        """Return an array on the device, floats in single precision."""
        plain = values.astype(np.float32) if values.dtype.kind == "f" else values
        return torch.from_numpy(plain).to(self.pictures.pixels.device)


def _changed(crops: Tensor, changed: Changes, generator: torch.Generator) -> Tensor:
    """Return crops [N, S, S, 3] blurred, recoloured, grey or noisy, uint8, as `augment.degrade` does."""
    device = crops.device
    crops = _blurred(crops, changed)
    gain, lift, grey, noise = (
        torch.from_numpy(part.astype(np.float32)).to(device).reshape(len(crops), 1, 1, -1)
        for part in (changed.gain, changed.lift, changed.grey, changed.noise)
    )
    crops = crops.mul_(gain).add_(lift).clamp_(0, 255)
    weights = torch.tensor(GREY, device=device)
    crops = crops.lerp_((crops @ weights)[..., None].expand_as(crops), grey.expand_as(crops))
    loud = np.flatnonzero(changed.noise)
    if len(loud):
        chosen = torch.from_numpy(loud).to(device)
        shape = (len(loud), *crops.shape[1:3], 1)
        crops[chosen] += torch.randn(shape, generator=generator, device=device) * noise[chosen]
    return crops.add_(0.5).clamp_(0, 255).to(torch.uint8)


def _blurred(crops: Tensor, changed: Changes) -> Tensor:
    for number, small in changed.coarse.items():
        one = crops[number].permute(2, 0, 1)[None]
        low = F.interpolate(one, size=(small, small), mode="area")
        crops[number] = F.interpolate(low, size=one.shape[2:], mode="bilinear")[0].permute(1, 2, 0)
    if changed.smear:
        kernels = np.zeros((len(changed.smear), LONGEST, LONGEST), np.float32)
        for place, kernel in zip(kernels, changed.smear.values(), strict=True):
            length = len(kernel)
            begin = LONGEST // 2 - length // 2
            place[begin : begin + length, begin : begin + length] = kernel
        chosen = torch.tensor(list(changed.smear), device=crops.device)
        crops[chosen] = _smeared(crops[chosen], torch.from_numpy(kernels).to(crops.device))
    return crops


def _smeared(crops: Tensor, kernels: Tensor) -> Tensor:
    """Return crops [M, S, S, 3], each under its own of the kernels [M, K, K]."""
    count, side, _, colours = crops.shape
    half = kernels.shape[-1] // 2
    planes = F.pad(crops.permute(0, 3, 1, 2), (half,) * 4, mode="reflect").reshape(
        1, count * colours, -1, side + 2 * half
    )
    weight = kernels[:, None].repeat_interleave(colours, 0)
    # How many are smeared changes from batch to batch: cuDNN would look for its quickest way anew each time.
    with torch.backends.cudnn.flags(enabled=False):
        out = F.conv2d(planes, weight, groups=count * colours)
    return out.reshape(count, colours, side, side).permute(0, 2, 3, 1)
