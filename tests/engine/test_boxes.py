import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trk import BoxError
from trk.engine.boxes import check_box

FRAME = (320, 240)


@pytest.mark.parametrize(
    ("box", "words"),
    [
        (None, "four numbers"),
        ((), "four numbers"),
        ((1, 2, 3), "four numbers"),
        ((1, 2, 3, 4, 5), "four numbers"),
        (7, "four numbers"),
        ("10,20,30,40", "four numbers"),
        (("a", "b", "c", "d"), "four numbers"),
        ((1, 2, None, 4), "four numbers"),
        (((1, 2), 3, 4, 5), "four numbers"),
        (np.zeros((4, 4)), "four numbers"),
        ((1, 2, 3, 10**400), "four numbers"),
        (list(range(10**6)), "four numbers"),
        ((float("nan"), 2, 3, 4), "not finite"),
        ((1, 2, float("inf"), 4), "not finite"),
        ((float("-inf"), 2, 3, 4), "not finite"),
        ((10, 20, 0, 40), "no area"),
        ((10, 20, 30, 0), "no area"),
        ((10, 20, -30, 40), "no area"),
        ((10, 20, 30, -40), "no area"),
        ((0.1, 0.2, 0.3, 0.4), "shares of the frame"),
        ((10, 20, 30, 0.99), "smaller than a pixel"),
        ((-5000, -5000, 10000, 10000), "4 times as large"),
        ((320, 20, 30, 40), "outside the frame 320x240"),
        ((10, 240, 30, 40), "outside the frame"),
        ((-30, 20, 30, 40), "outside the frame"),
        ((10, -40, 30, 40), "outside the frame"),
        ((10, 250, 30, 40), "outside the frame"),
        ((-50, 20, 30, 40), "outside the frame"),
        ((10, -50, 30, 40), "outside the frame"),
        ((1e300, 20, 30, 40), "outside the frame"),
    ],
)
def test_box_that_makes_no_sense_is_refused_with_the_reason(box, words):
    with pytest.raises(BoxError) as caught:
        check_box(box, FRAME)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "box",
    [
        (0, 0, 1, 1),
        (319, 239, 1, 1),
        (-29.5, -39.5, 30, 40),
        (319.9, 239.9, 30, 40),
        (-400, -300, 1000, 800),
        (-400, -300, 1280, 1280),
        np.array([10, 20, 30, 40]),
        np.array([10, 20, 30, 40], np.float32),
        ["10", "20", "30", "40"],
    ],
)
def test_box_that_overlaps_the_frame_comes_back_as_floats(box):
    checked = check_box(box, FRAME)
    assert checked == tuple(float(value) for value in box)
    assert all(type(value) is float for value in checked)


@given(box=st.lists(st.floats() | st.integers() | st.text(max_size=3) | st.none(), max_size=5))
def test_any_list_is_a_box_in_the_frame_or_refused(box):
    try:
        x, y, w, h = check_box(box, FRAME)
    except BoxError:
        return
    assert min(w, h) >= 1
    assert -w < x < FRAME[0]
    assert -h < y < FRAME[1]
