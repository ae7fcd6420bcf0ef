"""Real-time evaluation on any data: frames arrive at a stated rate, and a late answer counts as the old box.

The idea is that of the VOT challenge's real-time experiment (Kristan et al., VOT2017, section 2.3); the clock here is
made of measured times: frame k arrives at k / fps; the answer to it must be there when frame k + 1 arrives. A tracker
that is busy then misses frames and goes on with the newest one. Taking the target in the first frame costs no time, and
neither does reading images.
"""

from collections.abc import Callable
from time import perf_counter

from ..engine.result import Box
from .datasets.sequence import Sequence
from .ope import OnePass, Run, as_run, first_box, images


def run_realtime(tracker: OnePass, sequence: Sequence, fps: float, clock: Callable[[], float] = perf_counter) -> Run:
    """Run `tracker` through `sequence` at `fps` frames a second; `clock` measures how long an update takes.

    A box of the run is the newest one that was there in time, with its score; the seconds of a frame are 0 where it was
    skipped.
    """
    given = first_box(sequence)
    shown: tuple[Box, float] = (given, 1.0)
    pending: tuple[float, Box, float] | None = None
    free = 0.0
    boxes, scores, times, frame_wh = [given], [1.0], [0.0], (0, 0)
    for number, image in enumerate(images(sequence)):
        if number == 0:
            frame_wh = (image.shape[1], image.shape[0])
            tracker.init(image, given)
            continue
        arrives, due = number / fps, (number + 1) / fps
        taken = 0.0
        # Busy until this frame is no longer the newest: it is never seen.
        if free < due:
            if pending is not None:
                shown = pending[1:]
            began = clock()
            result = tracker.update(image)
            taken = clock() - began
            free = max(free, arrives) + taken
            pending = (free, result.box, result.score)
        if pending is not None and pending[0] <= due:
            shown = pending[1:]
        boxes.append(shown[0])
        scores.append(shown[1])
        times.append(taken)
    return as_run(sequence, boxes, scores, times, frame_wh)
