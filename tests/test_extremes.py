"""Trackers at the edge, for every model of the registry: whatever the frames and the network, boxes stay in bounds."""

from math import isfinite
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trk import FrameError, MultiTracker, Tracker
from trk.engine.backends.base import SearchOutput
from trk.engine.boxes import MAX_SIZE, MIN_SIZE
from trk.engine.bundle import Bundle
from trk.engine.confidence import Calibration
from trk.engine.crop import Cropper
from trk.engine.geometry import Geometry
from trk.engine.manifest import File, Graph, Manifest, Parity, Weights
from trk.engine.policy import POLICIES
from trk.export.bundle import export_bundle, searches_of
from trk.models.registry import ROWS

SIDES = (1, 2, 8, 16, 17, 127, 240, 255, 720)
WIDE = (16384, 8)
"""Width and height: as wide as 16K, as flat as the smallest."""


def tensor(name, dtype, *shape):
    return {"name": name, "dtype": dtype, "shape": shape}


def manifest_of(row, preset="default"):
    """The manifest that an export of `row` would have, its graphs left out."""
    geometry, params = (
        Geometry.model_validate(row.geometry_for(preset)),
        {**row.params, **row.presets[preset].params},
    )
    kernel = tensor("kernel_zf", "float32", 1, 8)

    def graph(file, scales, side, kernels, results):
        return {
            "file": file,
            "inputs": (tensor("crop", "uint8", scales, side, side, 3), *kernels),
            "outputs": results,
        }

    results = (tensor("box", "float32", 1, 4), tensor("score", "float32", 1), tensor("best", "int32", 1))
    template = graph("template.onnx", len(geometry.template_steps), geometry.template_size, (), (kernel,))
    searches = [
        search.model_copy(
            update=dict(
                Graph.model_validate(graph(search.file, len(geometry.search_steps), search.size, (kernel,), results))
            )
        )
        for search in searches_of(row, preset)
    ]
    return Manifest(
        **{"schema_version": 1, "opset": 18, "precision": "fp32", "preset": preset, "params": params},
        **{name: getattr(row, name) for name in ("model", "variant", "title", "paper", "source", "family")},
        geometry=geometry,
        template=Graph.model_validate(template),
        searches=tuple(searches),
        weights=Weights(origin="random", licence="none"),
        parity=Parity(crop="none", outputs={}, limits={}),
        files=tuple(
            File(name=name, bytes=1, sha256="0" * 64) for name in ("template.onnx", *(s.file for s in searches))
        ),
    )


class NoFiles(Bundle):
    """A bundle without anything on disk."""

    def __init__(self, manifest):
        self.manifest, self.path, self._zip = manifest, Path("nowhere"), None


class Says:
    """A network that gives whatever it is told to."""

    name, device = "says", "none"

    def __init__(self, manifest):
        geometry = manifest.geometry
        side = geometry.template_size
        self.template_crop = np.zeros((len(geometry.template_steps), side, side, 3), np.uint8)
        scales = len(geometry.search_steps)
        self.search_crops = [np.zeros((scales, s.size, s.size, 3), np.uint8) for s in manifest.searches]
        self.answers = None
        self.cropper = Cropper

    def template(self, size, params):
        assert np.isfinite(size).all()
        assert size.min() > 0
        return 0

    def search(self, graph, kernels, size, params):
        assert np.isfinite(size).all()
        assert size.min() > 0
        *box, score = next(self.answers)
        return SearchOutput(np.array([box], np.float32), np.array([score], np.float32), np.zeros(1, np.int32))

    def mix(self, one, other, share):
        return one


def in_bounds(tracker, result, longest):
    """Whether a result, and the state behind it, are finite and what docs/reliability.md promises.

    `longest`: the longest side of the frames so far; a target may be as large as a multiple of it, half of it outside.
    """
    target = tracker.state.target
    state = (target.cx, target.cy, target.w, target.h)
    assert all(isinstance(value, float) and isfinite(value) for value in (*result.box, *state, target.side))
    x, y, w, h = result.box
    for cx, cy, *size in ((x + w / 2, y + h / 2, w, h), state):
        assert min(size) >= MIN_SIZE
        assert max(size) <= max(MAX_SIZE * longest, tracker.manifest.geometry.limits.min_size or 0)
        slack = 1e-6 * longest
        assert -MAX_SIZE / 2 * longest - slack <= min(cx, cy)
        assert max(cx, cy) <= (1 + MAX_SIZE / 2) * longest + slack


sane = st.floats(-300, 300, width=32)
anything = st.floats(width=32) | sane | st.sampled_from([0.0, -1.0, 1e-30, 3e38, -3e38])
answer = st.tuples(sane, sane, sane, sane, st.floats(-1, 1, width=32)) | st.tuples(*[anything] * 5)
frames = st.tuples(st.sampled_from(SIDES), st.sampled_from(SIDES)) | st.just(WIDE) | st.just(WIDE[::-1])
SIZES = (MIN_SIZE, 16.0, 64.0, None)
"""Of targets, in pixels; None: as large as may be."""


@st.composite
def targets(draw, frame_wh):
    """A box that is allowed in a frame: inside, on every border and corner, larger than the frame."""
    longest = MAX_SIZE * max(frame_wh)
    w, h = (draw(st.sampled_from(SIZES)) or longest for _ in range(2))
    w, h = min(w, longest), min(h, longest)
    places = [draw(st.sampled_from((0.0, 0.01, 0.5, 0.99, 1.0))) for _ in range(2)]
    x, y = (
        -size + 0.01 + share * (side + size - 0.02) for share, side, size in zip(places, frame_wh, (w, h), strict=True)
    )
    return x, y, w, h


def distinct(row):
    """Presets of `row` whose geometry or search crops no preset before them has."""
    seen = []
    for name in row.presets:
        crops = row.geometry_for(name), row.searches_for(name)
        if crops not in seen:
            seen.append(crops)
            yield name


CASES = [(row, preset) for row in ROWS for preset in distinct(row)]


@pytest.mark.parametrize(("row", "preset"), CASES, ids=[f"{row.name} {preset}" for row, preset in CASES])
@pytest.mark.parametrize("calibrated", [False, True], ids=["", "calibrated"])
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_boxes_stay_in_bounds_whatever_the_network_says(row, preset, calibrated, monkeypatch, data):
    manifest = manifest_of(row, preset)
    options = {}
    if calibrated:
        calibration = Calibration(bias=0.0, score=1.0, recent=0.5, low=0.4, high=0.6)
        manifest = manifest.model_copy(update={"calibration": calibration})
        options["on_lost"] = data.draw(st.sampled_from(sorted(POLICIES)), label="on_lost")
        options["template_rate"] = data.draw(st.sampled_from([0.0, 0.3]), label="template_rate")
    says = Says(manifest)
    monkeypatch.setattr("trk.engine.tracker.load_backend", lambda *_: says)
    tracker = Tracker(NoFiles(manifest), **options)
    says.answers = iter(lambda: data.draw(answer, label="network"), None)
    first = data.draw(frames, label="first frame")
    tracker.init(np.full((*first[::-1], 3), 90, np.uint8), data.draw(targets(first), label="target"))
    longest = max(first)
    for _ in range(data.draw(st.integers(1, 4), label="frames")):
        frame_wh = data.draw(st.just(first) | frames, label="frame")
        longest = max(longest, *frame_wh)
        in_bounds(tracker, tracker.update(np.full((*frame_wh[::-1], 3), 90, np.uint8)), longest)


@pytest.mark.parametrize("place", range(5))
def test_a_result_that_is_not_finite_is_never_surely_there(place, monkeypatch):
    calibration = Calibration(bias=0.0, score=10.0, recent=0.0, low=0.4, high=0.6)
    manifest = manifest_of(ROWS[0]).model_copy(update={"calibration": calibration})
    says = Says(manifest)
    monkeypatch.setattr("trk.engine.tracker.load_backend", lambda *_: says)
    tracker = Tracker(NoFiles(manifest), template_rate=0.5)
    frame = np.full((240, 320, 3), 90, np.uint8)
    tracker.init(frame, (100, 100, 40, 40))
    broken = [0.0, 0.0, 60.0, 60.0, 1.0]
    broken[place] = float("nan")
    says.answers = iter([(0.0, 0.0, 60.0, 60.0, 1.0), tuple(broken), (0.0, 0.0, 60.0, 60.0, 1.0)])
    first, second, third = (tracker.update(frame) for _ in range(3))
    assert [one.lost for one in (first, second, third)] == [False, True, False]
    assert second.confidence == 0.0
    assert second.box == first.box
    assert third.confidence == pytest.approx(first.confidence)


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -3e38])
def test_window_of_the_frame_with_a_high_score_and_no_place_is_not_followed(place, value, monkeypatch):
    calibration = Calibration(bias=0.0, score=10.0, recent=0.0, low=0.4, high=0.6)
    manifest = manifest_of(ROWS[0]).model_copy(update={"calibration": calibration})
    says = Says(manifest)
    monkeypatch.setattr("trk.engine.tracker.load_backend", lambda *_: says)
    tracker = Tracker(NoFiles(manifest), on_lost="search")
    frame = np.full((240, 320, 3), 90, np.uint8)
    tracker.init(frame, (100, 100, 40, 40))
    broken = [0.0, 0.0, 60.0, 60.0, 1.0]
    broken[place] = value
    lost = (0.0, 0.0, 60.0, 60.0, -1.0)
    says.answers = iter([lost, *[tuple(broken)] * 100])
    for _ in range(4):
        in_bounds(tracker, tracker.update(frame), 320)


def textured(shape):
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


EDGES = {
    "a pixel": ((240, 320), (160, 120, 1, 1)),
    "16 pixels": ((240, 320), (100, 100, 16, 16)),
    "four times the frame": ((240, 320), (-480, -360, 1280, 960)),
    "flat": ((240, 320), (0, 119, 320, 1)),
    "narrow": ((240, 320), (160, 0, 1, 240)),
    "left": ((240, 320), (-20, 100, 40, 40)),
    "right": ((240, 320), (300, 100, 40, 40)),
    "top": ((240, 320), (100, -20, 40, 40)),
    "bottom": ((240, 320), (100, 220, 40, 40)),
    "first corner": ((240, 320), (-39, -39, 40, 40)),
    "last corner": ((240, 320), (319, 239, 40, 40)),
    "8 pixels of frame": ((8, 8), (2, 2, 4, 4)),
    "a pixel of frame": ((1, 1), (0, 0, 1, 1)),
    "16K wide": ((24, 15360), (7000, 2, 20, 20)),
    "16K high": ((15360, 24), (2, 7000, 20, 20)),
}


def at_every_edge(bundle):
    """Run the real network where it hurts."""
    tracker = Tracker(bundle, threads=1)
    for shape, box in EDGES.values():
        noise = textured((*shape, 3))
        tracker.init(noise, box)
        for frame in (noise, np.roll(noise, 5, 1), np.zeros_like(noise), np.full_like(noise, 255), noise[::-1]):
            in_bounds(tracker, tracker.update(frame), max(shape))


def leaves(bundle):
    """A square that leaves the frame, over every border."""
    square = textured((40, 40, 3))
    tracker = Tracker(bundle, threads=1)
    for dx, dy in ((-12, 0), (12, 0), (0, -12), (0, 12)):
        for step in range(17):
            canvas = np.full((440, 520, 3), 90, np.uint8)
            y, x = 200 + dy * step, 240 + dx * step
            canvas[y : y + 40, x : x + 40] = square
            frame = canvas[100:340, 100:420]
            if step:
                in_bounds(tracker, tracker.update(frame), 320)
            else:
                tracker.init(frame, (x - 100, y - 100, 40, 40))


def test_the_bundle_that_ships_stays_in_bounds_at_every_edge():
    at_every_edge(None)


def test_boxes_of_a_target_that_leaves_the_frame_stay_in_bounds():
    leaves(None)


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_model_stays_in_bounds_at_every_edge(row, tmp_path):
    export_bundle(row, tmp_path / "row.trk")
    at_every_edge(tmp_path / "row.trk")
    leaves(tmp_path / "row.trk")


@pytest.mark.slow
def test_a_whole_16k_frame_is_tracked_in():
    frame = np.zeros((8640, 15360, 3), np.uint8)
    frame[4000:4400, 7000:7400] = textured((400, 400, 3))
    tracker = Tracker(threads=1)
    for box in ((7000, 4000, 400, 400), (-100, -100, 400, 400), (15300, 8600, 100, 100), (0, 0, 15360, 8640)):
        tracker.init(frame, box)
        in_bounds(tracker, tracker.update(frame), 15360)


KINDS = {
    "grey": (textured((240, 320)), "COLOR_GRAY2BGR"),
    "grey, 3 axes": (textured((240, 320, 1)), "uint8"),
    "BGRA": (textured((240, 320, 4)), "uint8"),
    "16 bit": (textured((240, 320, 3)).astype(np.uint16), "uint16"),
    "float": (textured((240, 320, 3)) / 255, "float64"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("make", [Tracker, MultiTracker])
def test_frames_of_another_kind_are_refused_with_what_to_do(kind, make, tiny_bundle):
    frame, words = KINDS[kind]
    tracker = make(tiny_bundle, threads=1)
    begin = tracker.init if make is Tracker else tracker.add
    with pytest.raises(FrameError) as caught:
        begin(frame, (100, 100, 40, 40))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
