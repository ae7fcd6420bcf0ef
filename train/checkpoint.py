"""Checkpoints of a run: whole or not at all, with all that going on exactly needs."""

import os
from pathlib import Path
from typing import Any

import torch

from ..errors import CheckpointError

LATEST = "latest.pt"


def save(path: Path, state: dict[str, Any]) -> None:
    """Write `state` beside `path`, flush it to the disk and rename it: a kill leaves the old file or the new one.

    Raises CheckpointError: the disk is full, or can't be written to; what was under the name before stays.
    """
    temporary = path.with_name(path.name + ".part")
    try:
        with temporary.open("wb") as stream:
            torch.save(state, stream)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
        if os.name == "posix":
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise CheckpointError(f"{path} can't be written ({error.strerror or error}): make room and --resume") from error


def load(path: Path, device: str = "cpu") -> dict[str, Any]:
    """Return what `save` wrote. Raises CheckpointError."""
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"no checkpoint at {path}: start without --resume") from None
    except Exception as error:  # torch raises what the damage happens to break
        raise CheckpointError(f"{path} is no checkpoint of trk-train: {error}") from None
    if not isinstance(state, dict) or "step" not in state:
        raise CheckpointError(f"{path} is no checkpoint of trk-train: it has no step")
    return state


def random_state() -> dict[str, Any]:
    """Return the states of torch's generators."""
    return {"torch": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all()}


def restore_random(state: dict[str, Any]) -> None:
    """Set them."""
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all([part.cpu() for part in state["cuda"]])
