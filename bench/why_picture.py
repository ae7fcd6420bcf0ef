"""A moment as one picture: a row for each frame, and in it the crop, the maps, the rivals and the choice."""

from collections.abc import Sequence
from math import sqrt

import cv2
import numpy as np
from numpy.typing import NDArray

from ..video.source import Image
from .why_falls import FALL, Moment, Seen
from .why_maps import Maps, Peak

TILE = 220
GAP = 8
HEAD = 26
FOOT = 40
LINE = 16
BACKGROUND = (28, 26, 24)
PAPER = (235, 235, 235)
FAINT = (160, 156, 150)
RANKS = ((94, 222, 68), (60, 200, 255), (240, 110, 220))
"""BGR of the chosen peak and of its rivals."""
CHOSEN = (250, 250, 250)
COLUMNS = ("search crop", "score", "x penalties", "window", "ranking")
FONT = cv2.FONT_HERSHEY_SIMPLEX
RIVAL = 0.8
"""Share of the chosen score from which another peak is a rival."""
SAME = 0.5
"""Peaks closer than this share of the target's side are the same thing."""
NOTHING = 0.35
"""Share of the usual score below which nothing in the crop counts as like the target."""


def strip(moment: Moment, explained: Sequence[tuple[Seen, Maps]], title: str) -> Image:
    """Return the picture of a moment: its frames in rows, COLUMNS across, below each row what decided it."""
    width = len(COLUMNS) * (TILE + GAP) + GAP
    rows = [_header(width, title)]
    for seen, maps in explained:
        tiles = [_crop(seen, maps), *_maps(maps)]
        line = np.full((TILE + GAP, width, 3), BACKGROUND, np.uint8)
        for number, tile in enumerate(tiles):
            left = GAP + number * (TILE + GAP)
            line[:TILE, left : left + TILE] = tile
        rows += [line, _words(width, seen, maps, worst=seen is moment.worst)]
    return np.concatenate(rows)


def reasons(seen: Seen, maps: Maps) -> list[str]:
    """Return in words what a frame's maps show; the causes that users can act on."""
    chosen, *others = maps.peaks
    found = []
    fallen = (seen.usual - seen.score) / max(abs(seen.usual), 1e-6)
    for number, other in enumerate(others, 2):
        away = float(np.hypot(other.box[0] - chosen.box[0], other.box[1] - chosen.box[1]))
        if away < SAME * sqrt(max(chosen.box[2] * chosen.box[3], 1.0)):
            continue
        place = f"peak {number}, {away:.0f} crop pixels away,"
        if other.score > chosen.score:
            found.append(f"{place} scored higher ({other.score:.2g} to {chosen.score:.2g}): {_held(chosen, other)}")
        elif other.score >= RIVAL * chosen.score:
            found.append(f"{place} is nearly as like the target ({other.score:.2g} to {chosen.score:.2g})")
    if seen.score < NOTHING * seen.usual:
        found.append("nothing in the crop looks much like the target: hidden, blurred, turned, or outside")
    elif fallen >= FALL and not found:
        found.append("no rival: the target itself looks less like its first frame (turned, lit otherwise, half hidden)")
    return found


def _held(chosen: Peak, other: Peak) -> str:
    """Say what kept a higher score from being chosen."""
    if other.penalty * other.score <= chosen.penalty * chosen.score:
        return "penalties kept it back"
    return "the window kept it back"


def _crop(seen: Seen, maps: Maps) -> Image:
    """The crop (of a pyramid the middle one) with the boxes of the peaks and the smoothed box that was returned."""
    crop = seen.call.crop[seen.call.crop.shape[0] // 2]
    tile = np.asarray(cv2.resize(crop, (TILE, TILE), interpolation=cv2.INTER_AREA), np.uint8)
    scale = TILE / crop.shape[0]
    for rank, peak in reversed(list(enumerate(maps.peaks))):
        _box(tile, peak.box, scale, RANKS[rank])
        x, y = (round(TILE / 2 + value * scale) for value in peak.box[:2])
        cv2.putText(tile, str(rank + 1), (x - 4, y + 4), FONT, 0.42, RANKS[rank], 1, cv2.LINE_AA)
    _box(tile, seen.call.box, scale, CHOSEN)
    return tile


def _box(tile: Image, box: tuple[float, float, float, float], scale: float, colour: tuple[int, int, int]) -> None:
    if not np.isfinite(box).all():
        return
    x, y, w, h = (float(np.clip(value * scale, -4 * TILE, 4 * TILE)) for value in box)
    corner = (round(TILE / 2 + x - w / 2), round(TILE / 2 + y - h / 2))
    cv2.rectangle(tile, corner, (round(TILE / 2 + x + w / 2), round(TILE / 2 + y + h / 2)), colour, 1, cv2.LINE_AA)


def _maps(maps: Maps) -> list[Image]:
    """The maps as heat, each from its own lowest to its highest value; score and penalised share one scale."""
    # A value that is not finite has no place on a scale.
    low, high = _range(maps.score)
    scales = ((low, high), (low, high), _range(maps.window), _range(maps.ranking))
    tiles = []
    for values, (first, last) in zip((maps.score, maps.penalised, maps.window, maps.ranking), scales, strict=True):
        share = np.clip(np.nan_to_num((values - first) / (last - first)), 0, 1)
        smooth = cv2.INTER_AREA if values.shape[0] > TILE else cv2.INTER_NEAREST
        grey = cv2.resize((share * 255).astype(np.uint8), (TILE, TILE), interpolation=smooth)
        tile = np.asarray(cv2.applyColorMap(grey, cv2.COLORMAP_VIRIDIS), np.uint8)
        for rank, peak in reversed(list(enumerate(maps.peaks))):
            x, y = (round((cell + 0.5) * TILE / values.shape[0]) for cell in peak.cell)
            cv2.circle(tile, (x, y), 7, (20, 20, 20), 3, cv2.LINE_AA)
            cv2.circle(tile, (x, y), 7, RANKS[rank], 1, cv2.LINE_AA)
        label = f"{first:.2g} .. {last:.2g}"
        cv2.putText(tile, label, (6, TILE - 7), FONT, 0.38, (20, 20, 20), 3, cv2.LINE_AA)
        cv2.putText(tile, label, (6, TILE - 7), FONT, 0.38, PAPER, 1, cv2.LINE_AA)
        tiles.append(tile)
    return tiles


def _range(values: NDArray[np.float32]) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    return low, high if high > low else low + 1.0


def _header(width: int, title: str) -> Image:
    head = np.full((2 * HEAD, width, 3), BACKGROUND, np.uint8)
    cv2.putText(head, _ascii(title), (GAP, 18), FONT, 0.5, PAPER, 1, cv2.LINE_AA)
    for number, name in enumerate(COLUMNS):
        cv2.putText(head, name, (GAP + number * (TILE + GAP), HEAD + 18), FONT, 0.45, FAINT, 1, cv2.LINE_AA)
    return head


def _words(width: int, seen: Seen, maps: Maps, worst: bool) -> Image:
    lines = _lines(("lowest. " if worst else "") + "; ".join(reasons(seen, maps)), width - 2 * GAP)
    foot = np.full((FOOT + LINE * (len(lines) - 1), width, 3), BACKGROUND, np.uint8)
    state = ", lost" if seen.lost else ""
    first = f"frame {seen.frame_index}: score {seen.score:.3g}{state}, usual {seen.usual:.3g}"
    at = GAP
    for text, colour in ((first, PAPER), *((_about(n, p), RANKS[n]) for n, p in enumerate(maps.peaks))):
        cv2.putText(foot, text, (at, 12), FONT, 0.4, colour, 1, cv2.LINE_AA)
        at += cv2.getTextSize(text, FONT, 0.4, 1)[0][0] + 16
    for number, line in enumerate(lines):
        cv2.putText(foot, line, (GAP, 29 + LINE * number), FONT, 0.4, FAINT, 1, cv2.LINE_AA)
    return foot


def _lines(text: str, width: int) -> list[str]:
    """`text` in lines of at most `width` pixels, broken between words."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".lstrip()
        if cv2.getTextSize(longer, FONT, 0.4, 1)[0][0] <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _about(rank: int, peak: Peak) -> str:
    return f"{rank + 1}: {peak.score:.2g} x {peak.penalty:.2g}, window {peak.window:.2g}"


def _ascii(text: str) -> str:
    """OpenCV's fonts have no other signs."""
    return text.encode("ascii", "replace").decode()
