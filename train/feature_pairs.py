"""Pairs as features, kept on disk: heads then learn from many at a tenth of the cost of crops.

A folder of them holds the teacher's features of template and search crops, the student's own where its trunk is
trained already, and which pairs show the same target.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import SourceError
from ..models.row import Row
from .distil import Parts, crops, map_loss
from .numbered import Numbered
from .pairs import PairBatches
from .teacher import Featured, Teacher

STRANGERS = 0.1
"""Share of a batch whose template is that of another pair: nothing is to be found."""


class FeaturePairs(NamedTuple):
    """Features of a batch, [N, C, H, W] float: the teacher's and the student's own of templates and search crops."""

    teacher: tuple[Tensor, Tensor]
    own: tuple[Tensor, Tensor]
    present: Tensor


@torch.no_grad()
def write_feature_pairs(
    folder: Path,
    teacher: Teacher,
    student: Featured | None,
    batches: PairBatches,
    count: int,
    report: Callable[[int, int], None],
) -> None:
    """Write the features of `count` pairs to `folder`; whole or not at all. `student`: None: it has none of its own."""
    temporary = folder.with_name(folder.name + ".part")
    shutil.rmtree(temporary, ignore_errors=True)  # a killed run's may hold features of another kind
    temporary.mkdir(parents=True)
    nets: dict[str, Featured] = {"teacher": teacher.featured}
    if student is not None:
        nets["own"] = student
    arrays: dict[str, NDArray[Any]] = {}
    present = np.zeros(count, bool)
    for done in range(0, count, batches.batch):
        batch = batches.next()
        some = slice(done, min(done + batches.batch, count))
        present[some] = batch.present.numpy()[: some.stop - done]
        for branch, pixels in zip("zx", crops(batch, teacher.row, teacher.device), strict=True):
            for name, net in nets.items():
                with torch.autocast(pixels.device.type, torch.bfloat16):
                    values = net.features(pixels).float().cpu().numpy().astype(np.float16)
                path = f"{name}_{branch}.npy"
                if path not in arrays:
                    arrays[path] = np.lib.format.open_memmap(
                        temporary / path, "w+", np.float16, (count, *values.shape[1:])
                    )
                arrays[path][some] = values[: some.stop - done]
        report(some.stop, count)
    np.save(temporary / "present.npy", present)
    temporary.replace(folder)


class FeaturePairBatches(Numbered):
    """An endless row of batches, each decided by the seed and its number alone."""

    def __init__(self, folder: Path, batch: int, seed: int):
        try:
            self.teacher = [np.load(folder / f"teacher_{branch}.npy", mmap_mode="r") for branch in "zx"]
            own = [folder / f"own_{branch}.npy" for branch in "zx"]
            self.own = [np.load(path, mmap_mode="r") for path in own] if own[0].exists() else self.teacher
            self.present = np.load(folder / "present.npy")
        except (OSError, ValueError) as error:
            raise SourceError(
                f"{folder} holds no pairs of features: name a folder that is not there yet ({error})"
            ) from None
        if batch > len(self.present):
            raise SourceError(
                f"{folder} holds {len(self.present)} pairs, fewer than a batch of {batch}: take a smaller one"
            )
        self.batch, self.seed, self.count = batch, seed, 0

    def next(self) -> FeaturePairs:
        """Return the next batch: pairs by chance, none of them twice; half of the batches mirrored."""
        rng = np.random.default_rng([self.seed, self.count])
        rows = np.sort(rng.choice(len(self.present), self.batch, replace=False))
        self.count += 1
        strange = rng.random(self.batch) < STRANGERS
        # From half the batch away: neighbours on the disk are two pairs of the same two pictures.
        templates = np.where(strange, np.roll(rows, self.batch // 2), rows)
        present = self.present[rows] & (templates == rows)
        flip = bool(rng.random() < 0.5)

        def read(array: NDArray[np.float16], chosen: NDArray[np.int64]) -> Tensor:
            values = torch.from_numpy(array[chosen]).float()
            return (values.flip(3) if flip else values).contiguous(memory_format=torch.channels_last)

        both = [(read(z, templates), read(x, rows)) for z, x in (self.teacher, self.own)]
        return FeaturePairs(both[0], both[1], torch.from_numpy(present))


class HeadLoss:
    """A student's heads towards the teacher's maps, both on features."""

    def __init__(self, teacher: Teacher, student: Row):
        self.teacher, self.device, self.of = teacher.featured, teacher.device, map_loss(student)

    def __call__(self, net: Featured, batch: FeaturePairs) -> Parts:
        """Return the loss."""
        with torch.no_grad():
            z, x = (part.to(self.device) for part in batch.teacher)
            goal = self.teacher.maps(x, z)
        z, x = (part.to(self.device) for part in batch.own)
        return self.of(net.maps(x, z), goal, batch.present.to(self.device))
