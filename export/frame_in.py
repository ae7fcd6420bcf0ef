"""The frame-in form of a search graph: a whole frame and a target's state in, the next state out.

What the engine does on the host between two runs of the search graph (crop, scaling, limits) is inside: on a GPU a
frame is one launch, and frames chain without the host, for programs that need no box in between. The engine itself
takes frame_search.py's, whose host moves the target: that holds every rule, and what the engine does beside.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import onnx
import torch
from torch import Tensor, nn

from ..engine.boxes import MAX_SIZE, MIN_SIZE
from ..engine.geometry import Geometry
from ..engine.manifest import Search
from ..engine.params import SCALE_STEP
from ..engine.regions import refusal
from ..engine.target import Target
from ..errors import ExportError
from .device_crop import ANY_FRAME, DeviceCrop, rounded
from .graphs import SearchGraph
from .onnx_graph import to_onnx

STATE: tuple[str, ...] = ("cx", "cy", "w", "h", "side", "first_w", "first_h", "first_side")
STATE += ("blue", "green", "red", "width", "height")
"""What a row of the state holds, float32, in frame pixels; the colour outside the frame; the frame's size."""


class _State(NamedTuple):
    """The columns of a state, [N, 1] each."""

    cx: Tensor
    cy: Tensor
    w: Tensor
    h: Tensor
    side: Tensor
    first_w: Tensor
    first_h: Tensor
    first_side: Tensor
    fill: Tensor
    """[N, 3]"""
    width: Tensor
    height: Tensor


class FrameIn(nn.Module):
    """frame, state, params, kernels -> state', result.

    `search` is the ordinary search graph of crops of `size` pixels; `names` are the hyper-parameters in the order of
    `params`. Raises ExportError for rules that depend on what only the host knows (hysteresis, several search sizes,
    the colour of every frame) or that sample otherwise.
    """

    def __init__(
        self, search: SearchGraph, geometry: Geometry, searches: Sequence[Search], names: Sequence[str]
    ) -> None:
        super().__init__()
        _check(geometry, searches)
        self.search = search
        self.geometry = geometry
        self.size = searches[0].size
        self.step_at = list(names).index(SCALE_STEP) if SCALE_STEP in names else None
        self.crop = DeviceCrop(self.size)
        steps = torch.tensor(geometry.search_steps, dtype=torch.float32).reshape(1, -1)
        self.exponents: Tensor
        self.register_buffer("exponents", steps)

    def forward(self, frame: Tensor, state: Tensor, params: Tensor, *kernels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the next state [N, 13] and the result [N, 5]: cx, cy, w, h in frame pixels, score.

        frame: uint8 [H, W, 3] or [H * W, 3] BGR; state: [N, 13] float32 as STATE; params and kernels as the search
        graph's.
        """
        now = _State(*torch.split(state, [*[1] * 8, 3, 1, 1], 1))
        side = self._side(now)
        scales = self.exponents.shape[1]
        factors = (
            torch.pow(params[self.step_at], self.exponents) if self.step_at is not None else self.exponents * 0 + 1
        )
        centre = torch.cat([now.cx, now.cy], 1)
        region, middles = self._region(now, centre, side * factors)
        pixels = self.size / side
        size = torch.cat([now.w, now.h], 1) * pixels
        box, score, *_ = self.search(self.crop(frame, region), size, params, *kernels)
        if self.geometry.crop.recentre:
            centre = middles.reshape(-1, scales, 2)[:, scales // 2]
        moved = self._moved(now, centre, box / pixels)
        # What is not finite leaves the state as it was.
        score = score.reshape(-1, 1)
        finite = ((box * 0.0).sum(1, keepdim=True) + score * 0.0) == 0.0
        kept = torch.where(finite, moved, state[:, :5])
        report = (
            self._limited(now, *torch.split(kept, 1, 1)[:4]) if self.geometry.limits.of == "report" else kept[:, :4]
        )
        return torch.cat([kept, state[:, 5:]], 1), torch.cat([report, score], 1)

    def _region(self, now: _State, centre: Tensor, sides: Tensor) -> tuple[Tensor, Tensor]:
        """Return the rows of regions.REGION for crops of `sides` [N, scales], and the centres [N * scales, 2] cut."""
        rule, scales = self.geometry.crop, sides.shape[1]
        s = rounded(sides.reshape(-1, 1), rule.side_rounding).clamp(min=1.0)
        middle = centre.repeat_interleave(scales, 0) + rule.centre_shift
        corner = rounded(middle - (s / 2 + rule.origin_shift), rule.origin_rounding)
        of_target = torch.cat([now.fill, now.width, now.height], 1).repeat_interleave(scales, 0)
        return torch.cat([corner, s, of_target], 1), corner + s / 2 - rule.centre_shift

    def _side(self, now: _State) -> Tensor:
        if self.geometry.side == "running":
            return now.side
        context = self.geometry.context_amount * (now.w + now.h)
        side = torch.sqrt((now.w + context) * (now.h + context))
        return side * (self.size / self.geometry.exemplar_size)

    def _moved(self, now: _State, centre: Tensor, found: Tensor) -> Tensor:
        """Return cx, cy, w, h, side [N, 5] after the step found `found`, in frame pixels."""
        cx, cy, w, h = torch.split(torch.cat([centre + found[:, :2], found[:, 2:]], 1), 1, 1)
        side = now.side
        if self.geometry.side == "running":
            low, high = self.geometry.limits.relative_side or (0.01, 100.0)
            side = _between(side * (w / now.w), low * now.first_side, high * now.first_side)
        if self.geometry.limits.of == "state":
            cx, cy, w, h = torch.split(self._limited(now, cx, cy, w, h), 1, 1)
        width, height = now.width, now.height
        longest = MAX_SIZE * torch.maximum(width, height)
        cx, cy = _between(cx, -width, 2.0 * width), _between(cy, -height, 2.0 * height)
        w, h = (torch.minimum(value.clamp(min=MIN_SIZE), longest) for value in (w, h))
        return torch.cat([cx, cy, w, h, side], 1)

    def _limited(self, now: _State, cx: Tensor, cy: Tensor, w: Tensor, h: Tensor) -> Tensor:
        limits, width, height = self.geometry.limits, now.width, now.height
        if limits.relative_size is not None:
            low, high = limits.relative_size
            w = _between(w, low * now.first_w, high * now.first_w)
            h = _between(h, low * now.first_h, high * now.first_h)
        if limits.centre_in_frame:
            cx, cy = torch.minimum(cx.clamp(min=0.0), width), torch.minimum(cy.clamp(min=0.0), height)
        if limits.max_size_frame:
            w, h = torch.minimum(w, width), torch.minimum(h, height)
        if limits.min_size is not None:
            w, h = w.clamp(min=limits.min_size), h.clamp(min=limits.min_size)
        return torch.cat([cx, cy, w, h], 1)


def state_of(target: Target, fill: Sequence[float], frame_wh: tuple[int, int]) -> Tensor:
    """Return the state [1, 13] of the engine's `target`, with the fill colour and the frame that go with it."""
    values = (target.cx, target.cy, target.w, target.h, target.side, *target.first_size, target.first_side)
    return torch.tensor([[*values, *fill, *frame_wh]], dtype=torch.float32)


def frame_graph(module: FrameIn, state: Tensor, params: Tensor, kernels: Mapping[str, Tensor]) -> onnx.ModelProto:
    """Return `module` as ONNX: frame of any size, state, params, kernels in; next_state, result out."""
    frame = torch.zeros(240 * 320, 3, dtype=torch.uint8)
    inputs = ["frame", "state", "params", *kernels]
    shapes = (ANY_FRAME, None, None, (None,) * len(kernels))
    return to_onnx(module, (frame, state, params, *kernels.values()), inputs, ["next_state", "result"], shapes)


def _between(value: Tensor, low: Tensor, high: Tensor) -> Tensor:
    return torch.minimum(torch.maximum(value, low), high)


def _check(geometry: Geometry, searches: Sequence[Search]) -> None:
    refused = {
        "a target that can be lost and found": geometry.hysteresis is not None,
        "several sizes of search crop": len(searches) > 1,
        "a fill colour of every frame": geometry.crop.fill_from == "current",
    }
    why = next((f"no {what}" for what, asked in refused.items() if asked), None) or refusal(geometry)
    if why:
        raise ExportError(f"this model has no frame-in form ({why}): use the ordinary search graph")
