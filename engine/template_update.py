"""When and how a template follows the target's appearance.

Off unless the bundle or the caller asks for it: no upstream does it, and it may learn what covers the target.

The kernels become half those of the first frame, which were surely right, and half a running mean of later ones. Source
of the running mean: D. S. Bolme et al., "Visual object tracking using adaptive correlation filters", 2010, sec. 3.5.
What it brings, and what a second template beside the first brought, is in bench/NOTES.md.
"""

from ..errors import UsageError
from .manifest import Manifest

EVERY = 5
"""Frames from one update to the next."""
SURE = 0.7
"""Probability from which a frame may be learned from."""
ANCHORED = 0.5
"""Share of the first template that stays."""


def is_due(rate: float, frame_index: int, confidence: float | None) -> bool:
    """Return whether the template is to learn from this frame; `rate` 0 is never."""
    return rate > 0 and frame_index % EVERY == 0 and confidence is not None and confidence >= SURE


def choose_rate(rate: float | None, manifest: Manifest) -> float:
    """Return `rate`, or the bundle's where it is None.

    Raises UsageError: it is no share, or the bundle can't tell which frames to learn from.
    """
    if rate is None:
        return manifest.template_rate if manifest.calibration else 0.0
    if not 0 <= rate <= 1:
        raise UsageError(f"the rate at which a template is updated is a share between 0 and 1, not {rate:g}")
    if rate > 0 and manifest.calibration is None:
        raise UsageError(
            f"this bundle of {manifest.model} is not calibrated, so it can't tell which frames its template may learn "
            "from: run trk-calibrate on it, or leave the rate at 0"
        )
    return rate
