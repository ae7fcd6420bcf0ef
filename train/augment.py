"""One augmented crop of a target: geometry by one affine map, then colour, blur, grey, occlusion, distractors.

The amounts are those of PySOT (shift, scale) where not said otherwise; what has no figure upstream was set here.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from ..engine.geometry import exemplar_side
from .tracks import Box, Image

EXEMPLAR = 127
GAIN, TINT, LIFT = (0.75, 1.25), (0.92, 1.08), (-20.0, 20.0)
"""Of a crop that is recoloured: factor, a factor of each colour, and what is added."""
NOISE = (2.0, 10.0)
"""Standard deviation, grey levels."""
COARSE, TIMES = 0.4, (1.3, 3.0)
"""Share of blurred crops that lose resolution, and how many times; the others are smeared along a line."""
LENGTHS = (3, 14)
"""Pixels of that line: first, and one past the last."""
GREY = (0.114, 0.587, 0.299)
"""Weights of blue, green and red. Source: OpenCV, ITU-R BT.601."""


@dataclass(frozen=True)
class Augment:
    """How far a crop may be from the one that the engine would cut.

    `shift`: crop pixels, to each side. `near`: share of crops that are shifted by a normal distribution instead, whose
    standard deviation is a seventh of `shift`: where a tracker that keeps up finds its target. `scale`, `aspect`:
    largest share by which a crop is larger or narrower.
    `rotation`: degrees to each side, of half of the crops. The others are probabilities.
    """

    shift: float = 0.0
    near: float = 0.0
    scale: float = 0.05
    aspect: float = 0.0
    rotation: float = 0.0
    colour: float = 0.8
    grey: float = 0.1
    blur: float = 0.15
    occlusion: float = 0.0
    distractor: float = 0.0
    noise: float = 0.1


TEMPLATE = Augment(shift=4, scale=0.05)
SEARCH = Augment(shift=64, scale=0.18, blur=0.2, occlusion=0.12, distractor=0.2)
"""Source: STVIR/pysot (shift 4 and 64, scale 0.05 and 0.18, blur 0.2); spatial-aware sampling of SiamRPN++ sec. 3.2."""
WIDE = Augment(shift=64, scale=0.4, aspect=0.3, blur=0.2, occlusion=0.12, distractor=0.2)
"""For boxes that are told the first frame's size: under a scale of 0.18 they learn to repeat it (docs/training.md)."""
TURNED = replace(WIDE, rotation=25)


def usual_scale(box: Box) -> tuple[float, float]:
    """Return the scale of a crop in which the target of `box` with half its sides around it fills EXEMPLAR pixels."""
    scale = EXEMPLAR / exemplar_side(box[2], box[3], 0.5)
    return scale, scale


def cut(
    image: Image,
    box: Box,
    pixels: int,
    rule: Augment,
    rng: np.random.Generator,
    *,
    flip: bool = False,
    other: Image | None = None,
    scale: tuple[float, float] | None = None,
    fill: tuple[float, ...] | None = None,
) -> tuple[Image, NDArray[np.float32]]:
    """Return a crop uint8 [pixels, pixels, 3] and its target: cx, cy from the crop's middle, w, h, in crop pixels.

    `scale`: crop pixels per pixel of the image, across and down, before augmentation; None: `usual_scale`. `other` is a
    picture of something else, from which distractors and occluders are cut. `fill`: the colour outside the picture;
    None: its mean.
    """
    x, y, w, h = box
    across, down = scale or usual_scale(box)
    zoom = np.exp(rng.uniform(-1, 1) * np.log1p(rule.scale))
    stretch = np.exp(rng.uniform(-1, 1) * np.log1p(rule.aspect))
    sx, sy = across * zoom * np.sqrt(stretch), down * zoom / np.sqrt(stretch)
    dx, dy = rng.uniform(-rule.shift, rule.shift, 2)
    if rule.near and rng.random() < rule.near:
        dx, dy = rng.normal(0.0, rule.shift / 7, 2)
    middle = (pixels - 1) / 2
    linear = np.diag([-sx if flip else sx, sy])
    if rule.rotation and rng.random() < 0.5:
        linear = turn(np.deg2rad(rng.uniform(-rule.rotation, rule.rotation))) @ linear
    # Pixel centres: a point p of the image lies at linear (p - target centre) + middle + shift.
    centre = np.array([x + w / 2 - 0.5, y + h / 2 - 0.5])
    matrix = np.column_stack([linear, middle + np.array([dx, dy]) - linear @ centre])
    if fill is None:
        fill = tuple(float(value) for value in cv2.mean(image)[:3])
    warped = cv2.warpAffine(image, matrix, (pixels, pixels), None, cv2.INTER_LINEAR, cv2.BORDER_CONSTANT, fill)
    crop = np.asarray(warped, np.uint8)
    # A turned box would be too large for what it holds: the bounds are those of the ellipse in it.
    sides = np.sqrt((linear**2) @ np.array([w, h]) ** 2)
    target = np.array([dx, dy, *sides], np.float32)
    if other is not None and rng.random() < rule.distractor:
        _distract(crop, target, other, rng)
    if other is not None and rng.random() < rule.occlusion:
        _occlude(crop, target, other, rng)
    return degrade(crop, rule, rng), target


def turn(angle: float) -> NDArray[np.float64]:
    """Return the matrix [2, 2] of a rotation by `angle`, radians."""
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def degrade(crop: Image, rule: Augment, rng: np.random.Generator) -> Image:
    """Return the crop blurred, recoloured, grey or noisy, each by chance."""
    if rng.random() < rule.blur:
        crop = _blurred(crop, rng)
    if rng.random() < rule.colour:
        gain = rng.uniform(*GAIN) * rng.uniform(*TINT, 3)
        lift = rng.uniform(*LIFT)
        crop = np.clip(crop.astype(np.float32) * gain + lift, 0, 255).astype(np.uint8)
    if rng.random() < rule.grey:
        grey = cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY)
        crop = np.repeat(np.asarray(grey, np.uint8)[:, :, None], 3, 2)
    if rng.random() < rule.noise:
        noise = rng.standard_normal(crop.shape[:2], np.float32)[:, :, None] * rng.uniform(*NOISE)
        crop = np.clip(crop + noise, 0, 255).astype(np.uint8)
    return np.asarray(crop, np.uint8)


def _blurred(crop: Image, rng: np.random.Generator) -> Image:
    if rng.random() < COARSE:
        small = coarse(crop.shape[0], rng.uniform(*TIMES))
        low = cv2.resize(crop, (small, small), interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.resize(low, crop.shape[1::-1]), np.uint8)
    length = int(rng.integers(*LENGTHS))
    return np.asarray(cv2.filter2D(crop, -1, smear(length, rng.uniform(0, np.pi))), np.uint8)


def coarse(pixels: int, times: float) -> int:
    """Return the pixels that are left of a crop's side of `pixels`."""
    return max(8, int(pixels / times))


def smear(length: int, angle: float) -> NDArray[np.float32]:
    """Return the kernel [length, length] of what moves along a line while it is taken; `angle` in radians."""
    line = np.zeros((length, length), np.float32)
    end = (length - 1) / 2 * np.array([np.cos(angle), np.sin(angle)])
    middle = (length - 1) / 2
    a, b = np.rint(middle - end).astype(int), np.rint(middle + end).astype(int)
    cv2.line(line, (int(a[0]), int(a[1])), (int(b[0]), int(b[1])), 1.0)
    return np.asarray(line / line.sum(), np.float32)


def _distract(crop: Image, target: NDArray[np.float32], other: Image, rng: np.random.Generator) -> None:
    """Paste the middle of `other`, another object, beside the target."""
    side = float(np.sqrt(target[2] * target[3]))
    patch = _patch(other, side * rng.uniform(0.7, 1.4), rng)
    middle = (crop.shape[0] - 1) / 2
    for _ in range(8):
        at = rng.uniform(0, crop.shape[0], 2)
        away = np.abs(at - middle - target[:2])
        if away[0] > (target[2] + patch.shape[1]) / 2 or away[1] > (target[3] + patch.shape[0]) / 2:
            _paste(crop, patch, at)
            return


def _occlude(crop: Image, target: NDArray[np.float32], other: Image, rng: np.random.Generator) -> None:
    """Cover a part of the target, less than half of it, from one side."""
    middle = (crop.shape[0] - 1) / 2
    w, h = float(target[2]), float(target[3])
    patch = _patch(other, max(w, h) * rng.uniform(0.5, 1.0), rng)
    share = rng.uniform(0.1, 0.45)
    at = middle + target[:2].astype(np.float64)
    axis = int(rng.integers(2))
    extent, length = (w, patch.shape[1]) if axis == 0 else (h, patch.shape[0])
    at[axis] += rng.choice([-1.0, 1.0]) * (extent / 2 + length / 2 - share * extent)
    at[1 - axis] += rng.uniform(-0.3, 0.3) * (h if axis == 0 else w)
    _paste(crop, patch, at)


def _patch(other: Image, side: float, rng: np.random.Generator) -> Image:
    height, width = other.shape[:2]
    share = rng.uniform(0.2, 0.35)
    w, h = max(2, int(width * share)), max(2, int(height * share))
    x, y = (width - w) // 2, (height - h) // 2
    size = (max(3, int(side * rng.uniform(0.7, 1.3))), max(3, int(side)))
    return np.asarray(cv2.resize(other[y : y + h, x : x + w], size), np.uint8)


def _paste(crop: Image, patch: Image, at: NDArray[np.float64]) -> None:
    x0, y0 = int(at[0] - patch.shape[1] / 2), int(at[1] - patch.shape[0] / 2)
    left, top = max(0, x0), max(0, y0)
    right, bottom = min(crop.shape[1], x0 + patch.shape[1]), min(crop.shape[0], y0 + patch.shape[0])
    if left < right and top < bottom:
        crop[top:bottom, left:right] = patch[top - y0 : bottom - y0, left - x0 : right - x0]
