"""How benchmarks count: the same boxes give different figures under different tools, so the tool is named.

Where they agree: overlap is intersection over union of boxes without +1, and a frame succeeds at a threshold when its
overlap is strictly greater. So a perfect tracker reaches 20/21 of the area under the success curve.
"""

from dataclasses import dataclass
from typing import Literal

from ..errors import UsageError


@dataclass(frozen=True)
class Convention:
    """The rules of one tool."""

    name: str
    source: str
    first: Literal["annotation", "result", "out"]
    """The first frame counts as the annotation itself, as the result file has it, or not at all."""
    unannotated: Literal["out", "miss"]
    """Frames whose box is not a number."""
    hidden: Literal["count", "out", "miss"] = "count"
    """Frames the data set flags as absent: like others, not at all, or lost in the numerator but not below it."""
    clip: bool = False
    """Boxes are cut to the image before their overlap is taken."""
    weight: Literal["sequence", "frame"] = "sequence"
    """The mean is over sequences, or over all frames of all sequences."""
    norm_at: float | None = None
    """Normalised precision is the curve at this threshold; None: its mean."""
    floor: float = 1.0
    """The least size that centre errors are divided by."""
    lenient: bool = False
    """A frame whose annotated centre is not positive counts as a hit in precision, as PySOT's does."""


CONVENTIONS = (
    Convention("ope", "got-10k/toolkit:got10k/experiments/otb.py, uav123.py, lasot.py", "annotation", "out"),
    Convention(
        "got10k",
        "got-10k/toolkit:got10k/experiments/got10k.py",
        "out",
        "out",
        hidden="out",
        clip=True,
        weight="frame",
    ),
    Convention(
        "pysot",
        "STVIR/pysot:toolkit/evaluation/ope_benchmark.py, toolkit/utils/statistics.py",
        "result",
        "miss",
        hidden="miss",
        norm_at=0.2,
        floor=0.0,
        lenient=True,
    ),
)


def convention(name: str) -> Convention:
    """Return the convention `name`. Raises UsageError."""
    for row in CONVENTIONS:
        if row.name == name:
            return row
    raise UsageError(f"no convention {name!r}: there are {', '.join(row.name for row in CONVENTIONS)}")
