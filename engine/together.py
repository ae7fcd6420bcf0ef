"""Several targets' turns at once: what they ask of the network is answered in as few runs as the bundle allows."""

from collections.abc import Iterable, Mapping
from itertools import groupby
from time import perf_counter

import numpy as np

from .ask import Ask, Look, next_asks
from .backends.base import Batched
from .device_frame import AnyFrame, Frame
from .regions import new_regions
from .result import Result
from .state import State
from .tracker import Tracker


def take_turns(tracker: Tracker, frame: AnyFrame, states: Mapping[int, State]) -> dict[int, Result]:
    """Move every target of `states` one frame on; return the results, each with its share of the time.

    Raises FrameError.
    """
    started = tracker.begin()
    seen = tracker.see(frame)
    turns = {target: tracker.turn(seen, state) for target, state in states.items()}
    answers: dict[int, list[Look] | None] = dict.fromkeys(turns)
    results: dict[int, Result] = {}
    while turns:
        asked = {}
        for target in list(turns):
            asks = next_asks(turns[target], answers[target])
            if isinstance(asks, Result):
                results[target] = asks
                del turns[target]
            else:
                asked[target] = asks
        looks = iter(_answered(tracker, seen, [ask for asks in asked.values() for ask in asks]))
        answers = {target: [next(looks) for _ in asks] for target, asks in asked.items()}
    seconds = tracker.end(started) / max(1, len(results))
    return {target: results[target]._replace(time=seconds) for target in states}


def _answered(tracker: Tracker, frame: Frame, asks: list[Ask]) -> list[Look]:
    """Return what each of `asks` finds, in order."""
    found: dict[int, Look] = {}
    kinds = sorted(range(len(asks)), key=lambda number: _kind(asks[number]))
    for _, numbers in groupby(kinds, key=lambda number: _kind(asks[number])):
        waiting = list(numbers)
        for part in _parts(tracker, asks[waiting[0]].graph, waiting):
            found |= zip(part, _search(tracker, frame, [asks[number] for number in part]), strict=True)
    return [found[number] for number in range(len(asks))]


def _kind(ask: Ask) -> tuple[int, bytes]:
    """What asks of one run have in common."""
    return ask.graph, ask.params.tobytes()


def _parts(tracker: Tracker, graph: int, numbers: list[int]) -> Iterable[list[int]]:
    """Divide `numbers` among the largest runs that they fill."""
    assert isinstance(tracker.backend, Batched)
    for size in (*tracker.backend.batches(graph), 1):
        while len(numbers) >= size:
            yield numbers[:size]
            numbers = numbers[size:]


def _search(tracker: Tracker, frame: Frame, asks: list[Ask]) -> list[Look]:
    if len(asks) == 1:
        return [tracker.look(frame, asks[0])]
    backend = tracker.backend
    assert isinstance(backend, Batched)
    graph, scales = asks[0].graph, len(tracker.manifest.geometry.search_steps)
    began, whole = perf_counter(), tracker.whole
    sizes, kernels = np.zeros((len(asks), 2), np.float32), [ask.state.kernels for ask in asks]
    rows = [slice(row * scales, (row + 1) * scales) for row in range(len(asks))]
    if whole is None:
        assert isinstance(frame, np.ndarray)
        crops = backend.batch_crops(graph, len(asks))
        cuts = [tracker.cut(frame, *one) for one in zip(asks, (crops[at] for at in rows), sizes, strict=True)]
        network_began = perf_counter()
        found = backend.search_batch(graph, kernels, sizes, asks[0].params)
    else:
        regions = new_regions(len(asks) * scales)
        cuts = [tracker.mark(frame, *one) for one in zip(asks, (regions[at] for at in rows), sizes, strict=True)]
        network_began = perf_counter()
        found = whole.search_frame(graph, kernels, regions, sizes, asks[0].params)
    tracker.count(began, network_began)
    return [cut.look(found, row) for row, cut in enumerate(cuts)]
