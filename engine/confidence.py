"""From a network's own score to the probability that the box is on the target, fitted for each bundle.

Scores of different networks have different scales, and many stay high when the target is gone. A logistic function of
the score and of its running mean, fitted on annotated video (`trk-calibrate`), is comparable between bundles. Source:
J. Platt, "Probabilistic outputs for support vector machines", 1999. What else was tried as its input and brought
nothing (the shape of the score map, jumps of the box) is in bench/NOTES.md.
"""

from math import exp

from pydantic import model_validator

from .geometry import Rule

RATE = 0.3
"""Share of the newest score in the running mean."""
STEEPEST = 60.0
"""Bound of the logistic's argument, so that no score overflows."""


class Calibration(Rule):
    """p = 1 / (1 + exp(-(bias + score * s + recent * m))), s the score and m its running mean, this frame included."""

    bias: float
    score: float
    recent: float
    low: float
    """Below this probability a target is lost,"""
    high: float
    """and above this one it is found again."""
    data: str = ""
    """What it was fitted on."""
    measured: dict[str, float] = {}
    """How well it separates, on sequences that were left out of the fit."""

    @model_validator(mode="after")
    def _ordered(self) -> "Calibration":
        if not 0 <= self.low <= self.high <= 1:
            raise ValueError(f"low and high have to be ordered between 0 and 1, not {self.low:g} and {self.high:g}")
        return self

    def probability(self, score: float, recent: float) -> float:
        """Return the probability that the box is on the target; `recent` is the running mean of the scores."""
        argument = self.bias + self.score * score + self.recent * recent
        return 1.0 / (1.0 + exp(-min(max(argument, -STEEPEST), STEEPEST)))


def running_mean(recent: float | None, score: float) -> float:
    """Return the mean that goes on with `score`; None before the first."""
    return score if recent is None else recent + RATE * (score - recent)
