"""Several targets' turns at once: what they ask of the network is answered in as few runs as the bundle allows."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from time import perf_counter
from typing import NamedTuple

import numpy as np

from .ask import Ask, Found, Look, look_at, next_asks
from .device_frame import AnyFrame, Frame
from .result import Result
from .state import State
from .tracker import Tracker


class _Asked(NamedTuple):
    """What a target asks, and the frame to look into."""

    frame: Frame
    ask: Ask


def take_turns(tracker: Tracker, frames: Mapping[int, AnyFrame], states: Mapping[int, State]) -> dict[int, Result]:
    """Move every target of `frames` one frame on; return the results, each with its share of the time.

    Targets of different frames share runs. Raises FrameError, before any target has moved.
    """
    started = tracker.begin()
    pictures = {id(frame): frame for frame in frames.values()}
    seen = {name: tracker.check(frame) for name, frame in pictures.items()}
    found: dict[int, Found] = {}
    turns = {
        target: (seen[id(frame)], tracker.turn(seen[id(frame)], states[target])) for target, frame in frames.items()
    }
    answers: dict[int, list[Look] | None] = dict.fromkeys(turns)
    while turns:
        asked: dict[int, list[_Asked]] = {}
        for target, (frame, turn) in list(turns.items()):
            asks = next_asks(turn, answers[target])
            if isinstance(asks, list):
                asked[target] = [_Asked(frame, ask) for ask in asks]
            else:
                found[target] = asks
                del turns[target]
        looks = iter(_answered(tracker, [one for several in asked.values() for one in several]))
        answers = {target: [next(looks) for _ in several] for target, several in asked.items()}
    seconds = tracker.end(started) / max(1, len(found))
    return {target: tracker.result(states[target], found[target], seconds) for target in frames}


def _answered(tracker: Tracker, asked: Sequence[_Asked]) -> list[Look]:
    """Return what each of `asked` finds, in order."""
    found: dict[int, Look] = {}
    kinds = sorted(range(len(asked)), key=lambda number: _kind(asked[number]))
    for _, numbers in groupby(kinds, key=lambda number: _kind(asked[number])):
        waiting = list(numbers)
        for part in _parts(tracker, asked[waiting[0]].ask.graph, waiting):
            found |= zip(part, _search(tracker, [asked[number] for number in part]), strict=True)
    return [found[number] for number in range(len(asked))]


def _kind(asked: _Asked) -> tuple[int, bytes]:
    """What asks of one run have in common."""
    return asked.ask.graph, asked.ask.params.tobytes()


def _parts(tracker: Tracker, graph: int, numbers: list[int]) -> Iterable[list[int]]:
    """Divide `numbers` among the largest runs that they fill."""
    for size in (*tracker.backend.batches(graph), 1):
        while len(numbers) >= size:
            yield numbers[:size]
            numbers = numbers[size:]


def _search(tracker: Tracker, asked: Sequence[_Asked]) -> list[Look]:
    if len(asked) == 1:
        return [tracker.look(*asked[0])]
    backend = tracker.backend
    graph, params = asked[0].ask.graph, asked[0].ask.params
    scales = len(tracker.manifest.geometry.search_steps)
    began = perf_counter()
    sizes, kernels = np.zeros((len(asked), 2), np.float32), [ask.state.kernels for _, ask in asked]
    crops = backend.batch_crops(graph, len(asked))
    parts = [slice(row * scales, (row + 1) * scales) for row in range(len(asked))]
    cuts = [tracker.cut(*one, crops[part], size) for one, part, size in zip(asked, parts, sizes, strict=True)]
    network_began = perf_counter()
    found = backend.search_batch(graph, kernels, sizes, params)
    tracker.count(began, network_began)
    return [look_at(*one) for one in zip(cuts, found.box.tolist(), found.score.tolist(), strict=True)]
