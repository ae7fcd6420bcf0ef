import itertools

import pytest

from trk.web.history import History


def test_states_of_the_last_frames_are_all_there():
    history = History(recent=10, older=6)
    for frame in range(1000):
        history.add(frame, {1: frame})
    assert [history.before(frame)[0] for frame in range(990, 1000)] == list(range(990, 1000))
    assert history.before(4000) == (999, {1: 999})
    assert len(history) <= 10 + 6 + 1


def test_older_ones_thin_out_evenly_and_the_first_stays():
    history = History(recent=10, older=20)
    for frame in range(5000):
        history.add(frame, {})
    found = sorted({history.before(frame)[0] for frame in range(4990)})
    gaps = [b - a for a, b in itertools.pairwise(found)]
    assert found[0] == 0
    assert 10 <= len(found) <= 21
    assert max(gaps) <= 2 * 5000 / 20


def test_what_a_person_did_is_never_thinned_out():
    history = History(recent=5, older=5)
    for frame in range(500):
        history.add(frame, {1: frame})
        if frame in (17, 333):
            history.add(frame, {1: "drawn"}, keep=True)
    assert history.before(17) == (17, {1: "drawn"})
    assert history.before(333) == (333, {1: "drawn"})
    history.cut(17)
    assert history.before(400) == (17, {1: "drawn"})
    history.cut(16)
    history.add(17, {1: 17})
    assert history.before(17) == (17, {1: 17})


def test_nothing_is_kept_before_the_first():
    history = History()
    history.add(5, {})
    with pytest.raises(KeyError):
        history.before(4)
