"""The state of one target and how a frame moves it: geometry around the search graph, interpreted from the manifest."""

from dataclasses import dataclass
from functools import lru_cache
from math import inf, isfinite
from typing import NamedTuple

from .boxes import MAX_SIZE, MIN_SIZE
from .crop import Colour
from .geometry import Extent, Geometry, InFrame, Limits, box_extent, exemplar_side, square
from .manifest import Search
from .result import Box

FRAME_SIZES = 64
"""Sizes of frames whose bounds are kept: videos that are followed in turn may each have one of its own."""

Body = tuple[float, float, float, float]
"""cx, cy, w, h of a target: centre and size, in frame pixels."""


class Bounds(NamedTuple):
    """What a target may be in frames of one size."""

    least: Body
    most: Body


@dataclass(slots=True)
class Target:
    """Where a target is, in frame pixels."""

    cx: float
    cy: float
    w: float
    h: float
    side: float
    """Side of the running search region; unused where the side is derived from the size."""
    first_size: tuple[float, float]
    first_side: float
    mean: Colour
    small: bool
    lost: bool = False
    frame_index: int = 0

    def copy(self) -> "Target":
        """A state that stays as it is while this one moves on."""
        return Target(
            self.cx,
            self.cy,
            self.w,
            self.h,
            self.side,
            self.first_size,
            self.first_side,
            self.mean,
            self.small,
            self.lost,
            self.frame_index,
        )

    @property
    def box(self) -> Box:
        """The target's x, y, w, h."""
        return self.cx - self.w / 2, self.cy - self.h / 2, self.w, self.h


class Motion:
    """The rules of one bundle, applied to targets."""

    def __init__(self, geometry: Geometry, searches: tuple[Search, ...]):
        self.geometry = geometry
        self.searches = searches
        self._by_condition = {search.when: number for number, search in enumerate(searches)}
        # Read once: attributes of pydantic's models are slow, and these are asked for in every frame.
        limits = geometry.limits
        self._side_runs = geometry.side == "running"
        self._context_amount = geometry.context_amount
        self._shares = [search.size / geometry.exemplar_size for search in searches]
        self._template_share = geometry.template_size / geometry.exemplar_size
        self._box_context = geometry.box_context
        self._search_context = geometry.box_context.search if geometry.box_context else None
        self._in_frame, self._whole_pixels = limits.in_frame, limits.whole_pixels
        self._looks_at_corners = self._in_frame is not None or self._whole_pixels
        self._hysteresis = geometry.hysteresis
        self._limits_report = limits.of == "report"
        self._relative_size = limits.relative_size
        self._relative_side = limits.relative_side or (0.01, 100.0)
        self._bounds = lru_cache(FRAME_SIZES)(self._find_bounds)

    def start(self, box: Box, mean: Colour, frame_wh: tuple[int, int]) -> Target:
        """Return the state of a target that fills `box` in a frame of `frame_wh`."""
        x, y, w, h = self._whole(box, frame_wh) if self._whole_pixels else box
        limit = self.geometry.small_target_area
        small = limit is not None and w * h / (frame_wh[0] * frame_wh[1]) < limit
        side = self._context_side(w, h) * self._shares[0]
        return Target(x + w / 2, y + h / 2, w, h, side, (w, h), side, mean, small)

    def template_extent(self, target: Target) -> Extent:
        """Return what a template crop of `target` shows, in frame pixels, before rounding."""
        if self._box_context:
            return box_extent(target.w, target.h, self._box_context.template)
        return square(self._context_side(target.w, target.h) * self._template_share)

    def graph_for(self, target: Target) -> int:
        """Return the number of the search graph that applies: lost, small or always."""
        if target.lost and "lost" in self._by_condition:
            return self._by_condition["lost"]
        if target.small and "small_target" in self._by_condition:
            return self._by_condition["small_target"]
        return 0

    def search_extent(self, target: Target, graph: int) -> Extent:
        """Return what a search crop for `target` shows, in frame pixels, before rounding."""
        if self._search_context is not None:
            return box_extent(target.w, target.h, self._search_context)
        if self._side_runs:
            return square(target.side)
        return square(exemplar_side(target.w, target.h, self._context_amount) * self._shares[graph])

    def advance(
        self,
        target: Target,
        centre: tuple[float, float],
        moved: tuple[float, float, float, float],
        score: float,
        frame_wh: tuple[int, int],
    ) -> Box:
        """Move `target` by what the graph found and return the box to report.

        `moved` is the offset of the target's centre from `centre` and its new w, h, in frame pixels. Whatever the
        network returned, the state stays finite and inside limits: a result that is not finite leaves it untouched.
        """
        target.frame_index += 1
        rule = self._hysteresis
        if not isfinite(score + sum(moved)):
            target.lost = True
            return target.box
        if rule is None:
            target.lost = False
        if rule is None or not rule.freeze or score >= rule.low:
            self._move(target, centre, moved, frame_wh)
        if rule is not None and (score < rule.low or score > rule.high):
            target.lost = score < rule.low
        if not self._limits_report:
            return target.box
        w, h = self._in_proportion(target, target.w, target.h)
        _, report = self._bounds(frame_wh)
        cx, cy, w, h = _bounded(target.cx, target.cy, w, h, report)
        return cx - w / 2, cy - h / 2, w, h

    def _move(
        self,
        target: Target,
        centre: tuple[float, float],
        moved: tuple[float, float, float, float],
        frame_wh: tuple[int, int],
    ) -> None:
        dx, dy, w, h = moved
        if self._side_runs:
            low, high = self._relative_side
            side = target.side * (w / target.w)
            target.side = _clamped(side, low * target.first_side, high * target.first_side)
        if not self._limits_report:
            w, h = self._in_proportion(target, w, h)
        cx, cy = centre[0] + dx, centre[1] + dy
        if self._looks_at_corners:
            cx, cy, w, h = self._fitted(cx, cy, w, h, frame_wh)
        state, _ = self._bounds(frame_wh)
        target.cx, target.cy, target.w, target.h = _bounded(cx, cy, w, h, state)

    def _context_side(self, w: float, h: float) -> float:
        """Return the side of the square, in frame pixels, that holds a target of w x h with its context."""
        side = exemplar_side(w, h, self._context_amount)
        return float(round(side)) if self.geometry.round_exemplar else side

    def _fitted(self, cx: float, cy: float, w: float, h: float, frame_wh: tuple[int, int]) -> Body:
        """Return what the limits that look at corners make of a result."""
        x, y = cx - w / 2, cy - h / 2
        if self._whole_pixels:  # to 0 digits: floats, which may be endless
            x, y, w, h = round(x, 0), round(y, 0), round(w, 0), round(h, 0)
        if self._in_frame:
            x, y, w, h = _inside((x, y, w, h), frame_wh, self._in_frame)
        return x + w / 2, y + h / 2, w, h

    def _whole(self, box: Box, frame_wh: tuple[int, int]) -> Box:
        """Return a given box as whole pixels: put into the frame, then truncated. Source: FEAR's clamp_bbox."""
        if self._in_frame:
            box = _inside(box, frame_wh, self._in_frame)
        x, y, w, h = (float(int(value)) for value in box)
        return x, y, w, h

    def _in_proportion(self, target: Target, w: float, h: float) -> tuple[float, float]:
        """Return w, h within the shares of the target's first size that they may have."""
        if self._relative_size is None:
            return w, h
        low, high = self._relative_size
        first_w, first_h = target.first_size
        return _clamped(w, low * first_w, high * first_w), _clamped(h, low * first_h, high * first_h)

    def _find_bounds(self, frame_wh: tuple[int, int]) -> tuple[Bounds, Bounds]:
        """Return the bounds of the state and of the report in frames of `frame_wh`; none hangs on the first size.

        Limits applied one after the other come to one range: from what they make of -inf to what they make of inf.
        """
        limits, ends = self.geometry.limits, ((-inf,) * 4, (inf,) * 4)
        report = [_limited(limits, *end, frame_wh) for end in ends]
        state = [_within_reason(*end, frame_wh) for end in (ends if self._limits_report else report)]
        return Bounds(*state), Bounds(*report)


def _inside(box: Box, frame_wh: tuple[int, int], rule: InFrame) -> Box:
    """Return the box x, y, w, h that `rule` makes of `box`."""
    (x, w), (y, h) = (
        _within(first, length, end, rule) for first, length, end in zip(box[:2], box[2:], frame_wh, strict=True)
    )
    return x, y, w, h


def _within(first: float, length: float, end: int, rule: InFrame) -> tuple[float, float]:
    """Return where a box begins and how long it is along one axis of a frame that ends at `end`."""
    begin = min(max(0.0, first), end - rule.min_side)
    last = (begin if rule.beyond == "move" else first) + length
    return begin, max(rule.min_side, min(last, end) - begin)


def _limited(limits: Limits, cx: float, cy: float, w: float, h: float, frame_wh: tuple[int, int]) -> Body:
    """The limits of a family, but for those that hang on the first size."""
    width, height = float(frame_wh[0]), float(frame_wh[1])
    if limits.centre_in_frame:
        cx, cy = _clamped(cx, 0.0, width), _clamped(cy, 0.0, height)
    if limits.max_size_frame:
        w, h = min(w, width), min(h, height)
    if limits.min_size is not None:
        w, h = max(w, limits.min_size), max(h, limits.min_size)
    return cx, cy, w, h


def _within_reason(cx: float, cy: float, w: float, h: float, frame_wh: tuple[int, int]) -> Body:
    """The engine's own limits: centre at most a frame outside, sides MIN_SIZE to MAX_SIZE times the frame's longer."""
    width, height = float(frame_wh[0]), float(frame_wh[1])
    longest = MAX_SIZE * max(width, height)
    return (
        _clamped(cx, -width, 2.0 * width),
        _clamped(cy, -height, 2.0 * height),
        _clamped(w, MIN_SIZE, longest),
        _clamped(h, MIN_SIZE, longest),
    )


def _bounded(cx: float, cy: float, w: float, h: float, bounds: Bounds) -> Body:
    """Return cx, cy, w, h inside `bounds`."""
    least, most = bounds
    return (
        _clamped(cx, least[0], most[0]),
        _clamped(cy, least[1], most[1]),
        _clamped(w, least[2], most[2]),
        _clamped(h, least[3], most[3]),
    )


def _clamped(value: float, low: float, high: float) -> float:
    return low if value < low else high if value > high else value
