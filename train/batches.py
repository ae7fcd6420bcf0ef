"""Batches of cached trunk features for `models.light`: which pairs, how often, how many of them negative."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .features import SHAPES, Rounds
from .numbered import Numbered


@dataclass(frozen=True)
class Mixture:
    """`shares`: of pairs by kind; kinds that a round lacks leave theirs to the others. `negative`: share whose target
    is not in the search crop, half of those from the same source (look-alikes). `weights`: of single sources, 1 where
    not named.
    """

    shares: dict[str, float] = field(
        default_factory=lambda: {"video": 0.4, "still": 0.22, "composed": 0.26, "region": 0.12}
    )
    negative: float = 0.15
    weights: dict[str, float] = field(default_factory=lambda: {"drone-detection": 0.35})


class FeatureBatch(NamedTuple):
    """Features of both branches in the order of SHAPES, size [N, 2], target [N, 4], present [N]."""

    template: tuple[Tensor, ...]
    search: tuple[Tensor, ...]
    size: Tensor
    target: Tensor
    present: Tensor


class _Round:
    def __init__(self, arrays: dict[str, NDArray[Any]], sources: list[tuple[str, str]], mixture: Mixture):
        self.arrays = arrays
        self.sources = sources
        self.templates = _by_track(arrays["template_track"], len(sources))
        self.searches = _by_track(arrays["search_track"], len(sources))
        filled = np.array([len(t) > 0 for t in self.templates])
        weight = np.array([mixture.weights.get(source, 1.0) for source, _ in sources]) * filled
        kinds = np.array([kind for _, kind in sources])
        shares = np.array([mixture.shares.get(kind, 0.0) for _, kind in sources])
        for kind in set(kinds):
            of_kind = kinds == kind
            shares[of_kind] /= max(weight[of_kind].sum(), 1e-9)
        # The running sum of the weights, 1 at its end.
        running = np.cumsum(weight * shares)
        self.running = running / running[-1]


class FeatureBatches(Numbered):
    """An endless row of batches, each decided by the seed and its number alone: going on needs only the number."""

    def __init__(self, rounds: Rounds, size: int, seed: int, mixture: Mixture | None = None):
        self.rounds = rounds
        self.size = size
        self.mixture = mixture or Mixture()
        self.seed, self.count = seed, 0
        self.rng = np.random.default_rng(seed)
        self._rounds: list[_Round] = []

    def next(self) -> FeatureBatch:
        """Return the next batch."""
        self.rng = np.random.default_rng([self.seed, self.count])
        self.count += 1
        pairs = [self._pair() for _ in range(self.size)]
        features = {name: self._gather(name, pairs) for name in SHAPES}
        size = np.stack([r.arrays["template_size"][i] for r, i, _, _, _ in pairs])
        target = np.stack([s.arrays["search_target"][j] for _, _, s, j, _ in pairs])
        return FeatureBatch(
            tuple(features[name] for name in SHAPES if name.startswith("template")),
            tuple(features[name] for name in SHAPES if name.startswith("search")),
            torch.from_numpy(size),
            torch.from_numpy(target),
            torch.tensor([present for *_, present in pairs]),
        )

    def _open(self) -> list[_Round]:
        for arrays, sources in list(zip(self.rounds.rounds, self.rounds.sources, strict=True))[len(self._rounds) :]:
            self._rounds.append(_Round(arrays, sources, self.mixture))
        return self._rounds

    def _pair(self) -> tuple[_Round, int, _Round, int, bool]:
        rng, rounds = self.rng, self._open()
        one = rounds[int(rng.integers(len(rounds)))]
        track = self._track(one)
        template = int(rng.choice(one.templates[track]))
        if rng.random() >= self.mixture.negative:
            return one, template, one, int(rng.choice(one.searches[track])), True
        other, wanted = track, one.sources[track][0] if rng.random() < 0.5 else None
        for _ in range(50):
            other = self._track(one)
            if other != track and wanted in (None, one.sources[other][0]):
                break
        # No other track of that source was met: the pair stays one of the same target.
        return one, template, one, int(rng.choice(one.searches[other])), other == track

    def _track(self, one: _Round) -> int:
        at = int(np.searchsorted(one.running, self.rng.random(), side="right"))
        return min(at, len(one.running) - 1)

    @staticmethod
    def _gather(name: str, pairs: list[tuple[_Round, int, _Round, int, bool]]) -> Tensor:
        template = name.startswith("template")
        values = [r.arrays[name][i] if template else s.arrays[name][j] for r, i, s, j, _ in pairs]
        return torch.from_numpy(np.stack(values)).float()


def _by_track(track: NDArray[np.int32], count: int) -> list[NDArray[np.int64]]:
    found: list[list[int]] = [[] for _ in range(count)]
    for row, number in enumerate(track):
        found[number].append(row)
    return [np.array(rows, np.int64) for rows in found]
