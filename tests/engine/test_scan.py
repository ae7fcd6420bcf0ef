from math import hypot

from hypothesis import given
from hypothesis import strategies as st

from trk.engine.scan import windows

SIDES = st.integers(8, 4000)


@given(width=SIDES, height=SIDES, side=st.floats(20, 3000), x=st.floats(0, 1), y=st.floats(0, 1))
def test_every_place_of_the_frame_lies_deep_inside_a_window_and_the_nearest_come_first(width, height, side, x, y):
    if width * height / side**2 > 2000:
        return
    around = (x * width, y * height)
    centres = windows((width, height), side, around)
    reach = side / 4 + 1e-6  # a target this far off a window's centre lies in it with its context
    for px, py in ((0, 0), (width, height), (x * width, y * height), (width, 0), (width / 3, height / 2)):
        assert any(abs(px - cx) <= reach and abs(py - cy) <= reach for cx, cy in centres)
    far = [hypot(cx - around[0], cy - around[1]) for cx, cy in centres]
    assert far == sorted(far)
    assert len(set(centres)) == len(centres)
