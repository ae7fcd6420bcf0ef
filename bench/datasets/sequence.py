"""A sequence to evaluate on: its images, and where the target is in each of them."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import SourceError
from ...video.images import find_images

Boxes = NDArray[np.float64]
"""[N, 4] x, y, w, h: top-left corner and size in pixels, 0-indexed; nan where the target is absent."""


@dataclass(frozen=True, eq=False)
class Sequence:
    """One target in one list of images."""

    name: str
    images: tuple[Path, ...]
    groundtruth: Boxes
    """[frames, 4] as annotated, 0-indexed: nan where nothing was annotated, no area where the file says so."""
    attributes: tuple[str, ...] = ()
    hidden: NDArray[np.bool_] | None = None
    """[frames] True where the data set flags the target as absent, whatever box it gives."""
    withheld: bool = False
    """Only the first box was published: the benchmark's server has the others."""

    def __post_init__(self) -> None:
        if len(self.images) != len(self.groundtruth):
            raise SourceError(
                f"{self.name}: {len(self.images)} images and {len(self.groundtruth)} lines of ground truth: "
                "one line is needed for each image"
            )
        if not has_area(self.groundtruth)[0]:
            raise SourceError(f"{self.name}: the first box of the ground truth has no area: there is nothing to track")

    @property
    def visible(self) -> NDArray[np.bool_]:
        """[frames] True where there is a box to compare with."""
        visible = has_area(self.groundtruth)
        return visible if self.hidden is None else visible & ~self.hidden

    def fingerprint(self) -> str:
        """Return a hash of what a tracker is shown: names, sizes and times of the images, and the first box."""
        digest = hashlib.sha256(repr(self.groundtruth[0].tolist()).encode())
        for image in self.images:
            try:
                about = image.stat()
            except OSError:
                raise SourceError(f"{self.name}: image {image} is missing") from None
            digest.update(f"{image.name} {about.st_size} {about.st_mtime_ns}\n".encode())
        return digest.hexdigest()


class Unread(NamedTuple):
    """A sequence that was found: `read` opens it, and raises SourceError where it is spoiled."""

    name: str
    read: Callable[[], Sequence]


def has_area(boxes: Boxes) -> NDArray[np.bool_]:
    """Return which of the boxes [N, 4] are boxes: finite, wider and higher than nothing. [N]."""
    usable = np.isfinite(boxes)
    usable[:, 2:] &= np.nan_to_num(boxes[:, 2:]) > 0
    found: NDArray[np.bool_] = np.logical_and.reduce(usable, axis=1)
    return found


def images_in(folder: Path) -> tuple[Path, ...]:
    """Return the images of a folder in natural order. Raises SourceError where there are none."""
    return tuple(find_images(str(folder))) if folder.is_dir() else _no_folder(folder)


def _no_folder(folder: Path) -> tuple[Path, ...]:
    raise SourceError(f"no folder {folder}: the images of this sequence belong there")


def withhold(boxes: Boxes, frames: int) -> Boxes:
    """Return the boxes [frames, 4] of a sequence of which only the first box [1, 4] was published."""
    return np.concatenate([boxes, np.full((frames - 1, 4), np.nan)])
