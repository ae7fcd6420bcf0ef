"""The frame-in form of a search graph: a whole frame and a target's state in, the next state out.

What the engine does on the host between two runs of the search graph (crop, scaling, limits) is inside: on a GPU a
frame is one launch, and frames chain without the host. The size of the frame is fixed in the graph.
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
from ..engine.target import Target
from ..errors import ExportError
from .device_crop import DeviceCrop
from .graphs import SearchGraph
from .onnx_graph import to_onnx

STATE = ("cx", "cy", "w", "h", "side", "first_w", "first_h", "first_side", "blue", "green", "red")
"""What a row of the state holds, float32, in frame pixels; the colour is the fill outside the frame."""


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


class FrameIn(nn.Module):
    """frame, state, params, kernels -> state', result.

    `search` is the ordinary search graph of crops of `size` pixels; `names` are the hyper-parameters in the order of
    `params`. Raises ExportError for rules that depend on what only the host knows (hysteresis, several search sizes,
    the colour of every frame) or that sample otherwise.
    """

    def __init__(
        self,
        search: SearchGraph,
        geometry: Geometry,
        searches: Sequence[Search],
        names: Sequence[str],
        frame_wh: tuple[int, int],
    ) -> None:
        super().__init__()
        _check(geometry, searches)
        self.search = search
        self.geometry = geometry
        self.size = searches[0].size
        self.frame_wh = float(frame_wh[0]), float(frame_wh[1])
        self.step_at = list(names).index(SCALE_STEP) if SCALE_STEP in names else None
        self.crop = DeviceCrop(geometry.crop, self.size)
        steps = torch.tensor(geometry.search_steps, dtype=torch.float32).reshape(1, -1)
        self.exponents: Tensor
        self.register_buffer("exponents", steps)

    def forward(self, frame: Tensor, state: Tensor, params: Tensor, *kernels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the next state [N, 11] and the result [N, 5]: cx, cy, w, h in frame pixels, score.

        frame: uint8 [H, W, 3] BGR; state: [N, 11] float32 as STATE; params and kernels as the search graph's.
        """
        now = _State(*torch.split(state, [1] * 8 + [3], 1))
        side = self._side(now)
        scales = self.exponents.shape[1]
        factors = (
            torch.pow(params[self.step_at], self.exponents) if self.step_at is not None else self.exponents * 0 + 1
        )
        centre = torch.cat([now.cx, now.cy], 1)
        cut = self.crop(
            frame,
            centre.repeat_interleave(scales, 0),
            (side * factors).reshape(-1, 1),
            now.fill.repeat_interleave(scales, 0),
        )
        pixels = self.size / side
        size = torch.cat([now.w, now.h], 1) * pixels
        box, score, *_ = self.search(cut.crop, size, params, *kernels)
        if self.geometry.crop.recentre:
            centre = cut.centre.reshape(-1, scales, 2)[:, scales // 2]
        moved = self._moved(now, centre, box / pixels)
        # What is not finite leaves the state as it was.
        score = score.reshape(-1, 1)
        finite = ((box * 0.0).sum(1, keepdim=True) + score * 0.0) == 0.0
        kept = torch.where(finite, moved, state[:, :5])
        report = (
            self._limited(now, *torch.split(kept, 1, 1)[:4]) if self.geometry.limits.of == "report" else kept[:, :4]
        )
        return torch.cat([kept, state[:, 5:]], 1), torch.cat([report, score], 1)

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
        width, height = self.frame_wh
        longest = MAX_SIZE * max(width, height)
        cx, cy = cx.clamp(-width, 2.0 * width), cy.clamp(-height, 2.0 * height)
        return torch.cat([cx, cy, w.clamp(MIN_SIZE, longest), h.clamp(MIN_SIZE, longest), side], 1)

    def _limited(self, now: _State, cx: Tensor, cy: Tensor, w: Tensor, h: Tensor) -> Tensor:
        limits, (width, height) = self.geometry.limits, self.frame_wh
        if limits.relative_size is not None:
            low, high = limits.relative_size
            w = _between(w, low * now.first_w, high * now.first_w)
            h = _between(h, low * now.first_h, high * now.first_h)
        if limits.centre_in_frame:
            cx, cy = cx.clamp(0.0, width), cy.clamp(0.0, height)
        if limits.max_size_frame:
            w, h = w.clamp(max=width), h.clamp(max=height)
        if limits.min_size is not None:
            w, h = w.clamp(min=limits.min_size), h.clamp(min=limits.min_size)
        return torch.cat([cx, cy, w, h], 1)


def state_of(target: Target, fill: Sequence[float]) -> Tensor:
    """Return the state [1, 11] of the engine's `target`, with the fill colour that goes with it."""
    values = (target.cx, target.cy, target.w, target.h, target.side, *target.first_size, target.first_side, *fill)
    return torch.tensor([values], dtype=torch.float32)


def frame_graph(module: FrameIn, state: Tensor, params: Tensor, kernels: Mapping[str, Tensor]) -> onnx.ModelProto:
    """Return `module` as ONNX: frame, state, params, kernels in; next_state, result out."""
    width, height = map(int, module.frame_wh)
    frame = torch.zeros(height, width, 3, dtype=torch.uint8)
    inputs = ["frame", "state", "params", *kernels]
    return to_onnx(module, (frame, state, params, *kernels.values()), inputs, ["next_state", "result"])


def _between(value: Tensor, low: Tensor, high: Tensor) -> Tensor:
    return torch.minimum(torch.maximum(value, low), high)


def _check(geometry: Geometry, searches: Sequence[Search]) -> None:
    refused = {
        "a target that can be lost and found": geometry.hysteresis is not None,
        "several sizes of search crop": len(searches) > 1,
        "a fill colour of every frame": geometry.crop.fill_from == "current",
        "crops sampled as they fall": geometry.crop.sampling != "resize",
        "scales cut out of each other": geometry.crop.pyramid == "nested" and len(geometry.search_steps) > 1,
    }
    for what, asked in refused.items():
        if asked:
            raise ExportError(f"the frame-in form has no {what}: use the ordinary search graph")
