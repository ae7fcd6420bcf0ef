"""What a tracker returns for a frame."""

from typing import NamedTuple

Box = tuple[float, float, float, float]
"""x, y, w, h: top-left corner and size, 0-indexed float pixels of the frame."""


class Result(NamedTuple):
    """The target in one frame."""

    box: Box
    score: float
    """The network's own confidence in the chosen proposal; its scale is the model's."""
    lost: bool
    """Whether the target counts as gone: by the calibrated hysteresis, or by the model's own where it has one."""
    frame_index: int
    """Frames since `init`, which is frame 0."""
    time: float
    """Seconds that `update` took."""
    confidence: float | None = None
    """Probability that the box is on the target; None where the bundle is not calibrated."""


class StageTimes(NamedTuple):
    """Seconds that the parts of the last call took."""

    crop: float
    network: float
    """Search graph: features, correlation, decoding, re-ranking, smoothing."""
    host: float
    """Everything else: checks, geometry, state."""
