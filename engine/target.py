"""The state of one target and how a frame moves it: geometry around the search graph, interpreted from the manifest."""

from dataclasses import dataclass
from math import isfinite

from .boxes import MAX_SIZE, MIN_SIZE
from .crop import Colour
from .geometry import Geometry, exemplar_side
from .manifest import Search
from .result import Box


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

    def start(self, box: Box, mean: Colour, frame_wh: tuple[int, int]) -> Target:
        """Return the state of a target that fills `box` in a frame of `frame_wh`."""
        x, y, w, h = box
        limit = self.geometry.small_target_area
        small = limit is not None and w * h / (frame_wh[0] * frame_wh[1]) < limit
        side = self.context_side(w, h) * (self.searches[0].size / self.geometry.exemplar_size)
        return Target(x + w / 2, y + h / 2, w, h, side, (w, h), side, mean, small)

    def context_side(self, w: float, h: float) -> float:
        """Return the side of the square, in frame pixels, that holds a target of w x h with its context."""
        side = exemplar_side(w, h, self.geometry.context_amount)
        return float(round(side)) if self.geometry.round_exemplar else side

    def graph_for(self, target: Target) -> int:
        """Return the number of the search graph that applies: lost, small or always."""
        if target.lost and "lost" in self._by_condition:
            return self._by_condition["lost"]
        if target.small and "small_target" in self._by_condition:
            return self._by_condition["small_target"]
        return 0

    def search_side(self, target: Target, graph: int) -> float:
        """Return the side of the search region in frame pixels, before rounding."""
        if self.geometry.side == "running":
            return target.side
        share = self.searches[graph].size / self.geometry.exemplar_size
        return exemplar_side(target.w, target.h, self.geometry.context_amount) * share

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
        rule = self.geometry.hysteresis
        if not isfinite(score + sum(moved)):
            target.lost = True
            return target.box
        if rule is None:
            target.lost = False
        if rule is None or not rule.freeze or score >= rule.low:
            self._move(target, centre, moved, frame_wh)
        if rule is not None and (score < rule.low or score > rule.high):
            target.lost = score < rule.low
        if self.geometry.limits.of == "report":
            cx, cy, w, h = self._limited(target, target.cx, target.cy, target.w, target.h, frame_wh)
            return cx - w / 2, cy - h / 2, w, h
        return target.box

    def _move(
        self,
        target: Target,
        centre: tuple[float, float],
        moved: tuple[float, float, float, float],
        frame_wh: tuple[int, int],
    ) -> None:
        dx, dy, w, h = moved
        if self.geometry.side == "running":
            low, high = self.geometry.limits.relative_side or (0.01, 100.0)
            side = target.side * (w / target.w)
            target.side = _clamped(side, low * target.first_side, high * target.first_side)
        cx, cy = centre[0] + dx, centre[1] + dy
        if self.geometry.limits.of == "state":
            cx, cy, w, h = self._limited(target, cx, cy, w, h, frame_wh)
        target.cx, target.cy, target.w, target.h = _within_reason(cx, cy, w, h, frame_wh)

    def _limited(
        self, target: Target, cx: float, cy: float, w: float, h: float, frame_wh: tuple[int, int]
    ) -> tuple[float, float, float, float]:
        limits = self.geometry.limits
        width, height = float(frame_wh[0]), float(frame_wh[1])
        if limits.relative_size is not None:
            low, high = limits.relative_size
            w = _clamped(w, low * target.first_size[0], high * target.first_size[0])
            h = _clamped(h, low * target.first_size[1], high * target.first_size[1])
        if limits.centre_in_frame:
            cx, cy = _clamped(cx, 0.0, width), _clamped(cy, 0.0, height)
        if limits.max_size_frame:
            w, h = min(w, width), min(h, height)
        if limits.min_size is not None:
            w, h = max(w, limits.min_size), max(h, limits.min_size)
        return cx, cy, w, h


def _within_reason(
    cx: float, cy: float, w: float, h: float, frame_wh: tuple[int, int]
) -> tuple[float, float, float, float]:
    """The engine's own limits: centre at most a frame outside, sides MIN_SIZE to MAX_SIZE times the frame's longer."""
    width, height = float(frame_wh[0]), float(frame_wh[1])
    longest = MAX_SIZE * max(width, height)
    return (
        _clamped(cx, -width, 2.0 * width),
        _clamped(cy, -height, 2.0 * height),
        _clamped(w, MIN_SIZE, longest),
        _clamped(h, MIN_SIZE, longest),
    )


def _clamped(value: float, low: float, high: float) -> float:
    return low if value < low else high if value > high else value
