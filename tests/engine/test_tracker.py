import itertools
import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trk import BackendError, BoxError, FrameError, ModelError, Result, Tracker, TrkError
from trk.bench.ope import overlap
from trk.engine.backends.base import SearchOutput
from trk.engine.bundle import Bundle
from trk.engine.crop import Cropper

NAN, INF = float("nan"), float("inf")


@pytest.fixture
def tracker(tiny_bundle):
    return Tracker(tiny_bundle, threads=1)


def tracked(tracker, frames, box):
    tracker.init(frames[0], box)
    return [tracker.update(frame) for frame in frames[1:]]


def boxes(results):
    return np.array([result.box for result in results])


class FakeBackend:
    """A network that says what it is told to, and remembers what it was asked."""

    name, device = "fake", "none"

    def __init__(self, bundle, answers):
        steps = bundle.manifest.geometry.search_steps
        self.template_crop = np.zeros((1, 127, 127, 3), np.uint8)
        self.search_crops = [np.zeros((len(steps), s.size, s.size, 3), np.uint8) for s in bundle.manifest.searches]
        self.answers, self.templates, self.asked = iter(answers), 0, []
        self.cropper = Cropper

    def template(self, size, params):
        self.templates += 1
        return self.templates

    def search(self, graph, kernels, size, params):
        self.asked.append((graph, kernels, size.copy(), params.copy()))
        *box, score = next(self.answers)
        return SearchOutput(np.array([box], np.float32), np.array([score], np.float32), np.zeros(1, np.int32))


@pytest.fixture
def told(monkeypatch):
    """Make a tracker whose network gives `answers`: dx, dy, w, h in crop pixels, score."""

    def make(path, answers, **options):
        bundle = Bundle(path)
        monkeypatch.setattr("trk.engine.tracker.load_backend", lambda *_: FakeBackend(bundle, answers))
        return Tracker(bundle, **options)

    return make


def test_moving_square_is_followed(tracker, clip):
    results = tracked(tracker, clip.frames, clip.boxes[0])
    assert overlap(boxes(results), clip.boxes[1:]).min() > 0.7
    assert [result.frame_index for result in results] == list(range(1, len(clip.frames)))
    assert not any(result.lost for result in results)


def test_result_is_made_of_plain_numbers(tracker, clip):
    result = tracked(tracker, clip.frames[:2], clip.boxes[0])[0]
    assert isinstance(result, Result)
    assert [type(value) for value in result.box] == [float] * 4
    assert [type(value) for value in result[1:5]] == [float, bool, int, float]
    assert result.confidence is None  # the bundle is not calibrated
    assert sum(tracker.stages) == pytest.approx(result.time)


def test_shifted_frames_give_shifted_boxes(tracker, clip):
    frames = [np.pad(frame, ((100, 100), (150, 150), (0, 0)), "reflect") for frame in clip.frames[:6]]
    x, y, w, h = clip.boxes[0]
    first = boxes(tracked(tracker, frames, (x + 150, y + 100, w, h)))
    moved = [np.roll(frame, (7, -16), (0, 1)) for frame in frames]
    second = boxes(tracked(tracker, moved, (x + 150 - 16, y + 100 + 7, w, h)))
    np.testing.assert_allclose(second, first + np.array([-16, 7, 0, 0]), atol=1e-3)


def test_two_runs_give_the_same_bytes(tiny_bundle, clip):
    runs = [boxes(tracked(Tracker(tiny_bundle, threads=1), clip.frames, clip.boxes[0])) for _ in range(2)]
    assert runs[0].tobytes() == runs[1].tobytes()


def test_init_again_begins_anew(tiny_bundle, tracker, clip):
    tracked(tracker, clip.frames, (10, 20, 60, 90))
    again = boxes(tracked(tracker, clip.frames, clip.boxes[0]))
    fresh = boxes(tracked(Tracker(tiny_bundle, threads=1), clip.frames, clip.boxes[0]))
    assert again.tobytes() == fresh.tobytes()


def test_file_and_folder_track_the_same(tiny_bundle, tiny_trk, clip):
    folder, file = (
        boxes(tracked(Tracker(path, threads=1), clip.frames, clip.boxes[0])) for path in (tiny_bundle, tiny_trk)
    )
    assert folder.tobytes() == file.tobytes()


def test_trackers_do_not_disturb_each_other(tiny_bundle, clip):
    bundle = Bundle(tiny_bundle)
    other_box = (10, 20, 60, 90)
    alone = [boxes(tracked(Tracker(bundle, threads=1), clip.frames, box)) for box in (clip.boxes[0], other_box)]
    pair = [Tracker(bundle, threads=1) for _ in range(2)]
    for one, box in zip(pair, (clip.boxes[0], other_box), strict=True):
        one.init(clip.frames[0], box)
    together = [[one.update(frame) for one in pair] for frame in clip.frames[1:]]
    for number in range(2):
        assert boxes([results[number] for results in together]).tobytes() == alone[number].tobytes()


def test_frames_are_never_modified(tracker, clip):
    frames = [frame.copy() for frame in clip.frames]
    for box in (clip.boxes[0], (-20, -20, 60, 60), (300, 200, 60, 60)):
        tracked(tracker, frames, box)
    for frame, original in zip(frames, clip.frames, strict=True):
        np.testing.assert_array_equal(frame, original)


VIEWS = {
    "mirrored": lambda frame: np.ascontiguousarray(frame[:, ::-1])[:, ::-1],
    "upside down": lambda frame: np.ascontiguousarray(frame[::-1])[::-1],
    "channels turned": lambda frame: np.ascontiguousarray(frame[:, :, ::-1])[:, :, ::-1],
    "transposed": lambda frame: np.ascontiguousarray(frame.transpose(1, 0, 2)).transpose(1, 0, 2),
    "channels first": lambda frame: np.ascontiguousarray(frame.transpose(2, 0, 1)).transpose(1, 2, 0),
    "part of a larger one": lambda frame: np.pad(frame, ((3, 5), (7, 9), (0, 0)))[3:-5, 7:-9],
    "with alpha cut off": lambda frame: np.pad(frame, ((0, 0), (0, 0), (0, 1)))[:, :, :3],
    "every second pixel": lambda frame: frame.repeat(2, 0).repeat(2, 1)[::2, ::2],
    "read-only": lambda frame: np.frombuffer(frame.tobytes(), np.uint8).reshape(frame.shape),
}


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("box", [None, (-10, -10, 40, 50), (290, 210, 40, 50)], ids=["inside", "corner", "far corner"])
def test_frame_that_lies_otherwise_in_memory_gives_the_same_boxes(tracker, clip, view, box):
    box = clip.boxes[0] if box is None else box
    frames = clip.frames[:4]
    plain = boxes(tracked(tracker, frames, box))
    views = [VIEWS[view](frame) for frame in frames]
    np.testing.assert_array_equal(views[1], frames[1])
    assert boxes(tracked(tracker, views, box)).tobytes() == plain.tobytes()


@pytest.mark.parametrize(
    "frame",
    [
        None,
        [[0]],
        np.zeros((240, 320), np.uint8),
        np.zeros((240, 320, 4), np.uint8),
        np.zeros((240, 320, 3), np.float32),
        np.zeros((240, 320, 3), np.int8),
        np.zeros((0, 320, 3), np.uint8),
        np.broadcast_to(np.zeros((1, 1, 3), np.uint8), (2, 40_000, 3)),
    ],
    ids=["none", "list", "grey", "alpha", "float", "signed", "empty", "wide"],
)
def test_frame_of_another_kind_is_refused_and_tracking_goes_on(tracker, clip, frame):
    expected = boxes(tracked(tracker, clip.frames[:3], clip.boxes[0]))
    with pytest.raises(FrameError):
        tracker.init(frame, clip.boxes[0])
    tracker.init(clip.frames[0], clip.boxes[0])
    with pytest.raises(FrameError):
        tracker.update(frame)
    assert boxes([tracker.update(frame) for frame in clip.frames[1:3]]).tobytes() == expected.tobytes()


@pytest.mark.parametrize("box", [(1, 2, 3), (NAN, 0, 10, 10), (10, 10, 0, 10), (400, 10, 10, 10), "abcd"])
def test_refused_box_leaves_the_target_as_it_was(tracker, clip, box):
    with pytest.raises(BoxError):
        tracker.init(clip.frames[0], box)
    assert tracker.state is None
    expected = boxes(tracked(tracker, clip.frames[:3], clip.boxes[0]))
    tracker.init(clip.frames[0], clip.boxes[0])
    with pytest.raises(BoxError):
        tracker.init(clip.frames[5], box)
    assert boxes([tracker.update(frame) for frame in clip.frames[1:3]]).tobytes() == expected.tobytes()


def test_update_before_init_says_what_to_call(tracker, clip):
    with pytest.raises(TrkError, match=r"call tracker\.init"):
        tracker.update(clip.frames[0])


@pytest.mark.parametrize(
    "box",
    [
        (0, 0, 40, 30),
        (280, 0, 40, 30),
        (0, 210, 40, 30),
        (280, 210, 40, 30),
        (-39, -29, 40, 30),
        (319, 239, 40, 30),
        (160, 120, 1, 1),
        (0, 0, 1, 1),
        (319, 239, 1, 1),
        (0, 0, 320, 240),
        (-100, -80, 520, 400),
        (-400, -400, 1280, 1280),
        (0, 100, 320, 1),
        (100, 0, 1, 240),
        (10.25, 20.5, 33.3, 21.7),
    ],
)
def test_target_anywhere_and_of_any_size_is_tracked(tracker, clip, box):
    for result in tracked(tracker, clip.frames[:5], box):
        assert np.isfinite(result.box).all()
        x, y, w, h = result.box
        assert 0 <= x + w / 2 <= 320
        assert 0 <= y + h / 2 <= 240
        assert min(w, h) >= 10


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (2, 3), (3000, 20)])
def test_frame_of_any_shape_is_tracked_in(tracker, shape):
    frame = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    for result in tracked(tracker, [frame] * 3, (0, 0, 1, 1)):
        assert np.isfinite(result.box).all()


@pytest.mark.parametrize("value", [0, 128, 255])
def test_frame_without_any_texture_keeps_the_target_finite(tracker, value):
    frame = np.full((240, 320, 3), value, np.uint8)
    for result in tracked(tracker, [frame] * 5, (100, 100, 40, 40)):
        assert np.isfinite(result.box).all()
        assert np.isfinite(result.score)


def test_frames_that_change_size_mid_way(tracker, clip):
    tracker.init(clip.frames[0], clip.boxes[0])
    for shape in ((240, 320), (120, 160), (8, 8), (1000, 30), (240, 320)):
        result = tracker.update(np.zeros((*shape, 3), np.uint8))
        x, y, w, h = result.box
        assert 0 <= x + w / 2 <= shape[1]
        assert 0 <= y + h / 2 <= shape[0]


def test_kernels_are_computed_once(told, tiny_bundle, clip):
    tracker = told(tiny_bundle, itertools.repeat((0, 0, 50, 50, 1)))
    tracked(tracker, clip.frames, clip.boxes[0])
    assert tracker.backend.templates == 1
    assert {kernels for _, kernels, *_ in tracker.backend.asked} == {1}
    tracker.init(clip.frames[0], clip.boxes[0])
    tracker.update(clip.frames[1])
    assert tracker.backend.asked[-1][1] == 2


def test_network_gets_the_targets_size_in_crop_pixels(told, tiny_bundle, clip):
    tracker = told(tiny_bundle, itertools.repeat((0, 0, 60, 30, 1)))
    tracked(tracker, clip.frames[:3], (100, 100, 40, 40))
    asked = [size[0].tolist() for _, _, size, _ in tracker.backend.asked]
    assert asked[0] == pytest.approx([63.5, 63.5])  # half of 127: the context is as large again
    w, h = tracker.state.target.w, tracker.state.target.h
    assert w / h == pytest.approx(2)


@pytest.mark.parametrize(("recentre", "near"), [(False, 1e-6), (True, 0.51)])
def test_offset_counts_from_the_target_or_from_where_the_crop_was_cut(told, bundle_copy, clip, recentre, near):
    manifest = json.loads((bundle_copy / "bundle.json").read_text())
    manifest["geometry"]["crop"] = {"recentre": recentre, "origin_shift": 0.0}
    (bundle_copy / "bundle.json").write_text(json.dumps(manifest))
    x, y, w, h = tracked(told(bundle_copy, [(0, 0, 50, 50, 1)]), clip.frames[:2], (100.3, 110.8, 40, 40))[0].box
    centre = np.array([x + w / 2, y + h / 2])
    np.testing.assert_allclose(centre, (120.3, 130.8), atol=near)
    assert recentre == np.allclose(centre * 2, np.round(centre * 2))  # crops are cut between or amid pixels


@pytest.mark.parametrize(
    "answer", [(NAN, 0, 50, 50, 1), (0, 0, NAN, 50, 1), (0, 0, 50, float("inf"), 1), (*[0] * 4, NAN)]
)
def test_nan_from_the_network_loses_the_target_where_it_was(told, tiny_bundle, clip, answer):
    tracker = told(tiny_bundle, [(8, 0, 60, 60, 1), answer, (0, 0, 60, 60, 1)])
    first, second, third = tracked(tracker, clip.frames[:4], clip.boxes[0])
    assert second.lost
    assert second.box == first.box
    assert not third.lost


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    answers=st.lists(st.tuples(*[st.floats(width=32) | st.floats(-500, 500, width=32)] * 5), min_size=1, max_size=6),
    shapes=st.lists(st.tuples(st.integers(1, 200), st.integers(1, 200)), min_size=7, max_size=7),
)
def test_boxes_are_finite_whatever_the_network_says_and_the_frames_are(told, tiny_bundle, answers, shapes):
    tracker = told(tiny_bundle, answers)
    frames = [np.zeros((*shape, 3), np.uint8) for shape in shapes]
    for result in tracked(tracker, frames[: len(answers) + 1], (0, 0, 1, 1)):
        assert np.isfinite(result.box).all()
        assert 1 <= min(result.box[2:]) <= max(result.box[2:]) <= 4 * 200


def test_lost_target_is_sought_with_the_lost_graph_and_its_parameters(told, long_bundle, clip):
    answers = [(0, 0, 60, 60, score) for score in (1000, 100, 400, 600, 400)]
    tracker = told(long_bundle, answers)
    results = tracked(tracker, clip.frames[:6], clip.boxes[0])
    assert [result.lost for result in results] == [False, True, True, False, False]
    assert [graph for graph, *_ in tracker.backend.asked] == [0, 0, 1, 1, 0]
    influence = list(tracker.params).index("window_influence")
    found = [float(params[influence]) for *_, params in tracker.backend.asked]
    assert found == pytest.approx([0.2, 0.2, 0.01, 0.01, 0.2])


def test_long_term_target_that_leaves_is_lost_and_found_again(long_bundle, clip):
    tracker = Tracker(long_bundle, threads=1)
    tracker.init(clip.frames[0], clip.boxes[0])
    ground = np.full_like(clip.frames[0], 90)
    seen = [tracker.update(frame).lost for frame in (clip.frames[1], ground, ground, clip.frames[2], clip.frames[3])]
    assert seen == [False, True, True, False, False]
    assert overlap(boxes([tracker.update(clip.frames[4])]), clip.boxes[4:5])[0] > 0.7


def test_long_term_file_and_folder_track_the_same(long_bundle, long_trk, clip):
    frames = [*clip.frames[:3], np.zeros_like(clip.frames[0]), *clip.frames[3:6]]
    folder, file = (tracked(Tracker(path, threads=1), frames, clip.boxes[0]) for path in (long_bundle, long_trk))
    assert boxes(folder).tobytes() == boxes(file).tobytes()
    assert any(result.lost for result in folder)


def test_preset_and_single_parameters(tiny_bundle):
    assert Tracker(tiny_bundle).params["window_influence"] == 0.2
    assert Tracker(tiny_bundle, preset="steady").params["window_influence"] == 0.4
    tracker = Tracker(tiny_bundle, preset="steady", params={"scale_lr": 0.5})
    assert tracker.params == {"scale_penalty": 0.97, "window_influence": 0.4, "scale_lr": 0.5, "scale_step": 1.04}


def test_parameters_reach_the_network(tiny_bundle, clip):
    plain, frozen = (
        boxes(tracked(Tracker(tiny_bundle, threads=1, params=params), clip.frames[:6], clip.boxes[0]))
        for params in ({}, {"scale_lr": 0.0})
    )
    np.testing.assert_allclose(frozen[:, 2:], clip.boxes[1:6, 2:], rtol=1e-5)
    assert not np.array_equal(plain[:, 2:], frozen[:, 2:])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"preset": "vot2099"}, "it has default, steady"),
        ({"preset": "wide"}, "it has default, steady"),
        ({"params": {"lr": 0.3}}, "it has scale_penalty"),
        ({"params": {"scale_lr": NAN}}, "finite"),
        ({"params": {"scale_step": 0.0}}, "between 0.5 and 2"),
        ({"params": {"scale_step": -1.04}}, "between 0.5 and 2"),
    ],
)
def test_preset_or_parameter_that_makes_no_sense(tiny_bundle, options, words):
    with pytest.raises(ModelError) as caught:
        Tracker(tiny_bundle, **options)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"backend": "tensorflow"}, "onnxruntime"),
        ({"device": "tpu"}, "cpu, cuda"),
        ({"threads": 0}, "at least 1"),
        ({"threads": -2}, "at least 1"),
        ({"threads": 100_000}, "at most"),
    ],
)
def test_backend_device_or_threads_that_are_none(tiny_bundle, options, words):
    with pytest.raises(BackendError) as caught:
        Tracker(tiny_bundle, **options)
    assert words in str(caught.value)


def test_device_that_is_not_there_is_an_error_and_never_replaced(tiny_bundle):
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    with pytest.raises(BackendError, match=r"trk-engine\[gpu\]"):
        Tracker(tiny_bundle, device="cuda")


def test_missing_runtime_says_what_to_install(tiny_bundle, monkeypatch):
    assert find_spec("onnxruntime")
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(BackendError, match=r"trk-engine\[cpu\]"):
        Tracker(tiny_bundle)


def test_error_of_the_runtime_while_it_runs_is_one_of_ours(tracker, clip, monkeypatch):
    tracker.init(clip.frames[0], clip.boxes[0])

    class Broken:
        def run_with_iobinding(self, binding):
            raise RuntimeError("device lost\nmore")

    monkeypatch.setattr(tracker.backend._searches[0]._graph, "_session", Broken())
    with pytest.raises(BackendError, match=r"^ONNX Runtime failed while running search.onnx: device lost$"):
        tracker.update(clip.frames[1])


def test_region_too_large_for_a_canvas_is_sampled_alike(tracker, clip, monkeypatch):
    box = (-400, -400, 1200, 1200)
    laid_out = tracked(tracker, clip.frames[:2], box)[0]
    crop = tracker.backend.search_crops[0].copy()
    monkeypatch.setattr("trk.engine.crop.MAX_CANVAS_SIDE", 0)
    sampled = tracked(tracker, clip.frames[:2], box)[0]
    difference = np.abs(tracker.backend.search_crops[0].astype(int) - crop)
    assert 0 < difference.max() <= 6
    np.testing.assert_allclose(sampled.box, laid_out.box, atol=1)


def test_region_of_a_hundred_thousand_pixels_a_side(tracker):
    frame = np.random.default_rng(0).integers(0, 256, (60, 9000, 3), np.uint8)
    for result in tracked(tracker, [frame] * 2, (0, 0, 36000, 36000)):
        assert np.isfinite(result.box).all()


def test_no_bundle_named_is_the_one_that_ships(clip):
    tracker = Tracker(threads=1)
    assert tracker.manifest.weights.origin == "shipped"
    assert overlap(boxes(tracked(tracker, clip.frames, clip.boxes[0])), clip.boxes[1:]).mean() > 0.5


def test_bytes_of_shared_weights_live_until_the_session_stands(long_bundle, monkeypatch):
    alive, sessions = [], []

    class Held(bytes):
        def __del__(self):
            alive.remove(len(self))

    def held(bundle, name, read=Bundle.read):
        data = read(bundle, name)
        if name != "weights.bin":
            return data
        alive.append(len(data))
        return Held(data)

    def session(*args, create=onnxruntime.InferenceSession, **options):
        sessions.append((len(alive), create(*args, **options), len(alive)))
        return sessions[-1][1]

    monkeypatch.setattr(Bundle, "read", held)
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    Tracker(long_bundle, threads=1)
    assert [(before, after) for before, _, after in sessions] == [(1, 1)] * 3
    assert alive == []


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files are listed by Linux only")
def test_trackers_hold_no_file_open(tiny_trk, tmp_path):
    path = shutil.copy(tiny_trk, tmp_path / "mine.trk")
    trackers = [Tracker(path, threads=1) for _ in range(3)]
    with pytest.raises(BackendError):
        Tracker(path, threads=0)
    assert len(trackers) == 3
    assert path not in {link.resolve() for link in Path("/proc/self/fd").iterdir()}


def test_a_bundle_of_the_callers_own_can_be_read_from_again(tiny_trk):
    bundle = Bundle(tiny_trk)
    for _ in range(2):
        Tracker(bundle, threads=1)
    assert bundle.read("search.onnx")
