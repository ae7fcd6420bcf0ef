from math import isfinite

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trk.engine.boxes import MAX_SIZE, MIN_SIZE
from trk.engine.geometry import BoxContext, Geometry, Hysteresis, Limits, square
from trk.engine.manifest import Search
from trk.engine.target import Motion
from trk.models.registry import ROWS, find

FRAME = (320, 240)
FREE = Limits(centre_in_frame=False, min_size=None, max_size_frame=False)
CUT_AT_EDGES = Geometry.model_validate(find("lightfc").geometry)
WHOLE_PIXELS = Geometry.model_validate(find("fear", "xs").geometry)
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
        for extent in (motion.search_extent(target, 0), motion.template_extent(target)):
            assert all(isfinite(length) for length in extent)
            assert min(extent) > 0
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
        if limits.in_frame:
            smallest = limits.in_frame.min_side
            for first, length, end in zip(target.box[:2], target.box[2:], frame, strict=True):
                assert length >= smallest
                assert first >= min(0.0, end - smallest) - 1e-6 * end
                assert first + length <= end * (1 + 1e-6)
        if limits.whole_pixels:
            assert all(value == round(value) for value in target.box)


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
    side = ((60 + 50) * (40 + 50)) ** 0.5
    assert motion.search_extent(target, 0) == pytest.approx(square(side * 255 / 127))
    assert motion.search_extent(target, 1) == pytest.approx(square(side * 287 / 127))
    first = target.side
    assert square(first) == motion.search_extent(target, 0)
    advance(motion, target, (0.0, 0.0, 120.0, 80.0))
    assert motion.search_extent(target, 0) == pytest.approx(square(2 * first))
    assert target.side == first  # runs along only where the geometry says so


@pytest.mark.parametrize(("template", "exemplar"), [(127, 127), (128, 64), (255, 127)])
def test_template_holds_the_target_with_its_context_as_large_as_its_crop_asks_for(template, exemplar):
    motion, target = started(Geometry(template_size=template, exemplar_size=exemplar, context_amount=0.25))
    side = ((60 + 25) * (40 + 25)) ** 0.5
    assert motion.template_extent(target) == pytest.approx(square(side * template / exemplar))
    assert motion.search_extent(target, 0) == pytest.approx(square(side * 255 / exemplar))


def test_regions_with_the_context_of_a_box_have_its_proportions_whatever_their_crops_size():
    context = BoxContext(template=0.25, search=1.5)
    motion, target = started(Geometry(box_context=context, template_size=128), whens=("always", "lost"))
    assert motion.template_extent(target) == (90.0, 60.0, 45.0, 30.0)
    assert motion.search_extent(target, 0) == motion.search_extent(target, 1) == (240.0, 160.0, 120.0, 80.0)
    advance(motion, target, (0.0, 0.0, 30.0, 80.0))
    assert motion.template_extent(target) == (45.0, 120.0, 22.5, 60.0)
    assert motion.search_extent(target, 0) == (120.0, 320.0, 60.0, 160.0)


def test_box_without_any_context_is_a_region_too():
    motion, target = started(Geometry(box_context=BoxContext(template=0.0, search=0.0)))
    assert motion.template_extent(target) == motion.search_extent(target, 0) == (60.0, 40.0, 30.0, 20.0)


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
    (lost, _, _, _), (usual, _, _, _) = motion.search_extent(target, 2), motion.search_extent(target, 0)
    assert lost / usual == pytest.approx(831 / 255)
    assert motion.search_extent(target, 2) == square(lost)


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
    for (w, h), side in zip(((60, 40), (59.5, 39.6)), sides, strict=True):
        motion, target = started(Geometry(round_exemplar=rounds), (100, 80, w, h))
        assert motion.template_extent(target) == pytest.approx(square(side), abs=1e-4)
        assert target.side == pytest.approx(side * 255 / 127, abs=1e-3)


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
    assert target.side == pytest.approx(first * 1.1)
    assert motion.search_extent(target, 0) == square(target.side)
    for _ in range(20):
        advance(motion, target, (0.0, 0.0, target.w * 1.2, target.h * 1.2))
    assert target.side == 2.0 * first


@pytest.mark.parametrize(("box", "found", "share"), [((100, 80, 2, 2), 1e6, 100.0), ((0, 0, 900, 900), 0.001, 0.01)])
def test_running_side_without_limits_of_its_own_changes_a_hundredfold_at_most(box, found, share):
    motion, target = started(Geometry(side="running", limits=FREE), box)
    advance(motion, target, (0.0, 0.0, found, found))
    assert target.side == share * target.first_side


def clipped_as_lightfc(box, frame, m=2):
    """LIGHT_TRACKERS.md 1.5, step 7."""
    x, y, w, h = box
    width, height = frame
    x1, y1 = min(max(0, x), width - m), min(max(0, y), height - m)
    x2, y2 = min(max(m, x + w), width), min(max(m, y + h), height)
    return x1, y1, max(m, x2 - x1), max(m, y2 - y1)


def clamped_as_fear(box, frame, least=3):
    """LIGHT_TRACKERS.md 2.4, step 5; upstream's boxes become integers before their smallest side is seen to."""
    x, y, w, h = box
    width, height = frame
    x1, y1 = min(max(0, x), width), min(max(0, y), height)
    w, h = min(max(0, x1 + w), width) - x1, min(max(0, y1 + h), height) - y1
    x1, y1, w, h = int(x1), int(y1), int(w), int(h)
    if w < least:
        w = least
        x1 -= max(0, x1 + least - width)
    if h < least:
        h = least
        y1 -= max(0, y1 + least - height)
    return x1, y1, w, h


def moved_to(box, target):
    """What the network says where `box` is found: from the target's centre on."""
    x, y, w, h = box
    return x + w / 2 - target.cx, y + h / 2 - target.cy, w, h


def places(*lengths):
    """Boxes in, over the edges of and beyond frames."""
    return st.tuples(*[st.floats(-900, 900)] * 2, *[st.floats(*lengths)] * 2)


FRAMES = st.tuples(st.integers(1, 400), st.integers(1, 400)) | st.tuples(st.integers(1, 8), st.integers(1, 8))


@settings(max_examples=400, deadline=None)
@given(frame=FRAMES, box=places(0.1, 700))
def test_box_over_an_edge_is_cut_there_as_lightfc_does(frame, box):
    motion, target = started(CUT_AT_EDGES, (0, 0, 1, 1), frame)
    found = advance(motion, target, moved_to(box, target), frame=frame)
    x, y, w, h = clipped_as_lightfc(box, frame)
    assert found == pytest.approx((x, y, w, h), abs=1e-9)
    assert target.box == found


@settings(max_examples=400, deadline=None)
@given(frame=FRAMES, box=places(0.1, 700))
def test_box_beyond_an_edge_is_moved_into_the_frame_or_cut_as_fear_does(frame, box):
    motion, target = started(WHOLE_PIXELS, (0, 0, 1, 1), frame)
    # Quarters are exact: what is rounded is what was drawn, halves too.
    x, y, w, h = (round(4 * value) / 4 for value in box)
    found = advance(motion, target, moved_to((x, y, w, h), target), frame=frame)
    whole = round(x), round(y), max(3, round(w)), max(3, round(h))
    assert found == clamped_as_fear(whole, frame)
    assert target.box == found


@settings(max_examples=400, deadline=None)
@given(frame=FRAMES, box=places(1.0, 700))
def test_box_that_is_given_is_put_into_the_frame_before_it_is_cut_to_whole_pixels(frame, box):
    _, target = started(WHOLE_PIXELS, box, frame)
    expected = clamped_as_fear(box, frame)
    assert target.box == expected
    assert target.first_size == expected[2:]


@pytest.mark.parametrize(
    ("box", "becomes"),
    [
        ((100.0, 80.0, 60.0, 40.0), (100, 80, 60, 40)),
        ((100.9, 80.5, 60.9, 40.5), (100, 80, 60, 40)),
        ((-10.5, -3.2, 60.9, 40.0), (0, 0, 60, 40)),  # moved, not cut
        ((300.5, 230.9, 60.0, 40.0), (300, 230, 19, 9)),
        ((319.0, 239.5, 1.0, 1.0), (317, 237, 3, 3)),
        ((10.0, 10.0, 1.5, 2.9), (10, 10, 3, 3)),
    ],
)
def test_box_that_is_given_becomes_whole_pixels_of_the_frame(box, becomes):
    _, target = started(WHOLE_PIXELS, box)
    assert target.box == becomes


def test_box_that_is_given_stays_as_it_is_where_only_results_are_kept_in_the_frame():
    # Source: LIGHT_TRACKERS.md 1.5: the first box is neither clipped nor rounded.
    motion, target = started(CUT_AT_EDGES, (-10.5, 230.25, 60.5, 40.75))
    assert target.box == (-10.5, 230.25, 60.5, 40.75)
    assert advance(motion, target, moved_to(target.box, target)) == (0.0, 230.25, 50.0, 9.75)


@pytest.mark.parametrize(
    ("value", "becomes"), [(20.5, 20), (21.5, 22), (20.49, 20), (20.51, 21), (21.0, 21)], ids=lambda value: f"{value}"
)
def test_results_in_whole_pixels_are_rounded_halves_to_even_each_value_by_itself(value, becomes):
    motion, target = started(WHOLE_PIXELS)
    for place in range(4):
        box = [40.0, 50.0, 60.0, 70.0]
        box[place] = value
        found = advance(motion, target, moved_to(box, target))
        box[place] = becomes
        assert found == pytest.approx(box, abs=0)
        assert all(isinstance(part, float) for part in (*found, *target.box))


def test_whole_pixels_need_no_limits_of_the_frame():
    motion, target = started(Geometry(limits=FREE.model_copy(update={"whole_pixels": True})), (-5.7, 80.2, 60.9, 40.0))
    assert target.box == (-5, 80, 60, 40)
    assert advance(motion, target, moved_to((-7.5, 229.5, 33.5, 34.5), target)) == (-8, 230, 34, 34)


def test_numbers_too_large_for_a_sum_leave_the_state_finite():
    huge = 1.5e308
    for geometry in (CUT_AT_EDGES, WHOLE_PIXELS, Geometry()):
        for moved in ((-huge, -huge, huge, huge), (huge, huge, -huge, -huge), (huge, -huge, -huge, huge)):
            motion, target = started(geometry)
            assert all(isfinite(value) for value in advance(motion, target, moved))
            assert isfinite(sum(target.box))
