"""A step's process: what it prints is passed on line by line while it runs, and it ends when its time is up."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from threading import Thread
from time import monotonic, sleep

from .gpu_steps import Step

POLL = 0.1


class Running:
    """A step that runs, in a process group of its own."""

    def __init__(self, step: Step, until: float, say: Callable[[str], None], in_background: bool = False):
        self.step = step
        self.began = monotonic()
        self.said: list[str] = []
        self.stopped = False
        """Whether its time was up before it had ended."""
        self._until, self._say = min(until, self.began + step.seconds), say
        self._process = subprocess.Popen(
            [sys.executable, *step.arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            # Unbuffered: a line is passed on when it is printed. Safe path: the folder it is started in may be a
            # checkout, whose models/ and web/ are nobody's top-level packages.
            env={**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONSAFEPATH": "1"},
            start_new_session=True,
        )
        if in_background:
            _stand_aside(self._process.pid)
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def code(self) -> int | None:
        """Exit status; None while it runs, and where it was stopped."""
        return None if self.stopped else self._process.poll()

    def done(self) -> bool:
        """Whether it has ended; one whose time is up is stopped."""
        if self._process.poll() is None and monotonic() < self._until:
            return False
        if self._process.poll() is None:
            self.stop()
        self._reader.join(2.0)  # a grandchild may hold the pipe
        return True

    def wait(self, beside: Callable[[], None]) -> None:
        """Return when it has ended; `beside` is called again and again until then."""
        while not self.done():
            beside()
            sleep(POLL)

    def stop(self) -> None:
        """End it and all that it has started."""
        if self._process.poll() is not None:
            return
        self.stopped = True
        if hasattr(os, "killpg"):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        self._note(f"stopped after {monotonic() - self.began:.0f} s")

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.strip():
                self._note(line.rstrip())

    def _note(self, line: str) -> None:
        self.said.append(line)
        self._say(line)


def _stand_aside(process: int) -> None:
    """Leave most of the machine to what is measured: low priority alone still makes launches wait."""
    if hasattr(os, "setpriority"):
        os.setpriority(os.PRIO_PROCESS, process, 10)
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(process, cores[-max(1, len(cores) // 4) :])
