"""Results drawn into a frame: box, number, confidence, speed; sized by the picture, readable on any background."""

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .record import Box, Record
from .source import Image

Colour = tuple[int, int, int]
Points = NDArray[np.int32]

TRACKED: Colour = (94, 222, 68)
LOST: Colour = (66, 96, 255)
PALETTE: tuple[Colour, ...] = (
    TRACKED,
    (255, 170, 60),
    (60, 200, 255),
    (240, 110, 220),
    (210, 220, 60),
    (80, 140, 255),
    (255, 120, 150),
    (150, 220, 160),
)
"""Of several targets, in order; none resembles LOST."""
INK: Colour = (24, 22, 20)
PAPER: Colour = (250, 250, 250)
"""Colours are BGR."""

FONT = cv2.FONT_HERSHEY_DUPLEX
SHADE = 0.62
"""How much of the picture behind a text panel is taken away."""


@dataclass(frozen=True)
class Measures:
    """Line widths and text size in pixels for one picture size."""

    line: int
    outline: int
    text: float
    stroke: int
    pad: int
    dash: int

    @classmethod
    def of(cls, shape_hw: tuple[int, ...]) -> "Measures":
        """Measures that look alike on a thumbnail and on 4K: all follow the shorter side."""
        side = min(shape_hw[0], shape_hw[1])
        line = max(2, round(side / 320))
        text = max(0.36, side / 1150)
        return cls(
            line=line,
            outline=line + max(2, 2 * round(side / 720)) if side >= 400 else line,  # a dark rim drowns a thin line
            text=text,
            stroke=max(1, round(text * 1.4)),
            pad=max(3, round(text * 9)),
            dash=max(7, round(side / 60)),
        )


def draw(
    image: Image,
    records: Iterable[Record],
    *,
    numbered: bool = False,
    fps: float | None = None,
    frame_index: int | None = None,
) -> Image:
    """A copy of the frame with the box of every record in its target's colour, and what is known about it.

    Beside the box: the target's number if `numbered`, and how sure the tracker is, in percent where the bundle is
    calibrated, else the raw score. A lost target has the colour LOST and a dashed box. `frame_index` and `fps` stand in
    the upper left corner.
    """
    canvas: Image = image.copy()
    measures = Measures.of(canvas.shape)
    for record in records:
        if np.isfinite(record.box).all():
            _draw_target(canvas, record, measures, numbered)
    words = ["" if frame_index is None else f"frame {frame_index}", "" if fps is None else f"{fps:.0f} FPS"]
    status = "   ".join(word for word in words if word)
    if status:
        _draw_status(canvas, status, measures)
    return canvas


def _draw_target(canvas: Image, record: Record, measures: Measures, numbered: bool) -> None:
    colour = LOST if record.lost else PALETTE[(record.target - 1) % len(PALETTE)]
    corners = _corners(canvas, record.box)
    _draw_box(canvas, corners, colour, measures, dashed=record.lost)
    words = [f"#{record.target}" if numbered else "", "lost" if record.lost else "", _sureness(record)]
    tag = "  ".join(word for word in words if word)
    if tag:
        _draw_tag(canvas, tag, corners, colour, measures)


def _sureness(record: Record) -> str:
    if record.confidence is not None:
        return f"{record.confidence:.0%}"
    return "" if record.score is None else f"{record.score:.2f}"


def _corners(canvas: Image, box: Box) -> tuple[int, int, int, int]:
    """Whole pixels x0, y0, x1, y1; far-off corners are brought near, where OpenCV's integers end."""
    height, width = canvas.shape[:2]
    x, y, w, h = box
    low, high = (-width, -height), (2 * width, 2 * height)
    x0, x1 = (int(np.clip(round(v), low[0], high[0])) for v in (x, x + w))
    y0, y1 = (int(np.clip(round(v), low[1], high[1])) for v in (y, y + h))
    return x0, y0, x1, y1


def _draw_box(canvas: Image, corners: tuple[int, int, int, int], colour: Colour, m: Measures, *, dashed: bool) -> None:
    x0, y0, x1, y1 = corners
    path = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], np.int32)
    pieces = _dashes(path, m.dash) if dashed else [np.vstack([path, path[:1]])]
    for tint, width in ((INK, m.outline), (colour, m.line)):
        cv2.polylines(canvas, pieces, False, tint, width, cv2.LINE_AA)


def _dashes(path: Points, length: int) -> list[Points]:
    """Segments of about `length` pixels with gaps as long, along a closed path; each side begins and ends with one."""
    pieces: list[Points] = []
    for start, end in zip(path, np.roll(path, -1, axis=0), strict=True):
        count = 1 + round(float(np.hypot(*(end - start))) / length / 2)
        pieces += list(np.linspace(start, end, 2 * count).round().astype(np.int32).reshape(count, 2, 2))
    return pieces


def _draw_tag(canvas: Image, text: str, corners: tuple[int, int, int, int], colour: Colour, m: Measures) -> None:
    """The tag sits on the box's upper edge, under the lower edge where there is no room, else inside."""
    height, width = canvas.shape[:2]
    tag_w, tag_h, _ = _text_size(text, m)
    x0, y0, _, y1 = corners
    edge = m.outline // 2
    left = min(max(x0 - edge, 0), max(width - tag_w, 0))
    top = y0 - edge - tag_h
    if top < 0:
        top = y1 + edge if y1 + edge + tag_h <= height else max(y0 + edge, 0)
    top = min(max(top, 0), max(height - tag_h, 0))
    cv2.rectangle(canvas, (left, top), (left + tag_w - 1, top + tag_h - 1), colour, cv2.FILLED)
    _put_text(canvas, text, (left, top), INK, m)


def _draw_status(canvas: Image, text: str, m: Measures) -> None:
    w, h, _ = _text_size(text, m)
    at = (m.pad, m.pad)
    panel = canvas[at[1] : at[1] + h, at[0] : at[0] + w]
    if panel.size:
        np.copyto(panel, cv2.convertScaleAbs(panel, alpha=1 - SHADE))
    _put_text(canvas, text, at, PAPER, m)


def _text_size(text: str, m: Measures) -> tuple[int, int, int]:
    """Width and height of a panel around the text, and where its base line is."""
    (w, h), _ = cv2.getTextSize(text, FONT, m.text, m.stroke)
    return w + 2 * m.pad, h + 2 * m.pad, m.pad + h


def _put_text(canvas: Image, text: str, corner: tuple[int, int], colour: Colour, m: Measures) -> None:
    base = _text_size(text, m)[2]
    cv2.putText(canvas, text, (corner[0] + m.pad, corner[1] + base), FONT, m.text, colour, m.stroke, cv2.LINE_AA)
