"""`Tracker`: one box in the first frame, then a box in every frame."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from ..errors import TrkError
from ..weights.shipped import default_bundle
from .backends import load_backend
from .boxes import check_box
from .bundle import Bundle
from .crop import Cropper, check_frame, fill_colour, mean_colour
from .manifest import Manifest
from .params import SCALE_STEP, choose_params
from .result import Result, StageTimes
from .state import State
from .target import Motion


class Tracker:
    """Tracks one target with a bundle.

        tracker = Tracker()
        tracker.init(frame, (x, y, w, h))
        result = tracker.update(next_frame)

    A frame is uint8 [H, W, 3] BGR as OpenCV gives it, contiguous or not, and is never modified. A box is x, y, w, h:
    top-left corner, 0-indexed float pixels.

    `bundle`: folder or `.trk` file; None is the bundle that ships with trk. `preset`: one of the bundle's sets of
    hyper-parameters; `params` overrides single ones. `backend`, `device`, `threads`: see `load_backend`; nothing that
    was asked for is ever replaced silently. One tracker serves one thread.
    """

    def __init__(
        self,
        bundle: Bundle | Path | str | None = None,
        backend: str = "auto",
        device: str | None = None,
        threads: int | None = None,
        *,
        preset: str | None = None,
        params: Mapping[str, float] | None = None,
    ):
        self.bundle = bundle if isinstance(bundle, Bundle) else Bundle(default_bundle() if bundle is None else bundle)
        self.manifest: Manifest = self.bundle.manifest
        try:
            self.backend = load_backend(self.bundle, backend, device, threads)
        finally:
            if self.bundle is not bundle:  # a caller's own may be read from again
                self.bundle.close()
        self.params = choose_params(self.manifest, preset, params)
        self.stages = StageTimes(0.0, 0.0, 0.0)
        """Seconds that the parts of the last `init` or `update` took."""
        geometry = self.manifest.geometry
        self._motion = Motion(geometry, self.manifest.searches)
        self._cropper = Cropper(geometry.crop)
        step = self.params.get(SCALE_STEP, 1.0)
        self._template_factors = [step**exponent for exponent in geometry.template_steps]
        self._search_factors = [step**exponent for exponent in geometry.search_steps]
        self._param_arrays = [
            np.array([{**self.params, **search.params}[name] for name in self.params], np.float32)
            for search in self.manifest.searches
        ]
        self._size = np.zeros((1, 2), np.float32)
        self.state: State | None = None
        """The target's, None before `init`. A tracker goes on with any state of its bundle that is put here."""

    def twin(self) -> "Tracker":
        """Another tracker over the same loaded network, without a target: for a thread of its own."""
        twin = copy.copy(self)
        twin.backend = self.backend.lane()
        twin._cropper = Cropper(self.manifest.geometry.crop)
        twin._size = np.zeros_like(self._size)
        twin.state = None
        return twin

    def init(self, frame: NDArray[np.uint8], box: Sequence[float]) -> None:
        """Take `box` in `frame` as the target: its kernels are computed here, once. Raises FrameError, BoxError."""
        started = perf_counter()
        check_frame(frame)
        frame_wh = (frame.shape[1], frame.shape[0])
        target = self._motion.start(check_box(box, frame_wh), mean_colour(frame), frame_wh)
        geometry = self.manifest.geometry
        fill = fill_colour(target.mean, geometry.crop)
        side = self._motion.context_side(target.w, target.h) * (geometry.template_size / geometry.exemplar_size)
        crop_started = perf_counter()
        self._cropper.cut_pyramid(
            frame,
            (target.cx, target.cy),
            [side * factor for factor in self._template_factors],
            fill,
            self.backend.template_crop,
        )
        network_started = perf_counter()
        pixels = geometry.template_size / side
        self._size[0] = target.w * pixels, target.h * pixels
        self.state = State(target, self.backend.template(self._size, self._param_arrays[0]), fill)
        self._time(started, crop_started, network_started, perf_counter())

    def update(self, frame: NDArray[np.uint8]) -> Result:
        """Return where the target is in `frame`. Raises FrameError; TrkError before `init`."""
        started = perf_counter()
        state = self.state
        if state is None:
            raise TrkError("update before init: call tracker.init(frame, (x, y, w, h)) with the target's box first")
        check_frame(frame)
        target, motion, crop_rule = state.target, self._motion, self.manifest.geometry.crop
        graph = motion.graph_for(target)
        side = motion.search_side(target, graph)
        crop_started = perf_counter()
        if crop_rule.fill_from == "current":
            state.fill = fill_colour(mean_colour(frame), crop_rule)
        cut = self._cropper.cut_pyramid(
            frame,
            (target.cx, target.cy),
            [side * factor for factor in self._search_factors],
            state.fill,
            self.backend.search_crops[graph],
        )
        network_started = perf_counter()
        pixels = self.manifest.searches[graph].size / side
        self._size[0] = target.w * pixels, target.h * pixels
        found = self.backend.search(graph, state.kernels, self._size, self._param_arrays[graph])
        network_ended = perf_counter()
        dx, dy, w, h = found.box[0].tolist()
        score = float(found.score[0])
        box = motion.advance(
            target,
            cut if crop_rule.recentre else (target.cx, target.cy),
            (dx / pixels, dy / pixels, w / pixels, h / pixels),
            score,
            (frame.shape[1], frame.shape[0]),
        )
        seconds = self._time(started, crop_started, network_started, network_ended)
        return Result(box, score, target.lost, target.frame_index, seconds)

    def _time(self, started: float, crop: float, network: float, network_ended: float) -> float:
        ended = perf_counter()
        total = ended - started
        self.stages = StageTimes(network - crop, network_ended - network, total - (network_ended - crop))
        return total
