"""What an evaluation found: figures of each tracker over its sequences, and the report of them all."""

from collections.abc import Iterable
from collections.abc import Sequence as Many
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from .conventions import Convention
from .datasets.layouts import DataSet
from .datasets.sequence import Sequence
from .datasets.varied import original
from .evaluate import Done, Protocol
from .machine import machine, versions
from .metrics import FIGURES, Frames, Score, compare, interval, intervals, mean_score, score
from .ope import Run
from .peers import Spec


@dataclass(frozen=True, eq=False)
class OnSequence:
    """One run of one tracker on one sequence."""

    sequence: Sequence
    run: Run
    frames: Frames
    score: Score | None
    """None where nothing of it can be counted: the ground truth is withheld."""

    @property
    def fps(self) -> float | None:
        """Frames a second of the tracker alone; None where no times were measured."""
        asked = int((self.run.times > 0).sum())
        return asked / self.run.seconds if asked else None


@dataclass(eq=False)
class OnSet:
    """One tracker on all sequences."""

    spec: Spec
    found: list[OnSequence] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    """Sequence: why there is no run."""

    @property
    def scored(self) -> list[OnSequence]:
        """The runs that have figures."""
        return [one for one in self.found if one.score is not None]

    @property
    def scores(self) -> list[Score]:
        """The figures of each sequence: the mean of its runs."""
        return list(self.by_sequence().values())

    def by_sequence(self) -> dict[str, Score]:
        """Return the figures of each sequence by its name: the mean of its runs."""
        runs: dict[str, list[Score]] = {}
        for one in self.scored:
            assert one.score is not None
            runs.setdefault(original(one.sequence.name), []).append(one.score)
        return {name: mean_score(scores) for name, scores in runs.items()}

    def mean(self) -> Score | None:
        """Return the mean over sequences; None where there is nothing to take it of."""
        return mean_score(self.scores) if self.scores else None

    def fps(self) -> float | None:
        """Return frames a second over all sequences; None where no times were measured."""
        seconds = sum(one.run.seconds for one in self.found)
        return sum(int((one.run.times > 0).sum()) for one in self.found) / seconds if seconds else None


class Ahead(NamedTuple):
    """By how much one tracker is above another in a figure."""

    mean: float
    interval_95: tuple[float, float]
    """Of a bootstrap over sequences, paired: what all trackers find hard or easy does not widen it."""


def ahead(one: OnSet, other: OnSet) -> dict[str, Ahead]:
    """Return by how much `one` is above `other` in each figure, over the sequences of both; empty without any."""
    mine, theirs = one.by_sequence(), other.by_sequence()
    names = [name for name in mine if name in theirs]
    if not names:
        return {}
    weights = np.array([mine[name].weight for name in names], float)
    found = {}
    for figure in FIGURES:
        apart = np.array([mine[name].figures[figure] - theirs[name].figures[figure] for name in names])
        found[figure] = Ahead(float(np.average(apart, weights=weights)), interval(apart, weights))
    return found


def gather(specs: Many[Spec], done: Iterable[Done], rule: Convention) -> list[OnSet]:
    """Return the figures of each tracker, in the order of `specs`, its sequences by name."""
    by_label = {spec.label: OnSet(spec) for spec in specs}
    for one in sorted(done, key=lambda one: one.job.sequence.name):
        kept, sequence = by_label[one.job.spec.label], one.job.sequence
        if one.run is None:
            kept.failed[sequence.name] = one.error
            continue
        frames = compare(one.run.boxes, sequence, rule, one.run.frame_wh)
        figures = None if sequence.withheld else score(frames, rule)
        kept.found.append(OnSequence(sequence, one.run, frames, figures))
    return list(by_label.values())


def accuracy_report(
    sets: Many[OnSet], data: DataSet, rule: Convention, protocol: Protocol, left_out: dict[str, str]
) -> dict[str, Any]:
    """Return all figures as plain data. `left_out`: sequences that can't be read, and why."""
    return {
        "data": {"folder": str(data.folder), "layout": data.layout.name, "left_out": left_out},
        "convention": {"name": rule.name, "source": rule.source},
        "realtime_fps": protocol.realtime,
        "runs": protocol.runs,
        "machine": machine(),
        "versions": versions(),
        "trackers": [
            _tracker(one) | ({"against_first": _against(one, sets[0])} if one is not sets[0] else {}) for one in sets
        ],
    }


def _tracker(one: OnSet) -> dict[str, Any]:
    mean = one.mean()
    spread = intervals(one.scores) if mean else {}
    return {
        "tracker": one.spec.label,
        "identity": one.spec.identity(),
        "sequences_counted": len(one.scores),
        "figures": mean and {name: {"mean": mean.figures[name], "interval_95": spread[name]} for name in FIGURES},
        "fps": one.fps(),
        "failed": one.failed,
        "sequences": [_sequence(found) for found in one.found],
    }


def _against(one: OnSet, first: OnSet) -> dict[str, Any]:
    return {name: found._asdict() for name, found in ahead(one, first).items()}


def _sequence(found: OnSequence) -> dict[str, Any]:
    figures = found.score.figures if found.score else None
    return {"name": found.sequence.name, "frames": len(found.run.boxes), "figures": figures, "fps": found.fps}


def by_attribute(one: OnSet) -> dict[str, list[Score]]:
    """Return the scores of the sequences that have each attribute, the commonest attribute first."""
    found: dict[str, list[Score]] = {}
    for item in one.scored:
        for name in item.sequence.attributes:
            assert item.score is not None
            found.setdefault(name, []).append(item.score)
    return dict(sorted(found.items(), key=lambda pair: (-len(pair[1]), pair[0])))


def confidence(one: OnSet) -> tuple[np.ndarray[Any, np.dtype[np.float64]], np.ndarray[Any, np.dtype[np.float64]]]:
    """Return the scores the tracker gave and the overlaps it reached, of all counted frames but the first. [K], [K]."""
    scores, overlaps = [], []
    for item in one.scored:
        later = item.frames.numbers > 0
        scores.append(item.run.scores[item.frames.numbers[later]])
        overlaps.append(np.maximum(item.frames.overlaps[later], 0))
    return (np.concatenate(scores), np.concatenate(overlaps)) if scores else (np.zeros(0), np.zeros(0))
