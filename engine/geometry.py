"""How a target in a frame becomes crops, and how a box in a crop goes back: the rules, as data of the manifest.

Every upstream of the family has its own roundings and limits. They are values of these models, never branches on a
model's name. Source of each value: the row of models/registry.py that states it.
"""

from collections.abc import Callable, Sequence
from math import ceil, floor, sqrt, trunc
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

Rounding = Literal["half_even", "half_up", "half_away", "up", "toward_zero"]


def _ordered(limits: tuple[float, float]) -> tuple[float, float]:
    if limits[0] > limits[1]:
        raise ValueError(f"the lower limit {limits[0]:g} is above the upper one {limits[1]:g}")
    return limits


_Share = Annotated[float, Field(ge=0.001, le=1000)]
_Shares = Annotated[tuple[_Share, _Share], AfterValidator(_ordered)]
_Steps = Annotated[tuple[Annotated[int, Field(ge=-8, le=8)], ...], Field(min_length=1, max_length=16)]


class Rule(BaseModel):
    """Frozen data that refuses unknown keys and numbers that are not finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class CropRule(Rule):
    """How the pixels of one crop are found."""

    centre_shift: float = Field(default=0.0, ge=-1, le=1)
    """Added to the target's centre x + w/2: -0.5 where upstream counts from the middle of pixels."""
    origin_shift: float = Field(default=0.5, ge=-1, le=1)
    """First pixel = round(centre - side/2 - origin_shift). PySOT has 0.5, siamfc-pytorch -0.5."""
    origin_rounding: Rounding = "half_up"
    origin: Literal["cut", "asked"] = "cut"
    """Whether the first pixel is counted from the sides after rounding, or from what was asked for (FEAR)."""
    side_rounding: Rounding = "half_even"
    scale: Literal["asked", "cut"] = "asked"
    """Whether a crop's scale is that of the sides before rounding, or of the whole pixels that were cut."""
    fill: Literal["truncate", "round", "black"] = "truncate"
    """How the mean colour becomes uint8 outside the frame; or black instead of it (LightFC)."""
    fill_from: Literal["first", "current"] = "first"
    """The frame whose mean colour fills: the one `init` saw, or the one cropped."""
    sampling: Literal["resize", "affine"] = "resize"
    """`resize`: whole pixels cut out, then cv2.resize. `affine`: sampled as the box falls (TensorFlow)."""
    pyramid: Literal["direct", "nested"] = "direct"
    """`direct`: each scale from the frame. `nested`: the largest region once, the scales from it (SiamDW)."""
    unseen_edge: int = Field(default=0, ge=0, le=8)
    """Last columns and rows of the frame that no crop shows: they count as outside (LightFC: 1)."""
    recentre: bool = False
    """Add back what rounding moved the centre of the crop by (of the upstreams, only FEAR does)."""


class InFrame(Rule):
    """A box is kept inside the frame, its sides at least `min_side`."""

    min_side: float = Field(gt=0, le=100)
    beyond: Literal["cut", "move"] = "cut"
    """What becomes of a box beyond the left or top edge: that much is cut off, or it is moved inside whole."""


class Limits(Rule):
    """What a state may be. None: no limit of the family; the engine's own wide ones always hold."""

    of: Literal["state", "report"] = "state"
    """What is limited: the state itself, or only the box that is reported (SiamRPN++ long-term)."""
    centre_in_frame: bool = True
    min_size: float | None = Field(default=10.0, gt=0, le=1000)
    max_size_frame: bool = True
    """Width and height at most the frame's."""
    relative_size: _Shares | None = None
    """Smallest and largest size as a share of the size at `init`."""
    relative_side: _Shares | None = None
    """The same for a running search side."""
    in_frame: InFrame | None = None
    whole_pixels: bool = False
    """Corner and size are rounded, halves to even; a box that is given is cut to whole pixels in the frame (FEAR)."""


class Hysteresis(Rule):
    """When a target counts as lost, and as found again (SiamRPN++ long-term)."""

    low: float
    high: float
    freeze: bool = True
    """Below `low` the state is left as it was."""


class BoxContext(Rule):
    """Regions of the box's own proportions: to each side this share of its width, above and below of its height."""

    template: float = Field(ge=0, le=10)
    search: float = Field(ge=0, le=10)


class Geometry(Rule):
    """From target to crops and back."""

    template_size: int = Field(default=127, ge=16, le=1024)
    exemplar_size: int = Field(default=127, ge=16, le=1024)
    """Pixels, in every crop, of the square that holds the target with its context."""
    context_amount: float = Field(default=0.5, ge=0, le=4)
    box_context: BoxContext | None = None
    """How far regions reach where they are not squares: their crops do not keep proportions (FEAR)."""
    template_steps: _Steps = (0,)
    """Exponents of `scale_step`, one template crop each."""
    search_steps: _Steps = (0,)
    """Exponents of `scale_step`, one search crop each."""
    side: Literal["derived", "running"] = "derived"
    """Search side from the size at every frame, or carried along and scaled with it (SiamDW's SiamFC)."""
    round_exemplar: bool = False
    """Round the side of the target with context before anything is derived from it."""
    crop: CropRule = CropRule()
    limits: Limits = Limits()
    small_target_area: float | None = None
    """Share of the frame's area under which a target counts as small at `init` (DaSiamRPN's BIG model)."""
    hysteresis: Hysteresis | None = None

    @model_validator(mode="after")
    def _boxes_are_cut_plainly(self) -> "Geometry":
        plain = ("derived", "resize", "direct")
        if self.box_context and (self.side, self.crop.sampling, self.crop.pyramid) != plain:
            raise ValueError("box_context wants side derived, sampling resize and pyramid direct: others cut squares")
        return self


def _half_up(value: float) -> int:
    return floor(value + 0.5)


def _half_away(value: float) -> int:
    return floor(value + 0.5) if value >= 0 else ceil(value - 0.5)


_ROUNDED: dict[Rounding, Callable[[float], int]] = {
    "half_even": round,
    "half_up": _half_up,
    "half_away": _half_away,
    "up": ceil,
    "toward_zero": trunc,
}


def round_as(value: float, rounding: Rounding) -> int:
    """Return `value` rounded to an integer; the ways named after halves differ at exact ones only."""
    return _ROUNDED[rounding](value)


def exemplar_side(w: float, h: float, context_amount: float) -> float:
    """Return the side of the square that holds a target of w x h with its context. Source: SiamFC sec. 2."""
    context = context_amount * (w + h)
    return sqrt((w + context) * (h + context))


Extent = tuple[float, float, float, float]
"""What a crop is asked to show, in frame pixels: width, height, and how far it reaches left and up from its centre."""


def square(side: float) -> Extent:
    """Return the extent of a square of `side`."""
    half = side / 2
    return side, side, half, half


def box_extent(w: float, h: float, context: float) -> Extent:
    """Return the extent of a box of w x h with the share `context` of it on every side. Source: FEAR's extend_bbox."""
    grown = 1.0 + context + context
    return w * grown, h * grown, w / 2 + w * context, h / 2 + h * context


def scaled(extent: Extent, factors: Sequence[float]) -> list[Extent]:
    """Return `extent` by each of `factors`."""
    width, height, left, top = extent
    return [(width * factor, height * factor, left * factor, top * factor) for factor in factors]


Region = tuple[int, int, int, int, tuple[float, float]]
"""Whole pixels of a frame, which may lie outside it: first column, first row, width, height, and the centre x, y.

The centre, in frame pixels, is off by the rounding from what was asked for.
"""


class Regions:
    """The regions that crops by one rule show."""

    def __init__(self, rule: CropRule):
        self._round_side = _ROUNDED[rule.side_rounding]
        self._round_origin = _ROUNDED[rule.origin_rounding]
        self._centre_shift, self._origin_shift = rule.centre_shift, rule.origin_shift
        self._from_cut = rule.origin == "cut"

    def at(self, centre: tuple[float, float], extent: Extent) -> Region:
        """Return the pixels that a crop of `extent` around `centre` (x, y in frame pixels) shows."""
        asked_width, asked_height, left, top = extent
        width = self._round_side(asked_width) or 1
        height = width if asked_height == asked_width else self._round_side(asked_height) or 1
        half_width, half_height = width / 2, height / 2
        if self._from_cut:
            left, top = half_width, half_height
        shift, origin_shift = self._centre_shift, self._origin_shift
        x = self._round_origin(centre[0] + shift - (left + origin_shift))
        y = self._round_origin(centre[1] + shift - (top + origin_shift))
        return x, y, width, height, (x + half_width - shift, y + half_height - shift)
