"""What a sink takes: one target in one frame."""

from dataclasses import dataclass

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Record:
    """One target's result in one frame. `box` is x, y, w, h: top-left corner, 0-indexed, pixels; `time` in seconds."""

    frame_index: int
    time: float
    box: Box
    score: float | None = None
    lost: bool = False
    target: int = 1
    """The target's number."""
    confidence: float | None = None
    """Probability that the box is on the target, where the tracker gives one."""
