"""Long and heavy use: memory and handles stay as they are, threads and processes change no box."""

import ast
import gc
import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import trk
from trk import MultiTracker, Tracker

ROOM = 24 << 20
"""Bytes that the process may grow by: allocators keep some; a leak of a crop a call would be a hundred times that."""


def resident():
    """Bytes of memory this process holds."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def handles():
    return [len(list(Path("/proc/self", kind).iterdir())) for kind in ("fd", "task")]


pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")


def track(bundle, frames, box):
    tracker = Tracker(bundle, threads=1)
    tracker.init(frames[0], box)
    return [tracker.update(frame).box for frame in frames[1:]]


def grown(work, warm_up, count):
    """By how many bytes `count` calls of `work` let the process grow, once `warm_up` were made; handles must stay."""
    for _ in range(warm_up):
        work()
    before, open_before = resident(), handles()
    for _ in range(count):
        work()
    assert handles() == open_before
    return resident() - before


def test_targets_that_begin_and_end_leave_nothing(tiny_bundle, clip):
    tracker = Tracker(tiny_bundle, threads=1)

    def work():
        tracker.init(clip.frames[0], clip.boxes[0])
        tracker.update(clip.frames[1])

    assert grown(work, 50, 1000) < ROOM


def test_trackers_that_are_loaded_and_dropped_leave_nothing(tiny_trk, clip):
    assert grown(lambda: track(tiny_trk, clip.frames[:2], clip.boxes[0]), 20, 60) < ROOM


def test_several_targets_that_come_and_go_leave_nothing(tiny_bundle, clip):
    tracker = MultiTracker(tiny_bundle, threads=3)

    def work():
        targets = [tracker.add(clip.frames[0], clip.boxes[0]) for _ in range(4)]
        tracker.update(clip.frames[1])
        for target in targets:
            tracker.remove(target)

    assert grown(work, 10, 60) < ROOM


@pytest.mark.slow
def test_a_hundred_thousand_frames_leave_nothing(tiny_bundle, clip):
    tracker = Tracker(tiny_bundle, threads=1)
    tracker.init(clip.frames[0], clip.boxes[0])
    frames = iter(range(10**9))
    assert grown(lambda: tracker.update(clip.frames[next(frames) % 20]), 1000, 100_000) < ROOM


def test_sixteen_threads_give_the_boxes_of_one(tiny_bundle, clip):
    alone = [track(tiny_bundle, clip.frames, clip.boxes[0] + (number, number, 0, 0)) for number in range(16)]
    with ThreadPoolExecutor(16) as pool:
        found = pool.map(
            lambda number: track(tiny_bundle, clip.frames, clip.boxes[0] + (number, number, 0, 0)), range(16)
        )
        assert list(found) == alone


def test_processes_at_once_give_the_boxes_of_one(tiny_bundle, clip):
    alone = [one.result.box for one in trk.track(clip.folder, clip.boxes[0], Tracker(tiny_bundle, threads=1))]
    code = (
        "import sys, trk\n"
        "tracker = trk.Tracker(sys.argv[1], threads=1)\n"
        "box = [float(value) for value in sys.argv[3].split(',')]\n"
        "print([one.result.box for one in trk.track(sys.argv[2], box, tracker)])"
    )
    words = [sys.executable, "-c", code, str(tiny_bundle), str(clip.folder), clip.init]
    processes = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert [ast.literal_eval(process.communicate()[0]) for process in processes] == [alone] * 4


def test_process_that_was_forked_before_anything_was_loaded_gives_the_same(tiny_bundle, clip):
    alone = track(tiny_bundle, clip.frames[:6], clip.boxes[0])
    reader, writer = os.pipe()
    words = np.array(alone).tobytes()
    child = multiprocessing.get_context("fork").Process(
        target=lambda: os.write(writer, np.array(track(tiny_bundle, clip.frames[:6], clip.boxes[0])).tobytes())
    )
    child.start()
    child.join(60)
    assert child.exitcode == 0
    assert os.read(reader, 2 * len(words)) == words
    os.close(reader)
    os.close(writer)
