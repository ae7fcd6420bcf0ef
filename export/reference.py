"""One real picture and one box: what every export is checked on, and what quantities are counted on."""

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from ..engine.crop import Cropper, Image, fill_colour, mean_colour
from ..engine.geometry import Geometry
from ..engine.manifest import Search
from ..engine.target import Motion
from ..errors import ExportError

PICTURE = Path(__file__).parents[1] / "weights" / "astronaut.jpg"
BOX = (170.0, 65.0, 112.0, 140.0)
"""The face in the picture, x, y, w, h."""
LOST_BY = (6.0, -4.0)
"""The search crops are cut this many pixels off the target, so that there is something to find."""


class Crops(NamedTuple):
    """Crops of the picture, uint8 [K, side, side, 3], each with the target's w, h [1, 2] in its pixels."""

    template: Tensor
    size: Tensor
    searches: list[tuple[Tensor, Tensor]]
    """One for each search graph."""


def reference_crops(geometry: Geometry, searches: tuple[Search, ...], scale_step: float) -> Crops:
    """Return the crops of the picture for one bundle, cut as the engine cuts them."""
    frame = cv2.imread(str(PICTURE))
    if frame is None:
        raise ExportError(f"the picture that exports are checked on is missing ({PICTURE}): reinstall trk-engine")
    picture: Image = np.asarray(frame, np.uint8)
    mean = mean_colour(picture)
    motion, cropper, fill = Motion(geometry, searches), Cropper(geometry.crop), fill_colour(mean, geometry.crop)
    target = motion.start(BOX, mean, (picture.shape[1], picture.shape[0]))

    def cut(centre: tuple[float, float], side: float, steps: tuple[int, ...], pixels: int) -> tuple[Tensor, Tensor]:
        out = np.empty((len(steps), pixels, pixels, 3), np.uint8)
        cropper.cut_pyramid(picture, centre, [side * scale_step**step for step in steps], fill, out)
        size = torch.tensor([[target.w, target.h]]) * (pixels / side)
        return torch.from_numpy(out), size.to(torch.float32)

    side = motion.context_side(target.w, target.h) * (geometry.template_size / geometry.exemplar_size)
    template, size = cut((target.cx, target.cy), side, geometry.template_steps, geometry.template_size)
    off = (target.cx + LOST_BY[0], target.cy + LOST_BY[1])
    found = [
        cut(off, motion.search_side(target, number), geometry.search_steps, search.size)
        for number, search in enumerate(searches)
    ]
    return Crops(template, size, found)
