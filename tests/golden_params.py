"""Hyper-parameters in the goldens' words, as every upstream calls them, in ours."""

from collections.abc import Iterable, Mapping
from typing import Any

NAMES = {
    "penalty_k": ("PENALTY_K", "penalty_k"),
    "window_influence": ("WINDOW_INFLUENCE", "window_influence", "w_influence"),
    "lr": ("LR", "lr"),
    "scale_penalty": ("scale_penalty",),
    "scale_lr": ("scale_lr",),
    "scale_step": ("scale_step",),
    "smooth": ("smooth",),
}


def params_from(config: Mapping[str, Any], wanted: Iterable[str]) -> dict[str, float]:
    """Return the parameters `wanted` from a golden's configuration."""
    return {ours: next(config[theirs] for theirs in NAMES[ours] if theirs in config) for ours in wanted}
