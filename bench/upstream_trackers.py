"""Trackers as the upstream repositories write them: NumPy around an eager network. Written to be compared against.

Boxes follow trk's convention, so that they can be compared with a bundle's: the centre is x + w/2 and back; only
siamfc-pytorch's own, (w - 1)/2 both ways, is exactly undone.

Source: STVIR/pysot:pysot/tracker/siamrpn_tracker.py, HonglinChu/SiamTrackers:NanoTrack/nanotrack/tracker,
foolwood/DaSiamRPN:code/run_SiamRPN.py, researchmm/SiamDW:lib/tracker/siamrpn.py and siamfc.py,
huanglianghua/siamfc-pytorch:siamfc/siamfc.py.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from time import perf_counter
from typing import ClassVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from ..engine.geometry import round_as
from ..engine.manifest import Manifest
from ..engine.result import Box, Result, StageTimes
from .upstream_crop import Image, crop_and_resize, network_input, scale_pyramid, subwindow
from .upstream_networks import EagerNetwork
from .upstream_proposals import Proposals, check_side

CONTEXT = 0.5
ROUNDING = 0.01
"""Pixels within which a corner or side may be rounded the other way in another runtime, whose box differs that much."""
UPSAMPLE = 16
"""Factor by which SiamFC's score maps are enlarged."""
ENLARGED_NOISE = 5e-6
"""Neighbours in an enlarged map are always close; a score is known better than one that went through a softmax."""


class UpstreamTracker(ABC):
    """`init` and `update` as `engine.tracker.Tracker` has them, with the times of the same stages.

    Stages: `crop` is cutting, the conversion to float32 and normalisation, `network` the eager network alone, `host`
    everything else, decoding included. In a bundle both the conversion and the decoding are part of the network's
    graph. On a GPU the network is only launched within `network`: whoever needs its maps first waits for them, as
    upstream does.
    """

    noise: ClassVar[float] = 1e-4
    """Margin, as a share of the best value, below which rounding may decide a choice."""

    def __init__(self, network: EagerNetwork, manifest: Manifest, params: dict[str, float]):
        self.network = network
        self.manifest = manifest
        self.params = params
        self.stages = StageTimes(0.0, 0.0, 0.0)
        self.frame_index = 0
        self.rounded: list[float] = []
        """What was rounded to whole pixels for the last box: its search crop's corner and side, or the box itself."""
        self._times = [0.0, 0.0, 0.0]

    def init(self, frame: Image, box: Sequence[float]) -> None:
        """Take `box` in `frame` as the target."""
        self.frame_index = 0
        self._start(frame, (float(box[0]), float(box[1]), float(box[2]), float(box[3])))

    def update(self, frame: Image) -> Result:
        """Return where the target is in `frame`."""
        started = perf_counter()
        box, score = self._track(frame)
        total = perf_counter() - started
        crop_started, network_started, network_ended = self._times
        self.stages = StageTimes(
            network_started - crop_started,
            network_ended - network_started,
            total - (network_ended - crop_started),
        )
        self.frame_index += 1
        return Result(box, score, False, self.frame_index, total)

    def is_close_call(self, apart: float = 0.0) -> bool:
        """Return whether rounding may have decided the last frame: another runtime may decide it otherwise.

        Either the best two choices were as good as equal, or a number that was rounded to whole pixels for the crop
        lay next to a half: nearer than ROUNDING, or than the two runtimes were `apart` before it, in pixels.
        """
        to_half = min((abs(value % 1 - 0.5) for value in self.rounded), default=0.5)
        return to_half < max(ROUNDING, 2 * apart) or self.margin() < self.noise

    @abstractmethod
    def margin(self) -> float:
        """Return by what share of its value the last choice won."""

    @abstractmethod
    def _start(self, frame: Image, box: Box) -> None: ...

    @abstractmethod
    def _track(self, frame: Image) -> tuple[Box, float]: ...

    def _search(self, crops: Image) -> tuple[torch.Tensor, ...]:
        return self._maps(torch.from_numpy(network_input(crops)))

    def _maps(self, tensor: torch.Tensor) -> tuple[torch.Tensor, ...]:
        self._times[1] = perf_counter()
        maps = self.network.search(tensor)
        self._times[2] = perf_counter()
        return maps


class ProposalTracker(UpstreamTracker):
    """PySOT's, NanoTrack's, DaSiamRPN's and SiamDW's SiamRPN trackers; their roundings are the manifest's."""

    def _start(self, frame: Image, box: Box) -> None:
        x, y, w, h = box
        geometry = self.manifest.geometry
        height, width = frame.shape[:2]
        self.mean = np.mean(frame, axis=(0, 1))
        self.centre, self.size = np.array([x + w / 2, y + h / 2]), np.array([w, h])
        small = geometry.small_target_area is not None and w * h / (width * height) < geometry.small_target_area
        conditions = {search.when: search for search in self.manifest.searches}
        self.instance = conditions["small_target" if small and "small_target" in conditions else "always"].size
        side = round_as(float(self._context_side()), geometry.crop.side_rounding)
        crop = subwindow(
            frame, self.centre.tolist(), geometry.template_size, side, self.mean, geometry.crop.origin_rounding
        )
        self.network.template(torch.from_numpy(network_input(crop)))
        self.proposals: Proposals | None = None

    def _track(self, frame: Image) -> tuple[Box, float]:
        geometry = self.manifest.geometry
        s_z = self._context_side()
        scale = geometry.exemplar_size / s_z
        exact = float(s_z * (self.instance / geometry.exemplar_size))
        side = round_as(exact, geometry.crop.side_rounding)
        self.rounded = [exact, *(value - (side + 1) / 2 for value in self.centre.tolist())]
        self._times[0] = perf_counter()
        crop = subwindow(frame, self.centre.tolist(), self.instance, side, self.mean, geometry.crop.origin_rounding)
        cls, loc = self._search(crop)
        if self.proposals is None:
            self.proposals = Proposals(cls, loc, self.instance - geometry.exemplar_size)
        found = self.proposals.choose(cls, loc, self.size * scale, self.params)
        height, width = frame.shape[:2]
        moved = found.box / scale
        rate = found.penalty * found.score * self.params["lr"]
        w, h = self.size * (1 - rate) + moved[2:] * rate
        cx, cy = self.centre + moved[:2]
        cx, cy = max(0, min(cx, width)), max(0, min(cy, height))
        w, h = max(10, min(w, width)), max(10, min(h, height))
        self.centre, self.size = np.array([cx, cy]), np.array([w, h])
        return (float(cx - w / 2), float(cy - h / 2), float(w), float(h)), float(found.score)

    def margin(self) -> float:
        """Return the distance of the best two ranked scores, as a share of the best."""
        return 1.0 if self.proposals is None else relative_margin(self.proposals.ranked)

    def _context_side(self) -> float:
        w, h = self.size
        context = CONTEXT * (w + h)
        return float(np.sqrt((w + context) * (h + context)))


class SiamFCTracker(UpstreamTracker):
    """siamfc-pytorch's tracker: three crops, float32 state in (y, x) order, nothing clipped."""

    noise = ENLARGED_NOISE

    def _start(self, frame: Image, box: Box) -> None:
        x, y, w, h = box
        self.mean = np.mean(frame, axis=(0, 1))
        self.centre = np.array([y + (h - 1) / 2, x + (w - 1) / 2], np.float32)
        self.size = np.array([h, w], np.float32)
        self.instance = self.manifest.searches[0].size
        self.factors = self.params["scale_step"] ** np.linspace(-1, 1, 3)
        side = np.sqrt(np.prod(self.size + CONTEXT * np.sum(self.size)))
        self.x_side = side * self.instance / self.manifest.geometry.exemplar_size
        template = self.manifest.geometry.template_size
        crop = crop_and_resize(frame, self.centre, side, template, self.mean)[:, :, ::-1]
        self.network.template(torch.from_numpy(network_input(crop)))
        self.window: NDArray[np.float64] | None = None

    def _track(self, frame: Image) -> tuple[Box, float]:
        sides = (self.x_side * self.factors).tolist()
        self.rounded = [*sides, *(c - (round(s) - 1) / 2 for c in self.centre.tolist() for s in sides)]
        self._times[0] = perf_counter()
        crops = [crop_and_resize(frame, self.centre, side, self.instance, self.mean) for side in sides]
        # Upstream turns whole frames into RGB as it reads them and does not time it: only the crops are turned here.
        (score,) = self._search(np.stack(crops)[:, :, :, ::-1])
        maps = score.detach().squeeze(1).cpu().numpy()
        fine = maps.shape[1] * UPSAMPLE
        responses = np.stack([cv2.resize(m, (fine, fine), interpolation=cv2.INTER_CUBIC) for m in maps])
        responses[0] *= self.params["scale_penalty"]
        responses[2] *= self.params["scale_penalty"]
        self.peaks = np.amax(responses, axis=(1, 2))
        best = int(np.argmax(self.peaks))
        response = responses[best]
        response -= response.min()
        response /= response.sum() + 1e-16
        if self.window is None:
            self.window = normalised_window(fine)
        influence = self.params["window_influence"]
        self.ranked = (1 - influence) * response + influence * self.window
        place = np.unravel_index(self.ranked.argmax(), self.ranked.shape)
        moved = (np.array(place) - (fine - 1) / 2) * (8 / UPSAMPLE)
        self.centre += moved * self.x_side * self.factors[best] / self.instance
        scale = (1 - self.params["scale_lr"]) + self.params["scale_lr"] * self.factors[best]
        self.size *= scale
        self.x_side *= scale
        (cy, cx), (h, w) = self.centre.tolist(), self.size.tolist()
        return (cx - (w - 1) / 2, cy - (h - 1) / 2, w, h), float(self.peaks[best])

    def margin(self) -> float:
        """Return the smaller margin of the two choices: the scale, and the cell of its map."""
        return min(relative_margin(self.peaks), relative_margin(self.ranked))


class SiamDWFCTracker(UpstreamTracker):
    """SiamDW's SiamFC tracker: a nested pyramid, only the maxima penalised, a search side that is carried along."""

    noise = ENLARGED_NOISE

    def _start(self, frame: Image, box: Box) -> None:
        x, y, w, h = box
        exemplar = self.manifest.geometry.exemplar_size
        self.mean = np.mean(frame, axis=(0, 1))
        self.centre, self.size = np.array([x + w / 2, y + h / 2]), np.array([w, h])
        self.instance = self.manifest.searches[0].size
        context = CONTEXT * (w + h)
        side = round(float(np.sqrt((w + context) * (h + context))))
        self.x_side = side + (self.instance - exemplar) / (exemplar / side)
        self.limits = 0.2 * self.x_side, 5 * self.x_side
        self.factors = self.params["scale_step"] ** np.arange(-1.0, 2.0)
        crop = subwindow(frame, self.centre.tolist(), exemplar, side, self.mean, "half_even")
        self.network.template(torch.from_numpy(network_input(crop)))
        self.window: NDArray[np.float64] | None = None

    def _track(self, frame: Image) -> tuple[Box, float]:
        sides = self.x_side * self.factors
        largest = round(float(sides[-1]))
        self.rounded = [*sides.tolist(), *(value - (largest + 1) / 2 for value in self.centre.tolist())]
        self._times[0] = perf_counter()
        (score,) = self._search(scale_pyramid(frame, self.centre.tolist(), sides, self.instance, self.mean))
        maps = score.squeeze(1).permute(1, 2, 0).detach().cpu().numpy()
        check_side(maps.shape[0], self.instance - self.manifest.geometry.exemplar_size, (0,))
        fine = maps.shape[0] * UPSAMPLE
        responses = cv2.resize(maps, (fine, fine), interpolation=cv2.INTER_CUBIC)
        penalty = self.params["scale_penalty"]
        self.peaks = np.max(responses, axis=(0, 1)) * np.array([penalty, 1.0, penalty])
        best = int(np.argmax(self.peaks))
        response = responses[..., best]
        peak = float(response.max())
        response = response - response.min()
        response = response / response.sum()
        if self.window is None:
            self.window = normalised_window(fine)
        influence = self.params["window_influence"]
        self.ranked = (1 - influence) * response + influence * self.window
        row, column = np.unravel_index(self.ranked.argmax(), self.ranked.shape)
        moved = (np.array([column, row]) - np.ceil(fine / 2)) * (8 / UPSAMPLE)
        height, width = frame.shape[:2]
        cx, cy = self.centre + moved * self.x_side / self.instance
        lr = self.params["scale_lr"]
        self.x_side = max(self.limits[0], min(self.limits[1], (1 - lr) * self.x_side + lr * sides[best]))
        w, h = self.size * ((1 - lr) + lr * self.factors[best])
        cx, cy = max(0, min(width, cx)), max(0, min(height, cy))
        w, h = max(10, min(width, w)), max(10, min(height, h))
        self.centre, self.size = np.array([cx, cy]), np.array([w, h])
        return (float(cx - w / 2), float(cy - h / 2), float(w), float(h)), peak

    def margin(self) -> float:
        """Return the smaller margin of the two choices: the scale, and the cell of its map."""
        return min(relative_margin(self.peaks), relative_margin(self.ranked))


def normalised_window(side: int) -> NDArray[np.float64]:
    """Return the outer product of two Hann windows [side, side], divided by its sum."""
    hann = np.hanning(side)
    window: NDArray[np.float64] = np.outer(hann, hann)
    window /= window.sum()
    return window


def relative_margin(values: NDArray[np.floating]) -> float:
    """Return by what share of the largest value the second largest is below it."""
    second, first = np.partition(values, -2, axis=None)[-2:]
    return float((first - second) / abs(first)) if first else 0.0
