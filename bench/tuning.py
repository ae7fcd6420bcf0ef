"""Search for hyper-parameters on a data set: tuned on some clips, reported on the others.

The parameters are inputs of the graphs, so nothing is exported again. Clips are shared out by a hash of their names:
neither the order nor the machine matters, and nobody chooses.
"""

import hashlib
from collections.abc import Callable, Mapping
from collections.abc import Sequence as Many
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..engine.bundle import Bundle
from ..engine.tracker import Tracker
from ..errors import UsageError
from .conventions import Convention
from .datasets.sequence import Sequence
from .metrics import Score, compare, mean_score, score
from .ope import run

RANGES: Mapping[str, tuple[float, float]] = {
    "penalty_k": (0.0, 0.6),
    "window_influence": (0.0, 1.0),
    "lr": (0.05, 1.0),
    "scale_penalty": (0.9, 1.0),
    "scale_lr": (0.05, 0.9),
    "scale_step": (1.01, 1.1),
}
"""Where to look for what: the ranges of the upstreams' own searches (PySOT's grids, SiamDW's TPE), wider where values
outside them were published."""
DIGITS = 4


Measured = Mapping[str, Score]
"""The figures of each clip, by its name."""
Evaluate = Callable[[Mapping[str, float], Many[str]], Measured]
"""Measures some values on the clips of these names; one whose ground truth is withheld is left out."""


@dataclass(frozen=True)
class Trial:
    """One set of values, and what it reached on the clips for tuning."""

    params: dict[str, float]
    clips: Measured

    def mean(self, names: Many[str] | None = None) -> Score:
        """Return the mean over the clips `names`; None: over all."""
        return mean_score([self.clips[name] for name in (self.clips if names is None else names)])


@dataclass(frozen=True)
class Tuned:
    """What a search found."""

    params: dict[str, float]
    """The values to use."""
    before: Score
    after: Score
    """On clips that took no part in the choice, with the bundle's own values and with those chosen."""


def clips(sequences: Many[Sequence]) -> dict[str, list[Sequence]]:
    """Return the sequences of each clip: targets of one clip (NAME-1, NAME-2; NAME_1, NAME_2) are never parted.

    In an order that nobody chose.
    """
    found: dict[str, list[Sequence]] = {}
    for one in sequences:
        stem, mark, number = one.name.replace("_", "-").rpartition("-")
        found.setdefault(stem if mark and number.isdigit() else one.name, []).append(one)
    return {name: found[name] for name in sorted(found, key=_mixed)}


def _mixed(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def split(names: Many[str], held_out: float) -> tuple[list[str], list[str]]:
    """Return the clips to tune on and those to report on, about the share `held_out` of them.

    Raises UsageError where a side would be empty.
    """
    if len(names) < 2:
        raise UsageError(f"{len(names)} clip: tuning needs at least two, one of them to report on")
    count = min(max(round(held_out * len(names)), 1), len(names) - 1)
    return list(names[count:]), list(names[:count])


def search_space(tracker_params: Mapping[str, float], wanted: Many[str]) -> dict[str, tuple[float, float]]:
    """Return the ranges of the parameters to search: `wanted`, or all that are known. Raises UsageError."""
    for name in wanted:
        if name not in tracker_params:
            raise UsageError(f"no parameter {name!r} in this bundle: it has {', '.join(tracker_params)}")
        if name not in RANGES:
            raise UsageError(f"no range is known for {name!r}: there are {', '.join(RANGES)}")
    names = wanted or [name for name in tracker_params if name in RANGES]
    if not names:
        raise UsageError(f"nothing to tune in this bundle: it has {', '.join(tracker_params) or 'no parameters'}")
    return {name: RANGES[name] for name in names}


def measure(
    bundle: Bundle,
    params: Mapping[str, float],
    clips: Mapping[str, Many[Sequence]],
    rule: Convention,
    options: Mapping[str, Any],
) -> dict[str, Score]:
    """Return the figures of `bundle` with `params` on each clip: the mean of its sequences.

    Clips whose ground truth is withheld are left out. Raises UsageError where nothing counts.
    """
    tracker = Tracker(bundle, params=params, **options)
    measured = {}
    for name, sequences in clips.items():
        found = [_score(tracker, sequence, rule) for sequence in sequences if not sequence.withheld]
        if counted := [one for one in found if one is not None]:
            measured[name] = mean_score(counted)
    if not measured:
        raise UsageError("nothing can be counted on these clips: their ground truth is withheld")
    return measured


def _score(tracker: Tracker, sequence: Sequence, rule: Convention) -> Score | None:
    found = run(tracker, sequence)
    return score(compare(found.boxes, sequence, rule, found.frame_wh), rule)


def tune(
    evaluate: Evaluate,
    tuned_on: Many[str],
    held_out: Many[str],
    start: Mapping[str, float],
    space: Mapping[str, tuple[float, float]],
    trials: int,
    *,
    figure: str = "auc",
    seed: int = 0,
    tell: Callable[[Trial], None] = lambda trial: None,
) -> Tuned:
    """Return the best of `trials` sets of values out of `space`, the first being `start`.

    The search is Optuna's TPE on the clips `tuned_on`. A set that is no better than `start` there is not taken.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    given = {name: float(np.clip(start[name], low, high)) for name, (low, high) in space.items()}
    study.enqueue_trial(given)
    done: list[Trial] = []

    def objective(trial: optuna.Trial) -> float:
        params = {name: round(trial.suggest_float(name, low, high), DIGITS) for name, (low, high) in space.items()}
        if not done:
            params = {name: start[name] for name in space}
        done.append(Trial(params, evaluate(params, tuned_on)))
        tell(done[-1])
        return done[-1].mean().figures[figure]

    study.optimize(objective, n_trials=trials)
    best = max(done, key=lambda trial: trial.mean().figures[figure])  # the earliest of equals: the bundle's own first
    before = Trial(done[0].params, evaluate(done[0].params, held_out)).mean()
    after = before if best is done[0] else Trial(best.params, evaluate(best.params, held_out)).mean()
    return Tuned(best.params, before, after)
