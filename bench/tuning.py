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
from .datasets.varied import original
from .metrics import Score, compare, mean_score, score
from .ope import run

RANGES: Mapping[str, tuple[float, float]] = {
    "penalty_k": (0.0, 0.6),
    "window_influence": (0.0, 0.8),
    "lr": (0.05, 0.9),
    "scale_penalty": (0.9, 1.0),
    "scale_lr": (0.05, 0.9),
    "scale_step": (1.01, 1.1),
}
"""Where to look for what: the ranges of the upstreams' own searches (PySOT's grids, SiamDW's TPE), wider where values
outside them were published."""
DIGITS = 4


@dataclass(frozen=True)
class Trial:
    """One set of values, and what it reached on the clips for tuning."""

    params: dict[str, float]
    value: float


@dataclass(frozen=True)
class Tuned:
    """What a search found."""

    params: dict[str, float]
    """The values of the best trial."""
    before: Score
    after: Score
    """On the clips that were held out, with the bundle's own values and with the best."""
    trials: tuple[Trial, ...]
    """In the order they were tried; the first is the bundle's own."""


def split(sequences: Many[Sequence], held_out: float) -> tuple[list[Sequence], list[Sequence]]:
    """Return the clips to tune on and those to report on, about the share `held_out` of them.

    Targets of one clip (NAME-1, NAME-2; NAME_1, NAME_2) stay together. Raises UsageError where a side would be empty.
    """
    ordered = sorted({_clip(one.name) for one in sequences}, key=_mixed)
    if len(ordered) < 2:
        raise UsageError(f"{len(ordered)} clip: tuning needs at least two, one of them to report on")
    count = min(max(round(held_out * len(ordered)), 1), len(ordered) - 1)
    reported = set(ordered[:count])
    tuned_on = [one for one in sequences if _clip(one.name) not in reported]
    return tuned_on, [one for one in sequences if _clip(one.name) in reported]


def _clip(name: str) -> str:
    name = original(name)
    stem, mark, number = name.replace("_", "-").rpartition("-")
    return stem if mark and number.isdigit() else name


def _mixed(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


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
    bundle: Bundle, params: Mapping[str, float], sequences: Many[Sequence], rule: Convention, options: Mapping[str, Any]
) -> Score:
    """Return the figures of `bundle` with `params` on `sequences`. Raises UsageError where nothing counts."""
    tracker = Tracker(bundle, params=params, **options)
    scores = []
    for sequence in sequences:
        found = run(tracker, sequence)
        one = score(compare(found.boxes, sequence, rule, found.frame_wh), rule)
        if one is not None and not sequence.withheld:
            scores.append(one)
    if not scores:
        raise UsageError("nothing can be counted on these clips: their ground truth is withheld")
    return mean_score(scores)


def tune(
    evaluate: Callable[[Mapping[str, float], bool], Score],
    start: Mapping[str, float],
    space: Mapping[str, tuple[float, float]],
    trials: int,
    *,
    figure: str = "auc",
    seed: int = 0,
    tell: Callable[[Trial], None] = lambda trial: None,
) -> Tuned:
    """Return the best of `trials` sets of values out of `space`, the first being `start`.

    `evaluate` returns the figures with some values on the clips for tuning, or (True) on those held out. The search is
    Optuna's TPE. A set that is no better than `start` on the clips for tuning is not taken.
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
        done.append(Trial(params, evaluate(params, False).figures[figure]))
        tell(done[-1])
        return done[-1].value

    study.optimize(objective, n_trials=trials)
    best = max(done, key=lambda trial: trial.value)  # the earliest of equals: the bundle's own, where nothing is better
    before = evaluate(done[0].params, True)
    after = before if best is done[0] else evaluate(best.params, True)
    return Tuned(best.params, before, after, tuple(done))
