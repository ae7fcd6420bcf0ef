"""A session on a GPU: runs steps within the time there is, and keeps what they did on disk, as one archive too."""

import io
import json
import shlex
import tarfile
import traceback
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from .. import __version__
from .device import cuda_versions, gpus
from .gpu_process import POLL, Running
from .gpu_report import summary
from .gpu_steps import Setup, Step, Work, exports
from .machine import machine, versions
from .store import write_bytes

RESERVE = 5.0
"""Seconds at the end in which nothing runs: for index, summary and archive."""
INDEX, SUMMARY, LOG, ARCHIVE = "gpu.json", "gpu.md", "gpu.log", "gpu.tar.gz"
NO_TIME = "left out: no time left (--minutes)"


@dataclass
class Done:
    """A step that was run, or left out."""

    name: str
    command: str
    seconds: float = 0.0
    code: int | None = None
    """Exit status; None where it was not run, or stopped for want of time."""
    said: list[str] = field(default_factory=list)
    """What it leaves out, and the end of what it printed."""
    file: str | None = None
    beside: list[str] = field(default_factory=list)
    """Exports that ran at the same time, and may have disturbed it."""


class Session:
    """Runs steps one after another, exports of bundles beside them; each step is told and kept when it ends."""

    def __init__(
        self, setup: Setup, end: float, only: Sequence[str] = (), archive: Path | None = None, date: str = "undated"
    ):
        self.setup, self._only, self._end = setup, only, end - RESERVE
        self.archive = archive or setup.out / ARCHIVE
        self.done = _before(setup.out)
        self.failed = False
        """Whether a step of this session failed, or could not be run."""
        self._queue: list[Step] = []
        self._exporting: list[Running] = []
        self.about: dict[str, Any] = {
            "date": date,
            "trk": __version__,
            "device": setup.device,
            "machine": machine(),
            "gpus": gpus(),
            "versions": {**versions(), **cuda_versions()},
        }

    def run(self, steps: Iterable[Step]) -> bool:
        """Run those of `steps` that are asked for; return whether all of them succeeded."""
        good = True
        for step in steps:
            if self._wanted(step):
                good = self._run(step) and good
        return good

    def export(self) -> None:
        """Begin to export the bundles that are not there, if that is asked for; it goes on beside the steps."""
        missing = list(exports(self.setup))
        self._queue = [step for step in missing if self._wanted(step)]
        if not missing:
            self.say(f"every bundle is in {self.setup.bundles}")
        self._pump()

    def wait_for_exports(self) -> None:
        """Return when no export runs."""
        while self._queue or self._exporting:
            self._pump()
            sleep(POLL)

    def batches(self, works: Sequence[Work]) -> Iterator[list[Work]]:
        """Yield those of `works` whose bundles are there, then others as they come, at last those that nobody makes."""
        left = list(works)
        while left:
            there = [work for work in left if self.setup.there(work)]
            left = [work for work in left if work not in there]
            if there:
                yield there
            elif not (self._queue or self._exporting):
                yield left
                return
            else:
                self._pump()
                sleep(POLL)

    def finish(self) -> None:
        """Stop what still runs; write the last index, summary and archive."""
        for running in self._exporting:
            running.stop()
            self._keep_done(running, running.step)
        self._exporting, self._queue = [], []
        self.keep()

    def say(self, line: str) -> None:
        """Print a line, and keep it in the log."""
        print(line, flush=True)
        with (self.setup.out / LOG).open("a", encoding="utf-8") as log:
            log.write(f"{line}\n")

    def keep(self) -> None:
        """Write the index, the summary and the archive of all that was done so far."""
        told = {**self.about, "steps": [asdict(one) for one in self.done]}
        out = self.setup.out
        write_bytes(out / INDEX, (json.dumps(told, indent=1) + "\n").encode())
        try:
            page = summary(told, out)
        except Exception:  # a page that can't be written costs nothing that was measured
            page = traceback.format_exc()
        write_bytes(out / SUMMARY, page.encode())
        write_bytes(self.archive, _packed(out, self.archive))

    def _wanted(self, step: Step) -> bool:
        return not self._only or any(step.name.startswith(name) for name in self._only)

    def _run(self, step: Step) -> bool:
        missing = [self.setup.bundle(work).name for work in step.needs if not self.setup.there(work)]
        if missing:
            return self._leave_out(step, f"left out: no bundle {', '.join(missing)}")
        if not step.words:
            return self._leave_out(step, "left out")
        if self._end - monotonic() < step.least:
            return self._leave_out(step, NO_TIME)
        self.say(f"-- {step.name}: {shlex.join(step.words)}")
        for note in step.notes:
            self.say(f"   {note}")
        beside = dict.fromkeys(self._pump())  # before it begins: a short step may be over at the first look
        running = Running(step, self._end, lambda line: self.say(f"   {line}"))
        try:
            running.wait(lambda: beside.update(dict.fromkeys(self._pump())))
        finally:
            running.stop()  # an interrupt leaves nothing behind
            done = self._keep_done(running, step, list(beside))
        self.say(f"   {done.seconds:g} s, exit {done.code}")
        return done.code == 0

    def _pump(self) -> list[str]:
        """Tell of exports that have ended, begin others, return the names of those that run."""
        for running in [one for one in self._exporting if one.done()]:
            self._exporting.remove(running)
            done = self._keep_done(running, running.step)
            self.say(f"[{done.name}] {done.seconds:g} s, exit {done.code}")
        while self._queue and len(self._exporting) < self.setup.exports_at_once:
            step = self._queue.pop(0)
            if self._end - monotonic() < step.least:
                self._leave_out(step, NO_TIME)
                continue
            self.say(f"[{step.name}] {shlex.join(step.words)}")
            say = _named(self.say, step.name)
            self._exporting.append(Running(step, self._end, say, in_background=True))
        return [one.step.name for one in self._exporting]

    def _keep_done(self, running: Running, step: Step, beside: Sequence[str] = ()) -> Done:
        done = Done(step.name, shlex.join(step.words), round(monotonic() - running.began, 1), running.code)
        done.said = [*step.notes, *running.said[-step.lines :]]
        done.beside = list(beside)
        if step.file is not None and step.file.is_file():
            done.file = step.file.name
        self._add(done)
        return done

    def _leave_out(self, step: Step, why: str) -> bool:
        done = Done(step.name, shlex.join(step.words), said=[*step.notes, why])
        self.say(f"-- {step.name}: {'; '.join(done.said)}")
        self._add(done)
        return False

    def _add(self, done: Done) -> None:
        self.failed = self.failed or done.code != 0
        self.done = [*(one for one in self.done if one.name != done.name), done]
        self.keep()


def _named(say: Any, name: str) -> Any:
    return lambda line: say(f"[{name}] {line}")


def _packed(out: Path, archive: Path) -> bytes:
    """Return all files of a session but its bundles as one archive."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for path in sorted(out.iterdir()):
            if path.is_file() and path.suffix in {".json", ".md", ".log"} and not path.name.startswith("."):
                tar.add(path, f"gpu/{path.name}")
    return packed.getvalue()


def _before(out: Path) -> list[Done]:
    """Return what an earlier session in the same folder did: --only adds to it."""
    try:
        steps = json.loads((out / INDEX).read_text(encoding="utf-8"))["steps"]
        return [Done(**step) for step in steps]
    except (OSError, ValueError, KeyError, TypeError):
        return []
