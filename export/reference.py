"""Real pictures and boxes: what every export is checked on, and what quantities are counted on."""

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from ..engine.crop import Cropper, Image, fill_colour, mean_colour
from ..engine.geometry import Extent, Geometry, scaled
from ..engine.manifest import Search
from ..engine.result import Box
from ..engine.target import Motion
from ..errors import ExportError
from ..weights.clips import SAMPLES, sample

PICTURE = Path(__file__).parents[1] / "weights" / "astronaut.jpg"
BOX = (170.0, 65.0, 112.0, 140.0)
"""The face in the picture, x, y, w, h."""
LOST_BY = (6.0, -4.0)
"""The search crops are cut this many pixels off the target, so that there is something to find."""
SAMPLE_FRAMES = 4
"""Frames of each sample clip in which its target is searched: one where a search crop is LARGE."""
LARGE = 400
"""Pixels a side from which a search crop costs many times the usual."""


class Crops(NamedTuple):
    """Crops of the picture, uint8 [K, side, side, 3], each with the target's w, h [1, 2] in its pixels."""

    template: Tensor
    size: Tensor
    searches: list[tuple[Tensor, Tensor]]
    """One for each search graph."""
    targets: list[Tensor]
    """Where the target is in each: centre x, y from the crop's, w, h [1, 4], as a step gives boxes."""


class Pair(NamedTuple):
    """A target in one picture, and where it is in another."""

    template: Image
    box: Box
    search: Image
    found: Box


def reference_crops(geometry: Geometry, searches: tuple[Search, ...], scale_step: float) -> Crops:
    """Return the crops of the picture for one bundle, cut as the engine cuts them."""
    frame = cv2.imread(str(PICTURE))
    if frame is None:
        raise ExportError(f"the picture that exports are checked on is missing ({PICTURE}): reinstall trk-engine")
    picture: Image = np.asarray(frame, np.uint8)
    return cut_crops(Pair(picture, BOX, picture, BOX), geometry, searches, scale_step)


def sample_crops(geometry: Geometry, searches: tuple[Search, ...], scale_step: float) -> list[Crops]:
    """Return crops of the picture and of the sample clips: SAMPLE_FRAMES of each, spread over its boxes."""
    count = 1 if max(search.size for search in searches) >= LARGE else SAMPLE_FRAMES
    crops = [reference_crops(geometry, searches, scale_step)]
    for name in SAMPLES:
        clip = sample(name)
        later = sorted(number for number in clip.groundtruth if number > clip.init_frame)
        wanted = [later[round(at)] for at in np.linspace(0, len(later) - 1, count)]
        frames = frames_of(clip.video, [clip.init_frame, *wanted])
        first = frames[clip.init_frame]
        for number in wanted:
            pair = Pair(first, clip.init_box, frames[number], clip.groundtruth[number])
            crops.append(cut_crops(pair, geometry, searches, scale_step))
    return crops


def cut_crops(pair: Pair, geometry: Geometry, searches: tuple[Search, ...], scale_step: float) -> Crops:
    """Return the crops of `pair`, cut as the engine cuts them, the search crops LOST_BY off the target."""
    mean = mean_colour(pair.template)
    motion, cropper, fill = Motion(geometry, searches), Cropper(geometry.crop), fill_colour(mean, geometry.crop)
    target = motion.start(pair.box, mean, (pair.template.shape[1], pair.template.shape[0]))
    found = motion.start(pair.found, mean, (pair.search.shape[1], pair.search.shape[0]))

    def cut(
        picture: Image,
        centre: tuple[float, float],
        size: tuple[float, float],
        extent: Extent,
        steps: tuple[int, ...],
        pixels: int,
    ) -> tuple[Tensor, Tensor]:
        out = np.empty((len(steps), pixels, pixels, 3), np.uint8)
        extents = scaled(extent, [scale_step**step for step in steps])
        _, width, height = cropper.cut_pyramid(picture, centre, extents, fill, out)
        if geometry.crop.scale == "asked":
            width, height, _, _ = extent
        return torch.from_numpy(out), torch.tensor([[size[0] * (pixels / width), size[1] * (pixels / height)]])

    template, size = cut(
        pair.template,
        (target.cx, target.cy),
        (target.w, target.h),
        motion.template_extent(target),
        geometry.template_steps,
        geometry.template_size,
    )
    off = (found.cx + LOST_BY[0], found.cy + LOST_BY[1])
    cuts = [
        cut(
            pair.search,
            off,
            (found.w, found.h),
            motion.search_extent(found, number),
            geometry.search_steps,
            search.size,
        )
        for number, search in enumerate(searches)
    ]
    # What the step is to find: the way back from the crop's centre.
    sizes = torch.tensor([[found.w, found.h]])
    targets = [torch.cat([torch.tensor([LOST_BY]) * -(size / sizes), size], 1) for _, size in cuts]
    return Crops(template, size, cuts, targets)


def frames_of(video: Path, numbers: list[int]) -> dict[int, Image]:
    """Return those frames of a video by number."""
    frames: dict[int, Image] = {}
    capture = cv2.VideoCapture(str(video))
    try:
        for number in range(max(numbers) + 1):
            there, frame = capture.read()
            if not there:
                raise ExportError(f"the sample clip {video} ends before frame {number}: reinstall trk-engine")
            if number in numbers:
                frames[number] = np.asarray(frame, np.uint8)
    finally:
        capture.release()
    return frames
