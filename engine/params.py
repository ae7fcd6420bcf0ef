"""Hyper-parameters of a bundle: the preset's values, single ones overridden, none that makes no sense."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import TYPE_CHECKING

from ..errors import ModelError

if TYPE_CHECKING:
    from .manifest import Manifest

SCALE_STEP = "scale_step"
"""The parameter that the engine itself reads: ratio of neighbouring scales of a pyramid of crops."""
SCALE_STEPS = (0.5, 2.0)
WINDOW_INFLUENCE = "window_influence"
"""The one that it sets aside where a crop is not centred on the place that the target is expected at."""


def check_params(params: Mapping[str, float]) -> None:
    """Raise ModelError unless every value is finite, and a scale step is one that crops can be cut with."""
    for name, value in params.items():
        if not isfinite(value):
            raise ModelError(f"parameter {name} is {value}: a finite number is needed")
    step = params.get(SCALE_STEP, 1.0)
    low, high = SCALE_STEPS
    if not low <= step <= high:
        raise ModelError(f"parameter {SCALE_STEP} is {step:g}: it has to lie between {low:g} and {high:g}")


def choose_params(
    manifest: Manifest, preset: str | None = None, overrides: Mapping[str, float] | None = None
) -> dict[str, float]:
    """Return the hyper-parameters of `preset` (None: the bundle's) with `overrides`. Raises ModelError."""
    if preset is not None and preset not in manifest.presets:
        known = ", ".join(manifest.presets) or "none"
        raise ModelError(f"no preset {preset!r} in this bundle of {manifest.model}: it has {known}")
    params = {**manifest.params, **(manifest.presets[preset] if preset else {})}
    for name, value in (overrides or {}).items():
        if name not in params:
            raise ModelError(f"no parameter {name!r} in this bundle of {manifest.model}: it has {', '.join(params)}")
        params[name] = float(value)
    check_params(params)
    return params
