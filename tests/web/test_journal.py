import tracemalloc
from dataclasses import replace
from math import inf, isnan, nan

import numpy as np
import pytest

from trk.errors import UsageError
from trk.video.record import Record
from trk.web.journal import ROWS_READ, Journal


def record(frame, target=1, **changes):
    return replace(Record(frame, frame / 25, (1.5, 2.0, 3.0, 4.25), 0.5, False, target), **changes)


@pytest.fixture
def journal():
    journal = Journal()
    yield journal
    journal.close()


def filled(journal, frames, targets=1, first=0):
    rows = [[record(frame, target) for target in range(1, targets + 1)] for frame in range(first, first + frames)]
    for row in rows:
        journal.append(row)
    return [one for row in rows for one in row]


def test_records_come_back_as_they_were(journal):
    records = [
        record(0, score=None),
        record(1, score=-3.25, lost=True),
        record(2, score=inf, box=(-1e9, 0.1, 0.2, 0.3)),
        record(9, target=10**6, time=1 / 3),
    ]
    for one in records:
        journal.append([one])
    assert list(journal.records()) == records
    assert (len(journal), journal.first_frame, journal.last_frame) == (4, 0, 9)
    journal.append([record(10, score=nan)])
    assert isnan(list(journal.records())[-1].score)


def test_an_empty_journal(journal):
    assert (len(journal), journal.first_frame, journal.last_frame, journal.frame_at(5)) == (0, None, None, None)
    assert list(journal.records()) == []
    assert journal.targets() == set()
    journal.append([])
    journal.cut(-1)
    assert list(journal.records()) == []


def test_a_part_is_read(journal):
    records = filled(journal, 3 * ROWS_READ, targets=2)
    assert list(journal.records(5, 7)) == records[10:16]
    assert list(journal.records(3 * ROWS_READ - 1)) == records[-2:]
    assert list(journal.records()) == records
    assert list(journal.records(7, 5)) == []
    assert journal.targets() == {1, 2}


def test_what_came_after_is_cut_off_and_written_anew(journal):
    records = filled(journal, 20, targets=3)
    journal.cut(30)
    assert list(journal.records()) == records
    journal.cut(7)
    assert list(journal.records()) == records[:24]
    journal.append([record(8, 2, lost=True)])
    assert list(journal.records(7)) == [*records[21:24], record(8, 2, lost=True)]
    assert journal.targets() == {1, 2, 3}


def test_the_frame_at_or_before(journal):
    filled(journal, 5, targets=2)
    filled(journal, 5, first=10)
    assert [journal.frame_at(frame) for frame in (-1, 0, 4, 7, 10, 99)] == [None, 0, 4, 4, 10, 14]


def test_who_reads_while_the_run_is_wound_back_is_told(journal):
    filled(journal, 2 * ROWS_READ)
    reading = journal.records()
    next(reading)
    journal.cut(10)
    filled(journal, 2 * ROWS_READ, first=11)
    with pytest.raises(UsageError, match="wound back meanwhile"):
        list(reading)


def test_who_reads_while_it_grows_gets_what_was_there(journal):
    records = filled(journal, 2 * ROWS_READ)
    reading = journal.records()
    first = next(reading)
    filled(journal, 10, first=2 * ROWS_READ)
    assert [first, *reading] == records


def test_memory_stays_as_it_was(journal):
    filled(journal, 500)
    tracemalloc.start()
    for frame in range(500, 8_000):
        journal.append([record(frame)])
    ours = [tracemalloc.Filter(True, "*/web/journal.py"), tracemalloc.Filter(True, __file__)]
    kept = tracemalloc.take_snapshot().filter_traces(ours)  # threads of other tests may still be at work
    grown = sum(one.size for one in kept.statistics("filename"))
    assert sum(1 for _ in journal.records()) == 8_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(journal) == 8_000
    assert grown < 50_000
    assert peak < 8e6  # a few thousand rows at a time, never all
    assert np.all(journal.targets() == {1})
