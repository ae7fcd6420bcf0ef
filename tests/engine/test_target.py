from math import isfinite

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trk.engine.boxes import MAX_SIZE, MIN_SIZE
from trk.engine.geometry import Geometry, Hysteresis, Limits
from trk.engine.manifest import Search
from trk.engine.target import Motion
from trk.models.registry import ROWS

FRAME = (320, 240)
GEOMETRIES = {
    geometry.model_dump_json(): geometry
    for row in ROWS
    for geometry in (Geometry.model_validate(row.geometry_for(preset)) for preset in row.presets)
}
"""Every way to move a target that a row of the registry asks for, each once."""


def searches(*whens):
    return tuple(
        Search(file=f"{when}.onnx", inputs=(), outputs=(), size=size, when=when)
        for when, size in zip(whens, (255, 287, 831), strict=False)
    )


def started(geometry, box=(100, 80, 60, 40), frame=FRAME, whens=("always",)):
    motion = Motion(geometry, searches(*whens))
    return motion, motion.start(box, (0.0, 0.0, 0.0), frame)


def advance(motion, target, moved=(0.0, 0.0, 60.0, 40.0), score=0.9, frame=FRAME):
    return motion.advance(target, (target.cx, target.cy), moved, score, frame)


anything = st.floats(width=32) | st.floats() | st.sampled_from([0.0, -1.0, 1e30, -1e30, 1e-30])
sides = st.integers(1, 4000)


@settings(max_examples=400, deadline=None)
@given(
    geometry=st.sampled_from(list(GEOMETRIES.values())),
    frame=st.tuples(sides, sides),
    share=st.tuples(*[st.floats(0, 1)] * 4),
    found=st.lists(st.tuples(anything, anything, anything, anything, anything), min_size=1, max_size=8),
)
def test_state_is_finite_and_inside_the_limits_whatever_the_network_says(geometry, frame, share, found):
    width, height = frame
    w, h = (max(MIN_SIZE, part * MAX_SIZE * max(frame)) for part in share[:2])
    box = (share[2] * width - w / 2, share[3] * height - h / 2, w, h)
    motion, target = started(geometry, box, frame)
    limits = geometry.limits
    for *moved, score in found:
        before = (target.cx, target.cy, target.w, target.h)
        reported = motion.advance(target, (target.cx, target.cy), tuple(moved), score, frame)
        state = (target.cx, target.cy, target.w, target.h)
        assert all(isinstance(value, float) and isfinite(value) for value in (*reported, *state, target.side))
        side = motion.search_side(target, 0)
        assert isfinite(side)
        assert side > 0
        if not all(isfinite(value) for value in (*moved, score)):
            assert state == before
            assert target.lost
        if state == before:
            continue
        assert -width <= target.cx <= 2 * width
        assert -height <= target.cy <= 2 * height
        assert MIN_SIZE <= min(target.w, target.h) <= max(target.w, target.h) <= MAX_SIZE * max(frame)
        low, high = limits.relative_side or (0.01, 100.0)
        if geometry.side == "running":
            assert low * target.first_side <= target.side <= high * target.first_side
        limited = state if limits.of == "state" else cx_cy_w_h(reported)
        if limits.centre_in_frame:
            assert -1e-6 * width <= limited[0] <= width * (1 + 1e-6)
            assert -1e-6 * height <= limited[1] <= height * (1 + 1e-6)
        smallest = limits.min_size or 0.0
        if limits.max_size_frame:
            assert limited[2] <= max(width, smallest) + 1e-6
            assert limited[3] <= max(height, smallest) + 1e-6
        assert min(limited[2:]) >= min(smallest, MAX_SIZE * max(frame)) - 1e-6


def cx_cy_w_h(box):
    x, y, w, h = box
    return x + w / 2, y + h / 2, w, h


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("place", range(5))
def test_result_that_is_not_finite_loses_the_target_and_leaves_the_state(value, place):
    motion, target = started(Geometry())
    result = [1.0, 1.0, 60.0, 40.0, 0.9]
    result[place] = value
    box = advance(motion, target, tuple(result[:4]), result[4])
    assert box == (100, 80, 60, 40)
    assert target.lost
    advance(motion, target)
    assert not target.lost


def test_frames_are_counted_even_when_lost():
    motion, target = started(Geometry())
    advance(motion, target, score=float("nan"))
    advance(motion, target)
    assert target.frame_index == 2


def test_centre_follows_the_offset():
    motion, target = started(Geometry())
    assert advance(motion, target, (5.0, -3.0, 62.0, 42.0)) == (104.0, 76.0, 62.0, 42.0)


def test_halves_of_a_pixel_count():
    motion, target = started(Geometry(), (100.25, 80.5, 61, 41))
    assert (target.cx, target.cy) == (130.75, 101.0)
    assert target.box == (100.25, 80.5, 61, 41)
    assert advance(motion, target, (0.5, 0.25, 63.0, 43.0)) == (99.75, 79.75, 63.0, 43.0)


def test_limits_of_the_report_leave_the_state_free():
    motion, target = started(Geometry(limits=Limits(of="report")))
    assert advance(motion, target, (400.0, 0.0, 2.0, 900.0)) == (315.0, -20.0, 10.0, 240.0)
    assert (target.cx, target.cy, target.w, target.h) == (530.0, 100.0, 2.0, 900.0)
    assert advance(motion, target, (-400.0, 0.0, 31.0, 33.0)) == (114.5, 83.5, 31.0, 33.0)


@pytest.mark.parametrize(
    ("found", "size"), [((200.0, 200.0), (120.0, 80.0)), ((1.0, 1.0), (30.0, 20.0)), ((61.0, 39.0), (61.0, 39.0))]
)
def test_size_keeps_its_share_of_the_first_one(found, size):
    motion, target = started(Geometry(limits=Limits(relative_size=(0.5, 2.0))))
    for _ in range(2):  # of the first one, not of the last
        assert advance(motion, target, (0.0, 0.0, *found))[2:] == size


def test_limits_are_those_of_a_frame_s_own_size():
    motion, target = started(Geometry())
    for frame in (FRAME, (100, 90), FRAME):
        advance(motion, target, (5000.0, 5000.0, 5000.0, 5000.0), frame=frame)
        assert (target.cx, target.cy, target.w, target.h) == (*frame, *frame)


FREE = Limits(centre_in_frame=False, min_size=None, max_size_frame=False)


@pytest.mark.parametrize(
    ("limits", "least", "most"), [(Limits(), (0.0, 0.0), (320.0, 240.0)), (FREE, (-320.0, -240.0), (640.0, 480.0))]
)
def test_centre_stays_in_the_frame_or_a_frame_beside_it(limits, least, most):
    motion, target = started(Geometry(limits=limits))
    advance(motion, target, (-5000.0, -5000.0, 60.0, 40.0))
    assert (target.cx, target.cy) == least
    advance(motion, target, (5000.0, 5000.0, 60.0, 40.0))
    assert (target.cx, target.cy) == most


def test_without_limits_of_a_family_a_side_is_a_pixel_at_least_and_four_frames_at_most():
    motion, target = started(Geometry(limits=FREE))
    assert advance(motion, target, (0.0, 0.0, 0.1, 1e9))[2:] == (1.0, 1280.0)
    assert advance(motion, target, (0.0, 0.0, 1e9, 0.1))[2:] == (1280.0, 1.0)


def test_search_region_holds_the_target_with_its_context_as_large_as_its_crop_asks_for():
    motion, target = started(Geometry(), whens=("always", "lost"))
    assert motion.search_side(target, 0) == pytest.approx(((60 + 50) * (40 + 50)) ** 0.5 * 255 / 127)
    assert motion.search_side(target, 1) == pytest.approx(((60 + 50) * (40 + 50)) ** 0.5 * 287 / 127)
    first = target.side
    assert first == motion.search_side(target, 0)
    advance(motion, target, (0.0, 0.0, 120.0, 80.0))
    assert motion.search_side(target, 0) == pytest.approx(2 * first)
    assert target.side == first  # runs along only where the geometry says so


LONG = Geometry(hysteresis=Hysteresis(low=0.8, high=0.95))


def test_target_is_lost_below_low_and_found_above_high():
    motion, target = started(LONG, whens=("always", "lost"))
    lost, graphs = [], []
    for score in (0.9, 0.81, 0.79, 0.9, 0.94, 0.96, 0.85, 0.1):
        graphs.append(motion.graph_for(target))
        advance(motion, target, score=score)
        lost.append(target.lost)
    assert lost == [False, False, True, True, True, False, False, True]
    assert graphs == [0, 0, 0, 1, 1, 1, 0, 0]


def test_at_low_the_target_is_not_lost_and_at_high_it_is_not_found():
    motion, target = started(LONG, whens=("always", "lost"))
    assert advance(motion, target, (9.0, 9.0, 60.0, 40.0), score=0.8) == (109, 89, 60, 40)
    assert not target.lost
    advance(motion, target, score=0.1)
    advance(motion, target, score=0.95)
    assert target.lost


def test_state_is_frozen_below_low_and_moves_again_between_low_and_high():
    motion, target = started(LONG, whens=("always", "lost"))
    assert advance(motion, target, (9.0, 9.0, 70.0, 50.0), score=0.5) == (100, 80, 60, 40)
    assert advance(motion, target, (9.0, 9.0, 60.0, 40.0), score=0.9) == (109, 89, 60, 40)
    assert target.lost


def test_without_freeze_the_state_moves_while_lost():
    motion, target = started(Geometry(hysteresis=Hysteresis(low=0.8, high=0.95, freeze=False)))
    assert advance(motion, target, (9.0, 9.0, 60.0, 40.0), score=0.5) == (109, 89, 60, 40)
    assert target.lost


def test_at_low_a_lost_target_is_not_found_again():
    motion, target = started(LONG, whens=("always", "lost"))
    advance(motion, target, score=0.5)
    advance(motion, target, (9.0, 9.0, 60.0, 40.0), score=0.8)
    assert (target.lost, target.cx) == (True, 139.0)


def test_nan_loses_a_long_term_target_until_the_score_is_high():
    motion, target = started(LONG, whens=("always", "lost"))
    advance(motion, target, score=float("nan"))
    assert motion.graph_for(target) == 1
    advance(motion, target, score=0.9)
    assert target.lost
    advance(motion, target, score=0.99)
    assert not target.lost


def test_lost_region_is_as_much_larger_as_its_crop():
    motion, target = started(LONG, whens=("always", "small_target", "lost"))
    assert motion.search_side(target, 2) / motion.search_side(target, 0) == pytest.approx(831 / 255)


@pytest.mark.parametrize(("size", "small"), [(17.5, True), (17.6, False), (60, False)])
def test_small_target_gets_its_graph_by_its_share_of_the_first_frame(size, small):
    geometry = Geometry(small_target_area=0.004)  # of 320 x 240: 307.2 square pixels
    motion, target = started(geometry, (100, 80, size, size), whens=("always", "small_target"))
    assert motion.graph_for(target) == int(small)
    advance(motion, target, (0.0, 0.0, 200.0, 200.0))
    assert motion.graph_for(target) == int(small)


def test_target_as_large_as_the_limit_is_not_small():
    _, target = started(Geometry(small_target_area=300 / (320 * 240)), (100, 80, 20, 15))
    assert not target.small


@pytest.mark.parametrize(("rounds", "sides"), [(True, (99.0, 99.0)), (False, (99.4987, 98.5992))])
def test_side_with_context_is_rounded_where_the_geometry_says_so(rounds, sides):
    motion, target = started(Geometry(round_exemplar=rounds), (100, 80, 60, 40))
    found = motion.context_side(60, 40), motion.context_side(59.5, 39.6)
    assert found == pytest.approx(sides, abs=1e-4)
    assert target.side == pytest.approx(found[0] * 255 / 127)


def test_bundle_without_a_graph_for_lost_or_small_targets_uses_its_first():
    motion, target = started(Geometry(small_target_area=0.9, hysteresis=Hysteresis(low=0.8, high=0.9)))
    advance(motion, target, score=0.1)
    assert target.lost
    assert target.small
    assert motion.graph_for(target) == 0


def test_running_side_is_scaled_with_the_width_and_kept_inside_its_limits():
    motion, target = started(Geometry(side="running", limits=Limits(relative_side=(0.5, 2.0))))
    first = target.side
    advance(motion, target, (0.0, 0.0, 66.0, 48.0))
    assert motion.search_side(target, 0) == target.side == pytest.approx(first * 1.1)
    for _ in range(20):
        advance(motion, target, (0.0, 0.0, target.w * 1.2, target.h * 1.2))
    assert target.side == 2.0 * first


@pytest.mark.parametrize(("box", "found", "share"), [((100, 80, 2, 2), 1e6, 100.0), ((0, 0, 900, 900), 0.001, 0.01)])
def test_running_side_without_limits_of_its_own_changes_a_hundredfold_at_most(box, found, share):
    motion, target = started(Geometry(side="running", limits=FREE), box)
    advance(motion, target, (0.0, 0.0, found, found))
    assert target.side == share * target.first_side
