"""More runs of one sequence: backwards, and from a first box that is a little off.

One run tells a tracker's luck as much as its worth: a box a pixel off in the first frame can decide whether a target is
kept. Several runs of each sequence even that out.
"""

from dataclasses import replace

import numpy as np

from .sequence import Sequence

MARK = "~"
"""Before the number of a run in its name."""
OFF = 1.0
"""Pixels by which corner and size of the first box are moved at most."""
SMALLEST = 2.0
"""A moved box keeps sides of so many pixels."""


def varied(sequence: Sequence, runs: int) -> list[Sequence]:
    """Return `runs` ways to run `sequence`, which is the first.

    Every second one is backwards; from the third on the first box is moved by up to OFF pixels, always in the same way.
    A sequence whose ground truth is withheld can't be varied: it is the only one.
    """
    if sequence.withheld:
        return [sequence]
    return [_variant(sequence, number) for number in range(runs)]


def original(name: str) -> str:
    """Return the name of the sequence that a run called `name` is of."""
    stem, mark, number = name.rpartition(MARK)
    return stem if mark and number.isdigit() else name


def _variant(sequence: Sequence, number: int) -> Sequence:
    if number == 0:
        return sequence
    found = replace(_backwards(sequence) if number % 2 else sequence, name=f"{sequence.name}{MARK}{number + 1}")
    if number > 1:
        boxes = found.groundtruth.copy()
        boxes[0] += np.random.default_rng(number // 2).uniform(-OFF, OFF, 4)
        boxes[0, 2:] = np.maximum(boxes[0, 2:], np.minimum(found.groundtruth[0, 2:], SMALLEST))
        found = replace(found, groundtruth=boxes)
    return found


def _backwards(sequence: Sequence) -> Sequence:
    """From the last frame whose box is known to the first."""
    last = int(np.flatnonzero(sequence.visible)[-1])
    turned = slice(last, None, -1)
    hidden = sequence.hidden
    return replace(
        sequence,
        images=sequence.images[turned],
        groundtruth=sequence.groundtruth[turned].copy(),
        hidden=None if hidden is None else hidden[turned],
    )
