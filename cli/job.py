"""One video of many: its boxes and outputs, and how those get their names only when all of it is done."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from .command import EXIT_ERROR, EXIT_INTERRUPTED

Outcome = tuple[int, str]
"""An exit code, and a line about it."""


@dataclass
class Job:
    """One video, the boxes it begins with, and its outputs by option."""

    video: Path
    inits: list[str]
    outputs: list[tuple[str, Path]]
    made: list[Path] = field(default_factory=list)
    """Files to be removed when the job is over."""

    def is_done(self) -> bool:
        """Whether an earlier run finished it: outputs get their names only then."""
        return all(path.exists() for _, path in self.outputs)


@dataclass
class Attempt:
    """One video at work: what its boxes are read from, and where its outputs are written meanwhile."""

    inits: list[str]
    outputs: list[tuple[str, Path]]
    code: int = EXIT_INTERRUPTED
    """How it ended."""


@contextmanager
def at_work(job: Job) -> Iterator[Attempt]:
    """Outputs get their names when all of it is done; what was found before an error is kept, under another name."""
    inits: list[str] = []
    try:
        for number, init in enumerate(job.inits):
            if "\n" in init:
                path = _beside(job.outputs[0][1], f"init{number}.csv")
                path.write_text(init + "\n", encoding="utf-8")
                job.made.append(path)
                init = str(path)
            inits.append(init)
        attempt = Attempt(inits, [(option, _beside(path, path.name)) for option, path in job.outputs])
        job.made += [working for _, working in attempt.outputs]
        yield attempt
        for (_, working), (_, path) in zip(attempt.outputs, job.outputs, strict=True):
            if attempt.code == 0:
                working.replace(path)
            elif attempt.code == EXIT_ERROR and working.exists():
                working.replace(path.with_name(f"incomplete.{path.name}"))
    finally:
        for path in job.made:
            path.unlink(missing_ok=True)


def told_by(error: Exception) -> str:
    """Return an error in one line."""
    if isinstance(error, OSError):
        return f"{error.filename or 'the system'}: {error.strerror or error}"
    return " ".join(str(error).split())


def _beside(path: Path, name: str) -> Path:
    """A hidden name in the same folder, which is made where it is not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f".{path.stem}.{os.getpid()}.{name}")
