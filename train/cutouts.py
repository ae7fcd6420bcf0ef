"""Objects cut out of stills: the box says where, GrabCut says which pixels. What it can't tell apart is left out."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from .tracks import Box, Image, Images, Track

SIDE = 160
"""Longer side that an object is cut out at, at most."""
MARGIN = 0.25
"""What is seen of the surroundings at each side, as a share of the box."""
COVERED = (0.2, 0.95)
"""Share of its box that an object may cover; more: the background was not found."""
REACHED = 0.72
"""Share of the box's width and height that the object has to reach."""
STEPS = 4


class Cutout(NamedTuple):
    """An object and its mask, both cut to the mask's bounds. `source`: where the still comes from."""

    image: Image
    """[h, w, 3] BGR."""
    mask: NDArray[np.uint8]
    """[h, w] 0 to 255."""
    source: str


def cut_out(image: Image, box: Box) -> tuple[Image, NDArray[np.uint8]] | None:
    """Return the object in `box` and its mask, at most SIDE pixels long; None where no sound mask was found."""
    x, y, w, h = box
    scale = min(1.0, SIDE / max(w, h))
    left, top = max(0, round(x - MARGIN * w)), max(0, round(y - MARGIN * h))
    right, bottom = min(image.shape[1], round(x + w * (1 + MARGIN))), min(image.shape[0], round(y + h * (1 + MARGIN)))
    if right - left < 8 or bottom - top < 8:
        return None
    piece = cv2.resize(image[top:bottom, left:right], None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    bw, bh = round(w * scale), round(h * scale)
    at = (round((x - left) * scale), round((y - top) * scale), bw, bh)
    at = (at[0], at[1], min(bw, piece.shape[1] - at[0]), min(bh, piece.shape[0] - at[1]))
    if min(at[2:]) < 12 or at[2] * at[3] > 0.9 * piece.shape[0] * piece.shape[1]:
        return None
    mask = np.zeros(piece.shape[:2], np.uint8)
    try:
        cv2.grabCut(piece, mask, at, np.zeros((1, 65)), np.zeros((1, 65)), STEPS, cv2.GC_INIT_WITH_RECT)
    except cv2.error:  # one colour all over
        return None
    found = np.asarray((mask == cv2.GC_FGD) | (mask == cv2.GC_PR_FGD), np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(found)
    if count < 2:
        return None
    largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    x0, y0, mw, mh, area = (int(value) for value in stats[largest])
    if not COVERED[0] <= area / (at[2] * at[3]) <= COVERED[1] or mw < REACHED * at[2] or mh < REACHED * at[3]:
        return None
    whole = np.asarray((labels == largest) * 255, np.uint8)
    soft = np.asarray(cv2.GaussianBlur(whole, (3, 3), 0), np.uint8)
    window = np.s_[y0 : y0 + mh, x0 : x0 + mw]
    return np.asarray(piece[window], np.uint8).copy(), soft[window].copy()


def cut_outs(tracks: Sequence[Track], report: Callable[[int, int], None] = lambda done, total: None) -> list[Cutout]:
    """Return the objects of those `tracks` that are stills with a box."""
    images = Images()
    stills = [track for track in tracks if track.kind == "still" and track.frames[0].box]
    found = []
    for number, track in enumerate(stills):
        image = images.read(track.frames[0])
        box = track.frames[0].box_in(image)
        piece = cut_out(image, box) if box else None
        if piece:
            found.append(Cutout(*piece, track.source))
        report(number + 1, len(stills))
    return found
