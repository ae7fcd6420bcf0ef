"""LightFC's and FEAR's trackers as their repositories write them, beside those of `upstream_trackers`.

Both normalise crops before the network and pad what they cut, no more. The two upstreams turn whole frames into RGB as
they read them and do not time it: only the crops are turned here.

Source: LiYunfengLYF/LightFC:lib/test/tracker, PinataFarms/FEARTracker:model_training/tracker and dataset/box_coder.py.
"""

import math
from collections.abc import Sequence
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..engine.result import Box
from ..errors import UsageError
from ..models.imagenet import MEAN, STD
from .upstream_crop import Image, extended_crop, target_square
from .upstream_trackers import UpstreamTracker, relative_margin

Pixels = tuple[int, int, int, int]
STRIDE = 16
MARGIN = 2
"""Pixels that LightFC keeps of a box at the frame's border."""
LEAST_SIDE = 3
"""Pixels that a side of FEAR's boxes has at least."""
TIE = 5e-7
"""Scores of FEAR that are nearer than this may be equal in another runtime."""
PENALISED_NOISE = 2e-5
"""Neighbours are close where penalties and the window rank them; sums of logits are known better than that."""
NO_EXTRAS = {"penalty_k": 0.0, "window_influence": 1.0, "lr": 1.0}
"""What trk's step takes for LightFC, whose upstream has none of it."""


class LightFCTracker(UpstreamTracker):
    """LightFC's tracker: its decoding in PyTorch, mapped back in Python's floats; a mask is made that nothing reads."""

    def _start(self, frame: Image, box: Box) -> None:
        if any(self.params[name] != value for name, value in NO_EXTRAS.items()):
            raise UsageError(
                "LightFC's upstream has no hyper-parameters: leave --against out, or take a bundle with "
                f"{', '.join(f'{name} {value:g}' for name, value in NO_EXTRAS.items())}"
            )
        geometry = self.manifest.geometry
        self.box = box
        self.instance = self.manifest.searches[0].size
        self.factor = self.instance / geometry.exemplar_size
        device = self.network.device
        self.colours = [torch.tensor(values).view(1, 3, 1, 1).to(device) for values in (MEAN, STD)]
        self.window = bordered_window(self.instance // STRIDE).to(device)
        self.response = torch.zeros(2)
        factor = geometry.template_size / geometry.exemplar_size
        crop, _, mask = target_square(frame, box, factor, geometry.template_size)
        self.network.template(self._input(crop, mask))

    def _track(self, frame: Image) -> tuple[Box, float]:
        x, y, w, h = self.box
        exact = math.sqrt(w * h) * self.factor
        corner = (v + 0.5 * size - 0.5 * math.ceil(exact) for v, size in ((x, w), (y, h)))
        self.rounded = [exact + 0.5, *corner]  # the side is rounded up: it turns over where this one would at a half
        self._times[0] = perf_counter()
        crop, scale, mask = target_square(frame, self.box, self.factor, self.instance)
        score, sizes, offset = (found.detach() for found in self._maps(self._input(crop, mask)))
        self.response = self.window * score
        best = self.response.flatten().argmax()
        cells = score.shape[-1]
        place = torch.stack([best % cells, best.div(cells, rounding_mode="floor")])
        centre = (place.float() + offset.flatten(2)[0, :, best]) / cells
        found = torch.cat([centre, sizes.flatten(2)[0, :, best]]) * self.instance / scale
        dx, dy, new_w, new_h = found.tolist()
        half = 0.5 * self.instance / scale
        cx, cy = dx + (x + 0.5 * w - half), dy + (y + 0.5 * h - half)
        height, width = frame.shape[:2]
        left, new_w = clipped(cx - 0.5 * new_w, new_w, width)
        top, new_h = clipped(cy - 0.5 * new_h, new_h, height)
        self.box = left, top, new_w, new_h
        return self.box, float(score.flatten()[best])

    def margin(self) -> float:
        """Return the distance of the best two windowed scores, as a share of the best."""
        return relative_margin(self.response.cpu().numpy())

    def _input(self, crop: Image, mask: NDArray[np.bool_]) -> Tensor:
        """Return RGB [1, 3, S, S], normalised on the device, of a BGR crop [S, S, 3]. The mask is moved, too."""
        device, (mean, std) = self.network.device, self.colours
        image = torch.tensor(np.ascontiguousarray(crop[:, :, ::-1])).to(device).float().permute(2, 0, 1).unsqueeze(0)
        torch.from_numpy(mask).to(torch.bool).to(device).unsqueeze(0)
        return (image / 255.0 - mean) / std


class FearTracker(UpstreamTracker):
    """FEAR's tracker: boxes of whole pixels, crops as wide and as high as the box asks for."""

    noise = PENALISED_NOISE

    def _start(self, frame: Image, box: Box) -> None:
        context = self.manifest.geometry.box_context
        assert context is not None
        self.context = context
        self.mean = np.mean(frame, axis=(0, 1))
        self.box = clamped(box, frame)
        self.instance = self.manifest.searches[0].size
        side = self.instance // STRIDE
        self.grid = fear_grid(side, self.instance).to(self.network.device)
        self.window = torch.from_numpy(np.outer(np.hanning(side), np.hanning(side))).to(self.network.device)
        self.ranked = self.chosen_by = torch.zeros(2)
        self.colours = [np.array(values, np.float32) * np.float32(255) for values in (MEAN, STD)]
        self.colours[1] = np.reciprocal(self.colours[1])
        crop, _ = extended_crop(frame, self.box, context.template, self.manifest.geometry.template_size, self.mean)
        self.network.template(self._input(crop))

    def _track(self, frame: Image) -> tuple[Box, float]:
        self._times[0] = perf_counter()
        crop, (left, top, wide, high) = extended_crop(frame, self.box, self.context.search, self.instance, self.mean)
        cls, distances = (found.detach().float() for found in self._maps(self._input(crop)))
        scale_x, scale_y = wide / self.instance, high / self.instance
        (x, y, w, h), score = self._choose(cls, distances[0], (self.box[2] / scale_x, self.box[3] / scale_y))
        self.rounded = [x * scale_x + left, y * scale_y + top, w * scale_x, h * scale_y]
        x, y, w, h = (round(value) for value in self.rounded)
        self.box = clamped((x, y, max(LEAST_SIDE, w), max(LEAST_SIDE, h)), frame)
        return (float(self.box[0]), float(self.box[1]), float(self.box[2]), float(self.box[3])), score

    def margin(self) -> float:
        """Return the distance of the best two as a share of the best: of logits, or of penalised scores.

        Scores next to 1 are no share apart where logits clearly are; 0 where float32 can hardly tell them apart.
        """
        second, first = np.partition(self.chosen_by.cpu().numpy(), -2, axis=None)[-2:]
        return 0.0 if first - second < TIE else relative_margin(self.ranked.cpu().numpy())

    def _choose(self, logits: Tensor, distances: Tensor, size: tuple[float, float]) -> tuple[Box, float]:
        """Return the best box (x, y, w, h in crop pixels) and its score; `size`: the target's in crop pixels.

        logits [1, 1, S, S], distances [4, S, S].
        """
        score = logits[0, 0].sigmoid()
        corners = torch.cat([self.grid - distances[:2], self.grid + distances[2:]])
        self.ranked, self.chosen_by, penalty = logits, score, None
        if self.params["smooth"]:
            penalty = self._penalty(corners[2] - corners[0], corners[3] - corners[1], size)
            influence = self.params["window_influence"]
            self.ranked = self.chosen_by = penalty * score * (1 - influence) + self.window * influence
        row, column = divmod(int(self.chosen_by.argmax()), score.shape[-1])
        x, y, right, bottom = corners[:, row, column].cpu().numpy()
        w, h = right - x, bottom - y
        if penalty is not None:
            # In float32, as the score is. Upstream smooths twice over, and the corner stays.
            rate = (score[row, column] * penalty[row, column].item() * self.params["lr"]).item()
            w, h = (
                old * (1 - rate) + rate * (new * rate + old * (1 - rate)) for new, old in zip((w, h), size, strict=True)
            )
        return (float(x), float(y), float(w), float(h)), score[row, column].item()

    def _penalty(self, w: Tensor, h: Tensor, size: tuple[float, float]) -> Tensor:
        scale = _change(_padded_side(w, h) / math.sqrt((size[0] + sum(size) / 2) * (size[1] + sum(size) / 2)))
        ratio = _change((size[0] / size[1]) / (w / h))
        return torch.exp(-(ratio * scale - 1) * self.params["penalty_k"])

    def _input(self, crop: Image) -> Tensor:
        """Return RGB [1, 3, S, S], normalised, of a BGR crop [S, S, 3]: in memory its channels come last."""
        mean, scale = self.colours
        image = np.ascontiguousarray(crop[:, :, ::-1]).astype(np.float32)
        image -= mean
        image *= scale
        return torch.from_numpy(image.transpose(2, 0, 1)[np.newaxis]).float()


def bordered_window(side: int) -> Tensor:
    """Return the outer product of two Hann windows [1, 1, side, side] whose zeros lie outside."""
    hann = 0.5 * (1 - torch.cos((2 * math.pi / (side + 1)) * torch.arange(1, side + 1).float()))
    return (hann.view(1, 1, -1, 1) * hann.view(1, 1, 1, -1)).contiguous()


def fear_grid(side: int, search_size: int) -> Tensor:
    """Return x and y of the cells [2, side, side] in search crop pixels, double."""
    steps = (np.arange(side) - side // 2) * float(STRIDE) + search_size // 2
    return torch.from_numpy(np.stack(np.meshgrid(steps, steps)))


def clipped(start: float, length: float, limit: int) -> tuple[float, float]:
    """Return what of [start, start + length] lies within 0..limit, MARGIN pixels at least, as start and length."""
    end = min(max(MARGIN, start + length), limit)
    first = min(max(0, start), limit - MARGIN)
    return first, max(MARGIN, end - first)


def clamped(box: Sequence[float], frame: Image) -> Pixels:
    """Return `box` (x, y, w, h) in whole pixels within `frame`: moved over the left and top edge, cut at the others."""
    (x, w), (y, h) = (_within(box[i], box[i + 2], frame.shape[1 - i]) for i in (0, 1))
    return x, y, w, h


def _within(start: float, length: float, limit: int) -> tuple[int, int]:
    first = min(max(0, start), limit)
    end = min(max(0, first + length), limit)
    whole, size = int(first), int(end - first)
    if size < LEAST_SIDE:
        size = LEAST_SIDE
        whole -= max(0, whole + size - limit)
    return whole, size


def _change(ratio: Tensor) -> Tensor:
    return torch.maximum(ratio, 1.0 / ratio)


def _padded_side(w: Tensor, h: Tensor) -> Tensor:
    padding = (w + h) * 0.5
    return torch.sqrt((w + padding) * (h + padding))
