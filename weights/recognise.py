"""Which network a checkpoint belongs to, and putting its weights in: all of them, or an error that says why not."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn

from ..errors import CheckpointError, ModelError
from ..models.registry import ROWS
from ..models.row import Row
from .checkpoint import Checkpoint
from .renames import renamed

COUNTER = "num_batches_tracked"
"""Batch norms count batches; PyTorch 0.3 had no such count, and nothing here reads it."""

STRAY = re.compile(
    r"^(mask_head|refine_head|backbone\.fc|features\.features\.fc"
    r"|encoder\.model\.head|encoder\.model\.backbone\.stages\.xif[56]_\d)\.|num_batches_tracked$"
)
"""Keys that published files have and trackers do without: SiamMask's branches, ImageNet classifiers, FBNet's end."""

SHOWN = 3
"""Keys that a message names."""


@dataclass(frozen=True)
class Comparison:
    """How a checkpoint's tensors agree with the shapes that a network wants."""

    matched: int
    missing: list[str]
    stray: list[str]
    wrong: list[str]
    """Keys of another shape, with both shapes."""

    @property
    def fits(self) -> bool:
        """Whether the network can be filled."""
        return not (self.missing or self.wrong)

    @property
    def likeness(self) -> float:
        """The share of all keys on either side that match, 0..1."""
        return self.matched / max(1, self.matched + len(self.missing) + len(self.stray) + len(self.wrong))


def recognise(checkpoint: Checkpoint, model: str | None = None) -> Row:
    """Return the row, among those of `model` if it is given, whose network the checkpoint fills with the least left
    over.

    Rows of one structure (SiamRPNvot and SiamRPNotb) are told apart by what trk wrote into the file, or else by the
    name that upstream gave it. Raises CheckpointError where nothing fits, or where several fit equally: their names are
    listed.
    """
    rows = [row for row in ROWS if model in (None, row.model)]
    if not rows:
        raise ModelError(f"trk knows no model {model!r}: it knows {', '.join(dict.fromkeys(r.model for r in ROWS))}")
    compared = [(row, compare(checkpoint.tensors, shapes(row))) for row in rows]
    fitting = [(row, comparison) for row, comparison in compared if comparison.fits]
    if not fitting:
        if model is not None:
            raise CheckpointError(f"{checkpoint.file} is no checkpoint of {model}; {_elsewhere(checkpoint)}")
        row, nearest = max(compared, key=lambda pair: pair[1].likeness)
        if nearest.matched == 0:
            raise CheckpointError(
                f"{checkpoint.file} is of no network that trk knows: its keys begin {_few(list(checkpoint.tensors))}"
            )
        raise CheckpointError(f"{checkpoint.file} fits no model; the nearest is {row.name}: {_reasons(nearest)}")
    least = min(len(comparison.stray) for _, comparison in fitting)
    best = [row for row, comparison in fitting if len(comparison.stray) == least]
    if len(best) > 1:
        best = [row for row in best if row.name == checkpoint.about.get("model")] or best
    if len(best) > 1:
        best = [row for row in best if _published_as(row) == checkpoint.file.lower()] or best
    if len(best) > 1:
        names = ", ".join(row.name for row in best)
        raise CheckpointError(f"{checkpoint.file} fits {names} equally well: name the model and the variant you mean")
    return best[0]


def load_into(net: nn.Module, checkpoint: Checkpoint) -> None:
    """Fill `net` from `checkpoint`: every tensor there, of its shape, finite. Raises CheckpointError."""
    state = net.state_dict()
    tensors = renamed(checkpoint.tensors, state.keys())
    comparison = compare(tensors, {key: tuple(value.shape) for key, value in state.items()})
    unknown = [key for key in comparison.stray if not STRAY.search(key)]
    if unknown or not comparison.fits:
        reasons = _reasons(comparison, unknown)
        raise CheckpointError(f"{checkpoint.file} does not fit this network: {reasons}{_advice(checkpoint)}")
    for key, value in tensors.items():
        bad = int((~torch.isfinite(value)).sum()) if key in state else 0
        if bad:
            raise CheckpointError(f"{checkpoint.file} is of no use: {bad} values of {key} are not finite")
    net.load_state_dict({key: tensors.get(key, value).to(value.dtype) for key, value in state.items()})


def shapes(row: Row) -> Mapping[str, tuple[int, ...]]:
    """Return the shapes that a row's network wants, by key; nothing is allocated to find out."""
    return _shapes(row.build)


@cache
def _shapes(build: Callable[[], nn.Module]) -> Mapping[str, tuple[int, ...]]:
    with torch.device("meta"):
        net = build()
    return {key: tuple(value.shape) for key, value in net.state_dict().items()}


def compare(tensors: Mapping[str, Tensor], wanted: Mapping[str, Sequence[int]]) -> Comparison:
    """Return how `tensors` agree with the shapes `wanted`; batch counters may be missing."""
    wrong = [
        f"{key} {_shape(value.shape)} for {_shape(wanted[key])}"
        for key, value in tensors.items()
        if key in wanted and tuple(value.shape) != tuple(wanted[key])
    ]
    stray = [key for key in tensors if key not in wanted]
    missing = [key for key in wanted if key not in tensors and not key.endswith(COUNTER)]
    return Comparison(len(tensors) - len(stray) - len(wrong), missing, stray, wrong)


def _advice(checkpoint: Checkpoint) -> str:
    try:
        return f"; it is a checkpoint of {recognise(checkpoint).name}"
    except CheckpointError as error:
        return f"; {error}" if "equally" in str(error) else ""


def _reasons(comparison: Comparison, stray: list[str] | None = None) -> str:
    parts = []
    if comparison.missing:
        parts.append(f"{len(comparison.missing)} keys are missing ({_few(comparison.missing)})")
    if comparison.wrong:
        parts.append(f"{len(comparison.wrong)} have another shape ({_few(comparison.wrong)})")
    if stray:
        parts.append(f"{len(stray)} are not the network's ({_few(stray)})")
    return ", ".join(parts)


def _few(keys: list[str]) -> str:
    return ", ".join(keys[:SHOWN]) + (", ..." if len(keys) > SHOWN else "")


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _published_as(row: Row) -> str:
    return row.checkpoint.file.lower() if row.checkpoint else ""


def _elsewhere(checkpoint: Checkpoint) -> str:
    """Say which row a checkpoint fits that does not fit the model it was given for."""
    try:
        return f"it is one of {recognise(checkpoint).name}: leave --model out"
    except CheckpointError as error:
        return str(error)
