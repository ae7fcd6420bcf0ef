import json

import pytest

from trk.video.record import Record
from trk.web.timeline import Timeline


def at(frame, score=0.5, lost=False, target=1):
    return Record(frame, frame / 25, (0.0, 0.0, 1.0, 1.0), score, lost, target)


def told(timeline, first=0):
    return list(timeline.told(first))


def test_every_frame_is_a_point_while_there_are_few():
    timeline = Timeline()
    for frame in (3, 4, 5):
        assert not timeline.add([at(frame, frame / 10), at(frame, None, True, target=2)])
    assert told(timeline, 1) == [[4, [[1, 0.4, 0], [2, None, 1]]], [5, [[1, 0.5, 0], [2, None, 1]]]]


def test_many_frames_share_a_point_that_hides_no_fall_and_no_loss():
    timeline = Timeline(most=10)
    thinned = [timeline.add([at(frame, 0.1 if frame == 333 else 0.9, lost=frame == 700)]) for frame in range(1000)]
    assert sum(thinned) == 7
    assert (timeline.step, len(timeline.points)) == (128, 8)
    points = {frame: targets[0] for frame, targets in told(timeline)}
    assert [frame for frame, (_, score, _) in points.items() if score == 0.1] == [256]
    assert [frame for frame, (_, _, lost) in points.items() if lost] == [640]
    assert json.loads(json.dumps(told(timeline))) == told(timeline)


@pytest.mark.parametrize("score", [None, float("nan"), float("inf"), float("-inf")])
def test_no_score_is_none(score):
    timeline = Timeline()
    timeline.add([at(0, score)])
    assert told(timeline) == [[0, [[1, None, 0]]]]


def test_winding_back_leaves_nothing_of_what_came_after():
    first = [at(frame, 1 - frame / 1000) for frame in range(500)]
    second = [*first[:302], *(at(frame, 0.8, lost=True) for frame in range(302, 500))]
    whole, wound = Timeline(most=50), Timeline(most=50)
    for record in first:
        wound.add([record])
    wound.cut(301, first[wound.begin_of(301) : 302])
    assert wound.points[-1][0] <= 301
    for record in second[302:]:
        wound.add([record])
    for record in second:
        whole.add([record])
    assert wound.step == whole.step == 16
    assert told(wound) == told(whole)
