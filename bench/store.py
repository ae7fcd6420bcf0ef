"""Runs that are done: one file each, named by what it depends on, so that a stopped evaluation goes on where it was."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import SinkError
from .datasets.sequence import Sequence
from .ope import Run, as_run

VERSION = 1
"""Of the files here and of how runs are made: a higher one leaves older files aside."""


def key_of(identity: dict[str, Any], sequence: Sequence, protocol: dict[str, Any]) -> str:
    """Return the name of a run: a hash of the tracker, what it is shown, and how."""
    about = {"version": VERSION, "tracker": identity, "shown": sequence.fingerprint(), "protocol": protocol}
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:24]


class Store:
    """A folder of runs. Several evaluations may use one at a time: files appear whole, equal names are equal runs."""

    def __init__(self, folder: Path):
        self.folder = folder
        make_folder(folder)

    def load(self, key: str, sequence: Sequence) -> Run | None:
        """Return the run `key`, compared with the ground truth as it is now; None where it is not there, or damaged."""
        try:
            found = json.loads((self.folder / f"{key}.json").read_text(encoding="utf-8"))
            boxes, scores, times = found["boxes"], found["scores"], found["times"]
            width, height = found["frame_wh"]
            whole = len(boxes) == len(scores) == len(times) == len(sequence.images)
            return as_run(sequence, boxes, scores, times, (width, height)) if whole else None
        except (OSError, ValueError, KeyError, TypeError, IndexError):  # cut short, or of another make: made again
            return None

    def save(self, key: str, run: Run, about: dict[str, Any]) -> None:
        """Keep `run` under `key`; `about` is for whoever reads the file."""
        content = {
            **about,
            "sequence": run.name,
            "frame_wh": list(run.frame_wh),
            "boxes": run.boxes.tolist(),
            "scores": np.nan_to_num(run.scores).tolist(),
            "times": run.times.tolist(),
        }
        write_text(self.folder / f"{key}.json", json.dumps(content))


def make_folder(folder: Path) -> None:
    """Make a folder and those above it. Raises SinkError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SinkError(f"can't make the folder {folder} ({error.strerror}): choose another with --out") from error


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file that is there whole or not at all. Raises SinkError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        raise SinkError(f"can't write {path} ({error.strerror})") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, content: str) -> None:
    """Write a text that is there whole or not at all. Raises SinkError."""
    write_bytes(path, content.encode())
