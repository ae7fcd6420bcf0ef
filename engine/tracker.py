"""`Tracker`: one box in the first frame, then a box in every frame."""

import copy
from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from math import inf, isfinite
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from ..errors import TrkError
from ..weights.shipped import bundle_path
from .ask import Ask, Cut, Found, Look, Turn, look_at
from .backends import load_backend
from .backends.base import Crops, Kernels
from .boxes import check_box
from .bundle import Bundle
from .confidence import running_mean
from .crop import Image, fill_colour, mean_colour
from .device_frame import AnyFrame, Frame, as_frame
from .geometry import scaled
from .manifest import Manifest
from .params import SCALE_STEP, WINDOW_INFLUENCE, choose_params
from .policy import choose_policy
from .result import Box, Result, StageTimes
from .scan import windows
from .state import State
from .target import Motion, Target
from .template_update import ANCHORED, choose_rate, is_due


class Tracker:
    """Tracks one target with a bundle.

        tracker = Tracker()
        tracker.init(frame, (x, y, w, h))
        result = tracker.update(next_frame)

    A frame is an array uint8 [H, W, 3] BGR as OpenCV gives it, contiguous or not, and is never modified. A box is
    x, y, w, h: top-left corner, 0-indexed float pixels.

    `bundle`: folder or `.trk` file; None is the bundle that ships with trk, "int8" its INT8 twin. `preset`: one of the
    bundle's sets of hyper-parameters; `params` overrides single ones. `backend`, `device`, `threads`: see
    `load_backend`; nothing that was asked for is ever replaced silently. `on_lost`: what happens while the target is
    lost, one of `policy.POLICIES`; None is the bundle's, "follow" for every model of an upstream. `template_rate`:
    share, 0 to 1, of the newest appearance in the running mean that the template follows; 0, what every upstream does,
    leaves it as `init` saw it; None is the bundle's, 0 for every model of an upstream. Policies other than "follow",
    and rates above 0, need a calibrated bundle. On a GPU frames may be there already, as anything that speaks DLPack or
    `__cuda_array_interface__`. One tracker serves one thread.
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
        on_lost: str | None = None,
        template_rate: float | None = None,
    ):
        self.bundle = bundle if isinstance(bundle, Bundle) else Bundle(bundle_path(bundle))
        self.manifest: Manifest = self.bundle.manifest
        self.policy = choose_policy(on_lost, self.manifest)
        self.template_rate = choose_rate(template_rate, self.manifest)
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
        self._cropper = self.backend.cropper(geometry.crop)
        step = self.params.get(SCALE_STEP, 1.0)
        self._template_factors = [step**exponent for exponent in geometry.template_steps]
        single = geometry.search_steps == (0,)
        self._search_factors = [] if single else [step**exponent for exponent in geometry.search_steps]
        # Read once: attributes of pydantic's models are slow, and these are asked for in every frame.
        self._search_sizes = [search.size for search in self.manifest.searches]
        self._fills_anew = geometry.crop.fill_from == "current"
        self._recentres = geometry.crop.recentre
        self._scales_by_cut = geometry.crop.scale == "cut"
        self._has_hysteresis = geometry.hysteresis is not None
        self._param_arrays = [self._array({**self.params, **search.params}) for search in self.manifest.searches]
        # A window that is far from where the target was says nothing about where in it the target is.
        self._scan_params = self._array({**self.params, WINDOW_INFLUENCE: 0.0})
        self._size = np.zeros((1, 2), np.float32)
        self.state: State | None = None
        """The target's, None before `init`. A tracker goes on with any state of its bundle that is put here."""

    def twin(self) -> "Tracker":
        """Another tracker over the same loaded network, without a target: for a thread of its own."""
        twin = copy.copy(self)
        twin.backend = self.backend.lane()
        twin._cropper = twin.backend.cropper(self.manifest.geometry.crop)
        twin._size = np.zeros_like(self._size)
        twin.state = None
        return twin

    def init(self, frame: AnyFrame, box: Sequence[float]) -> None:
        """Take `box` in `frame` as the target: its kernels are computed here, once. Raises FrameError, BoxError."""
        started = self.begin()
        seen = self.check(frame)
        frame_wh = seen.shape[1], seen.shape[0]
        target = self._motion.start(check_box(box, frame_wh), mean_colour(self._pixels(seen)), frame_wh)
        fill = fill_colour(target.mean, self.manifest.geometry.crop)
        self.state = State(target, self._template(seen, target, fill), fill)
        self.end(started)

    def update(self, frame: AnyFrame) -> Result:
        """Return where the target is in `frame`. Raises FrameError; TrkError before `init`."""
        started = self.begin()
        state = self.state
        if state is None:
            raise TrkError("update before init: call tracker.init(frame, (x, y, w, h)) with the target's box first")
        seen = self.check(frame)
        turn = self.turn(seen, state)
        try:
            asks = next(turn)
            while True:
                asks = turn.send([self.look(seen, ask) for ask in asks])
        except StopIteration as end:
            return self.result(state, end.value, self.end(started))

    def check(self, frame: AnyFrame) -> Frame:
        """Return `frame` as crops can be cut out of it. Raises FrameError."""
        return as_frame(frame, self.backend.device)

    def turn(self, frame: Frame, state: State) -> Turn:
        """One frame for one target, without the searches: yields what to look for, is sent what was found.

        Whoever drives it may answer several targets' questions in one run of the network. Its value goes to `result`.
        """
        if state.lost and self.policy.stops:
            state.target.frame_index += 1
            return state.target.box, 0.0, 0.0
        if self._fills_anew:
            state.fill = fill_colour(mean_colour(self._pixels(frame)), self.manifest.geometry.crop)
        if state.lost and self.policy.holds:
            state.return_to_seen()
        target = state.target
        graph = self._motion.graph_for(target)
        (look,) = yield [Ask(state, target, (target.cx, target.cy), graph, self._param_arrays[graph])]
        box = self._advance(frame, target, look)
        score, confidence = look.score, self._judge(state, look.score)
        if state.lost and self.policy.holds:
            state.return_to_seen()
            box = state.target.box
        elif state.lost and self.policy.scans:
            found = yield from self._scan(frame, state)
            if found is not None:
                box, score, confidence = found
        if is_due(self.template_rate, state.target.frame_index, confidence):
            learned = self._template(frame, state.target, state.fill)
            state.mean = self.backend.mix(state.mean, learned, self.template_rate)
            state.kernels = self.backend.mix(state.mean, state.first, ANCHORED)
        return box, score, confidence

    def cut(self, frame: Frame, ask: Ask, crops: Crops, size: NDArray[np.float32]) -> Cut:
        """Cut what `ask` asks for: `crops`, one for each scale, and `size` [2], the target's w, h in crop pixels."""
        target, graph = ask.target, ask.graph
        extent = self._motion.search_extent(target, graph)
        asked = scaled(extent, self._search_factors) if self._search_factors else [extent]
        centre, width, height = self._cropper.cut_pyramid(frame, ask.centre, asked, ask.state.fill, crops)
        if not self._scales_by_cut:
            width, height, _, _ = extent
        pixels = self._search_sizes[graph]
        across, down = width / pixels, height / pixels
        # One by one: NumPy makes an array of a tuple first.
        size[0] = target.w / across
        size[1] = target.h / down
        return centre if self._recentres else ask.centre, across, down

    def _pixels(self, frame: Frame) -> Image:
        """Return `frame` in host memory, for what only the host does: a mean colour."""
        return frame if isinstance(frame, np.ndarray) else self.backend.pixels(frame)

    def _template(self, frame: Frame, target: Target, fill: Image) -> Kernels:
        """Return the kernels of what `target` looks like in `frame`."""
        began = perf_counter()
        extent = self._motion.template_extent(target)
        asked = scaled(extent, self._template_factors)
        _, width, height = self._cropper.cut_pyramid(
            frame, (target.cx, target.cy), asked, fill, self.backend.template_crop
        )
        network_began = perf_counter()
        if not self._scales_by_cut:
            width, height, _, _ = extent
        pixels = self.manifest.geometry.template_size
        self._size[0] = target.w * (pixels / width), target.h * (pixels / height)
        kernels = self.backend.template(self._size, self._param_arrays[0])
        self.count(began, network_began)
        return kernels

    def look(self, frame: Frame, ask: Ask) -> Look:
        """Search the region that `ask` asks for."""
        began = perf_counter()
        cut = self.cut(frame, ask, self.backend.search_crops[ask.graph], self._size[0])
        network_began = perf_counter()
        found = self.backend.search(ask.graph, ask.state.kernels, self._size, ask.params)
        self.count(began, network_began)
        (box,), (score,) = found.box.tolist(), found.score.tolist()
        return look_at(cut, box, score)

    def _advance(self, frame: Frame, target: Target, look: Look) -> Box:
        return self._motion.advance(target, look.centre, look.moved, look.score, (frame.shape[1], frame.shape[0]))

    def _judge(self, state: State, score: float) -> float | None:
        """Return the probability that the box is on the target, and note whether it is lost."""
        calibration = self.manifest.calibration
        if calibration is None:
            return None
        if not isfinite(score):
            state.lost = True
            return 0.0
        state.recent = running_mean(state.recent, score)
        confidence = calibration.probability(score, state.recent)
        if confidence < calibration.low:
            state.lost = True
        elif confidence > calibration.high:
            state.lost, state.scanned = False, 0
            state.seen = state.target.copy()
        return confidence

    def _scan(
        self, frame: Frame, state: State
    ) -> Generator[list[Ask], list[Look], tuple[Box, float, float | None] | None]:
        """Look into a few more windows of the frame; a target surely found there is followed from there on."""
        seen = state.seen  # its size was right: what is followed while the target is lost grows or shrinks at will
        width, height, _, _ = self._motion.search_extent(seen, 0)
        places = windows((frame.shape[1], frame.shape[0]), (width, height), (seen.cx, seen.cy))
        first = state.scanned
        state.scanned += self.policy.windows
        looks = yield [
            Ask(state, seen, places[number % len(places)], 0, self._scan_params)
            for number in range(first, first + min(self.policy.windows, len(places)))
        ]
        best = max(looks, key=lambda look: look.score if isfinite(look.score) else -inf)
        if not self._sure(best):
            return None
        # Once more with the target in the middle, where networks judge best.
        centre = (best.centre[0] + best.moved[0], best.centre[1] + best.moved[1])
        (again,) = yield [Ask(state, seen, centre, 0, self._param_arrays[0])]
        if not self._sure(again):
            return None
        state.target = replace(seen, frame_index=state.target.frame_index - 1)  # this frame was counted already
        box = self._advance(frame, state.target, again)
        state.recent = None
        return box, again.score, self._judge(state, again.score)

    def _sure(self, look: Look) -> bool:
        calibration = self.manifest.calibration
        assert calibration is not None
        if not all(isfinite(value) for value in (look.score, *look.moved)):
            return False
        return calibration.probability(look.score, look.score) >= max(self.policy.sure, calibration.high)

    def result(self, state: State, found: Found, seconds: float) -> Result:
        """The result of a turn that brought `found`."""
        box, score, confidence = found
        lost = state.target.lost or (state.lost and not self._has_hysteresis)
        return Result(box, score, lost, state.target.frame_index, seconds, confidence)

    def given(self, box: Box, seconds: float = 0.0) -> Result:
        """The result of the frame in which the target was given as `box`: sure by definition."""
        return Result(box, 1.0, False, 0, seconds, None if self.manifest.calibration is None else 1.0)

    def _array(self, params: Mapping[str, float]) -> NDArray[np.float32]:
        return np.array([params[name] for name in self.params], np.float32)

    def begin(self) -> float:
        """Begin to count the seconds of a call; return the time of now."""
        self._crop_seconds = self._network_seconds = 0.0
        return perf_counter()

    def count(self, crop_began: float, network_began: float) -> None:
        """Count a crop, and a run of the network that has just ended."""
        self._crop_seconds += network_began - crop_began
        self._network_seconds += perf_counter() - network_began

    def end(self, started: float) -> float:
        """Note in `stages` what was counted since `started`; return all of the time."""
        total = perf_counter() - started
        crop, network = self._crop_seconds, self._network_seconds
        self.stages = StageTimes(crop, network, total - crop - network)
        return total
