"""Cross-validated search for hyper-parameters: every clip is reported on, with values that were chosen without it.

Where clips are few, half of them are too few to tune on and too few to report on. Sets of values are drawn at random,
before anything is measured, and each is run on all clips; then each fold takes the best on the clips outside it. A
search that learns as it goes (`tuning.tune`) can't be shared by the folds: its later sets have seen all of them.

Source: Stone, Cross-validatory choice and assessment of statistical predictions, 1974.
"""

from collections.abc import Callable, Mapping
from collections.abc import Sequence as Many
from dataclasses import dataclass

import numpy as np

from ..errors import UsageError
from .metrics import interval, mean_score
from .tuning import DIGITS, Evaluate, Trial, Tuned


@dataclass(frozen=True)
class Fold:
    """Clips that are reported on, and the set of values that is best on all the others."""

    clips: tuple[str, ...]
    chosen: Trial


@dataclass(frozen=True)
class CrossValidated(Tuned):
    """What a search found, and what its way to choose is worth on clips that it has not seen.

    `params` are the best on all clips; `after` is the mean over all clips, each with the values of its fold.
    """

    gain: tuple[float, float]
    """95 % interval of what `after` is above `before` in the figure, by a bootstrap over clips."""
    folds: tuple[Fold, ...]


def fold_clips(names: Many[str], count: int) -> list[tuple[str, ...]]:
    """Return the clips of each of `count` folds. Raises UsageError where there are more folds than clips."""
    if len(names) < count:
        raise UsageError(f"{len(names)} clips can't be shared out over {count} folds: --folds {len(names)} is the most")
    return [tuple(names[number::count]) for number in range(count)]


def cross_validate(
    evaluate: Evaluate,
    folds: Many[tuple[str, ...]],
    start: Mapping[str, float],
    space: Mapping[str, tuple[float, float]],
    trials: int,
    *,
    figure: str = "auc",
    seed: int = 0,
    tell: Callable[[Trial], None] = lambda trial: None,
) -> CrossValidated:
    """Return the best of `trials` sets of values out of `space`, the first being `start`, and what each fold chose.

    Of equals the earliest is taken: the bundle's own values stay where nothing is better. Raises UsageError where no
    fold is left to choose on.
    """
    names = [name for fold in folds for name in fold]
    done: list[Trial] = []
    for params in [{name: start[name] for name in space}, *_draw(space, trials - 1, seed)]:
        done.append(Trial(params, evaluate(params, names)))
        tell(done[-1])
    own = done[0].clips
    counted = [part for fold in folds if (part := tuple(name for name in fold if name in own))]
    if len(counted) < 2:
        raise UsageError("the clips that can be counted are all in one fold: more clips with a ground truth are needed")
    names = [name for fold in counted for name in fold]

    def best_without(left_out: tuple[str, ...]) -> Trial:
        seen = [name for name in names if name not in left_out]
        return max(done, key=lambda trial: trial.mean(seen).figures[figure])

    chosen = tuple(Fold(fold, best_without(fold)) for fold in counted)
    after = {name: fold.chosen.clips[name] for fold in chosen for name in fold.clips}
    gained = [after[name].figures[figure] - own[name].figures[figure] for name in names]
    gain = interval(np.array(gained), np.array([own[name].weight for name in names]))
    return CrossValidated(best_without(()).params, done[0].mean(), mean_score(list(after.values())), gain, chosen)


def _draw(space: Mapping[str, tuple[float, float]], count: int, seed: int) -> list[dict[str, float]]:
    random = np.random.default_rng(seed)
    return [
        {name: round(float(random.uniform(low, high)), DIGITS) for name, (low, high) in space.items()}
        for _ in range(count)
    ]
