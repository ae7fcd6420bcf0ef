"""What a graph that cuts its own crops is told of each."""

import numpy as np
import pytest

from trk.engine.geometry import CropRule, Geometry, square
from trk.engine.regions import REGION, new_regions, refusal, write_regions

FILL = np.array([12, 200, 77], np.uint8)


def test_a_row_says_where_the_square_is_what_is_around_it_and_how_large_the_frame_is():
    rule = CropRule(origin_shift=-0.5, centre_shift=-0.5)
    rows, sides = new_regions(5), (38.5, 40.4, 43.0, 44.2, 45.8)
    middle = write_regions(Geometry(crop=rule), (320, 240), (100.3, 50.8), sides, FILL, rows)
    squares = [square(rule, (100.3, 50.8), side) for side in sides]
    assert rows.dtype == np.float32
    assert rows.tolist() == [[*cut[:3], 12, 200, 77, 320, 240] for cut in squares]
    assert [cut.side for cut in squares] == [38, 40, 43, 44, 46]
    assert middle == squares[2].centre


def test_a_row_has_a_column_for_each_name_and_begins_as_nothing():
    assert new_regions(2).shape == (2, len(REGION)) == (2, 8)
    assert not new_regions(2).any()


def test_there_is_a_row_for_every_side():
    with pytest.raises(ValueError, match="argument"):
        write_regions(Geometry(), (320, 240), (100.0, 50.0), (40.0,), FILL, new_regions(2))


def test_crops_that_are_whole_pixels_of_the_frame_can_be_cut():
    assert refusal(Geometry(search_steps=(-1, 0, 1))) is None
    assert refusal(Geometry(crop=CropRule(pyramid="nested"))) is None  # of one scale
    nested = Geometry(crop=CropRule(pyramid="nested"), search_steps=(0, 1))
    assert refusal(nested) == "its scales are cut out of each other"
    affine = Geometry(crop=CropRule(sampling="affine"))
    assert refusal(affine) == "its crops are sampled as they fall, not cut out in whole pixels"
