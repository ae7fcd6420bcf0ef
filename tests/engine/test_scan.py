from math import hypot

from hypothesis import given
from hypothesis import strategies as st

from trk.engine.scan import windows

SIDES = st.integers(8, 4000)


@given(
    width=SIDES, height=SIDES, wide=st.floats(20, 3000), tall=st.floats(20, 3000), x=st.floats(0, 1), y=st.floats(0, 1)
)
def test_every_place_of_the_frame_lies_deep_inside_a_window_and_the_nearest_come_first(width, height, wide, tall, x, y):
    if width * height / (wide * tall) > 2000:
        return
    around = (x * width, y * height)
    centres = windows((width, height), (wide, tall), around)
    # A target this far off a window's centre lies in it with its context.
    across, down = wide / 4 + 1e-6, tall / 4 + 1e-6
    for px, py in ((0, 0), (width, height), (x * width, y * height), (width, 0), (width / 3, height / 2)):
        assert any(abs(px - cx) <= across and abs(py - cy) <= down for cx, cy in centres)
    far = [hypot(cx - around[0], cy - around[1]) for cx, cy in centres]
    assert far == sorted(far)
    assert len(set(centres)) == len(centres)


@given(width=SIDES, height=SIDES, wide=st.floats(20, 3000), tall=st.floats(20, 3000))
def test_there_are_no_more_windows_across_and_down_than_overlap_by_half(width, height, wide, tall):
    if width * height / (wide * tall) > 2000:
        return
    centres = windows((width, height), (wide, tall), (0.0, 0.0))
    columns, rows = ({centre[axis] for centre in centres} for axis in (0, 1))
    assert len(centres) == len(columns) * len(rows)
    assert len(columns) < 2 * width / wide + 1
    assert len(rows) < 2 * height / tall + 1
