"""Scenes made of cut-out objects: a target that turns, bends and changes its shape, among others, before any ground.

The box is that of the mask, so it follows the shape as no jitter of a whole picture can make it. A companion may hang
on the target in template and search alike: what belongs to the target is then only what the first box held.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from ..engine.geometry import exemplar_side
from .augment import EXEMPLAR, Augment, degrade, turn
from .cutouts import Cutout
from .tracks import Image

BEND = 0.06
"""Largest displacement by bending, as a share of the object's longer side."""
COMPANION, SOMEONE, LOOK_ALIKE, OCCLUDER = 0.35, 0.6, 0.5, 0.2
"""Probabilities: a companion; another object near by, and that it is of the target's kind; something in front of it."""
HIDDEN = 0.5
"""Largest share of the target that may be hidden."""


@dataclass(frozen=True)
class Pose:
    """How an object is seen: `linear` [2, 2] of its pixels, `bend` [2, 4, 4] displacements as shares of its side."""

    linear: NDArray[np.float64]
    bend: NDArray[np.float64]

    def changed(self, rng: np.random.Generator, amount: float) -> "Pose":
        """Return a pose that is up to 30 degrees, 45 % of the aspect and a shear of 0.2 away, times `amount`."""
        angle, shear = np.deg2rad(30) * rng.uniform(-amount, amount), 0.2 * rng.uniform(-amount, amount)
        stretch = np.exp(np.log(1.45) / 2 * rng.uniform(-amount, amount))
        step = turn(angle) @ np.array([[1, shear], [0, 1]]) @ np.diag([stretch, 1 / stretch])
        return Pose(step @ self.linear, self.bend + BEND * rng.uniform(-amount, amount, (2, 4, 4)))


def first_pose(rng: np.random.Generator) -> Pose:
    """Return a pose to start from: mirrored or not, a little changed."""
    mirrored = Pose(np.diag([rng.choice([-1.0, 1.0]), 1.0]), np.zeros((2, 4, 4)))
    return mirrored.changed(rng, 0.6)


@dataclass(frozen=True)
class Companion:
    """Something that hangs on the target.

    `place`: of its centre, in shares of the target's sides; `size`: of its side, in the target's.
    """

    cutout: Cutout
    place: NDArray[np.float64]
    size: float


def companion(others: list[Cutout], rng: np.random.Generator) -> Companion | None:
    """Return a companion, by chance."""
    if rng.random() >= COMPANION:
        return None
    size = rng.uniform(0.8, 2.2)
    angle = rng.uniform(0, 2 * np.pi)
    place = np.array([np.cos(angle), np.sin(angle)]) * (0.4 + 0.42 * size)
    return Companion(others[int(rng.integers(len(others)))], place, size)


def compose(
    target: Cutout,
    pose: Pose,
    pixels: int,
    rule: Augment,
    ground: Image,
    others: list[Cutout],
    rng: np.random.Generator,
    beside: Companion | None = None,
    alone: bool = False,
) -> tuple[Image, NDArray[np.float32]]:
    """Return a crop uint8 [pixels, pixels, 3] and its target as `augment.cut` does. `alone`: nothing else by chance."""
    crop = _ground(ground, pixels, rng)
    sides = _sides(target, pose)
    scale = (
        EXEMPLAR
        / exemplar_side(float(sides[0]), float(sides[1]), 0.5)
        * np.exp(rng.uniform(-1, 1) * np.log1p(rule.scale))
    )
    shift = rng.uniform(-rule.shift, rule.shift, 2)
    middle = (pixels - 1) / 2
    at, sides = middle + shift, sides * scale
    side = float(np.sqrt(sides.prod()))
    if beside:
        own = _fitted(beside.cutout, Pose(pose.linear, pose.bend * 0), side * beside.size)
        _paint(crop, beside.cutout, own, at + beside.place * sides, rng)
    for _ in range(0 if alone or rng.random() >= SOMEONE else int(rng.integers(1, 4))):
        cutout = _someone(target, others, rng)
        where = rng.uniform(0, pixels, 2)
        if (np.abs(where - at) > sides * 0.5 + side * 0.45).any():
            _paint(crop, cutout, _fitted(cutout, first_pose(rng), side * rng.uniform(0.6, 1.4)), where, rng)
    seen = _paint(crop, target, replace(pose, linear=pose.linear * scale), at, rng)
    if not alone and rng.random() < OCCLUDER:
        _hide(crop, others[int(rng.integers(len(others)))], seen, at, sides, rng)
    x, y, w, h = cv2.boundingRect(np.asarray(seen > 0.5, np.uint8))
    box = np.array([x + (w - 1) / 2 - middle, y + (h - 1) / 2 - middle, w, h], np.float32)
    whole = x > 0 and y > 0 and x + w < pixels and y + h < pixels
    return degrade(crop, rule, rng), box if whole else np.array([*shift, *sides], np.float32)


def _ground(image: Image, pixels: int, rng: np.random.Generator) -> Image:
    """Return some square of `image`, mirrored or not."""
    side = int(min(image.shape[:2]) * rng.uniform(0.5, 1.0))
    y, x = (int(rng.integers(size - side + 1)) for size in image.shape[:2])
    piece = image[y : y + side, x : x + side]
    resized = np.asarray(cv2.resize(piece, (pixels, pixels)), np.uint8)
    return resized[:, ::-1].copy() if rng.random() < 0.5 else resized


def _someone(target: Cutout, others: list[Cutout], rng: np.random.Generator) -> Cutout:
    found = others[int(rng.integers(len(others)))]
    for _ in range(60 if rng.random() < LOOK_ALIKE else 1):
        found = others[int(rng.integers(len(others)))]
        if found.source == target.source and found is not target:
            break
    return found


def _sides(cutout: Cutout, pose: Pose) -> NDArray[np.float64]:
    """Return width and height of the mask's bounds in a pose, bending left out."""
    y, x = np.nonzero(cutout.mask > 127)
    points = pose.linear @ np.stack([x, y]).astype(float)
    return np.asarray(np.ptp(points, axis=1) + 1)


def _fitted(cutout: Cutout, pose: Pose, side: float) -> Pose:
    """Return the pose at the scale that gives the object this side."""
    return replace(pose, linear=pose.linear * (side / np.sqrt(_sides(cutout, pose).prod())))


def _paint(
    crop: Image, cutout: Cutout, pose: Pose, at: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Paint an object in place, the middle of its bounds at `at`; return how far it covers each pixel, 0 to 1."""
    h, w = cutout.mask.shape
    pixels = crop.shape[0]
    y, x = np.nonzero(cutout.mask > 127)
    points = pose.linear @ np.stack([x, y]).astype(float)
    middle = (points.max(1) + points.min(1)) / 2
    back = np.linalg.inv(pose.linear)
    grid = np.stack(np.meshgrid(np.arange(pixels), np.arange(pixels))).reshape(2, -1) - (at - middle)[:, None]
    source = (back @ grid).reshape(2, pixels, pixels).astype(np.float32)
    for axis in range(2):
        bend = cv2.resize(pose.bend[axis], (w, h), interpolation=cv2.INTER_CUBIC).astype(np.float32) * max(w, h)
        source[axis] += cv2.remap(bend, source[0], source[1], cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
    cover = cv2.remap(cutout.mask, source[0], source[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    image = cv2.remap(cutout.image, source[0], source[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    alpha = np.asarray(np.asarray(cover, np.float32) / np.float32(255), np.float32)
    lit = image.astype(np.float32) * rng.uniform(0.7, 1.3) + rng.uniform(-20, 20)
    crop[:] = (crop * (1 - alpha[:, :, None]) + np.clip(lit, 0, 255) * alpha[:, :, None]).astype(np.uint8)
    return alpha


def _hide(
    crop: Image,
    cutout: Cutout,
    seen: NDArray[np.float32],
    at: NDArray[np.float64],
    sides: NDArray[np.float64],
    rng: np.random.Generator,
) -> None:
    """Paint something over a part of the target, unless that would hide too much."""
    where = at + rng.uniform(-0.7, 0.7, 2) * sides
    before = crop.copy()
    cover = _paint(
        crop, cutout, _fitted(cutout, first_pose(rng), float(sides.mean()) * rng.uniform(0.4, 0.9)), where, rng
    )
    if (cover * seen).sum() > HIDDEN * seen.sum():
        crop[:] = before
