"""All that has to be seen on a GPU, by one command: numerics first, then speeds, then a profile.

    python -m trk.bench.gpu --out gpu-results --minutes 10

It exports the bundles, compares every way to run them with the CPU, times those that run beside upstream's PyTorch on
the same GPU, and profiles. Each step is a process of its own: one that crashes or hangs costs nothing but itself, and
what was measured before it is on disk. `--only` names single steps (`--only export` needs no GPU); `--list` shows the
commands and runs none. Not executed on a GPU yet; `--device cpu --small` runs the same steps on a CPU.
"""

import argparse
import json
import shlex
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from time import monotonic
from typing import Any

from ..errors import TrkError, UsageError
from .device import cuda_versions, gpus
from .gpu_report import summary
from .gpu_steps import PRECISIONS, Setup, Step, backends_that_load, exports, numerics, profiles, speeds
from .machine import machine, versions
from .store import make_folder, write_bytes

LEAST_SECONDS = 20.0
"""With less time left no step is begun."""
INDEX, SUMMARY = "gpu.json", "gpu.md"


@dataclass
class Done:
    """A step that was run, or left out."""

    name: str
    command: str
    seconds: float = 0.0
    code: int | None = None
    """Exit status; None where it was not run, or stopped for want of time."""
    said: list[str] = field(default_factory=list)
    """The end of what it printed."""
    file: str | None = None


class Session:
    """Runs steps one after another, within the time there is, and keeps what they did on disk."""

    def __init__(self, setup: Setup, minutes: float, only: Sequence[str]):
        self.setup, self._only = setup, only
        self._end = monotonic() + 60 * minutes
        self.done = _before(setup.out)
        self.about: dict[str, Any] = {
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "device": setup.device,
            "machine": machine(),
            "gpus": gpus(),
            "versions": {**versions(), **cuda_versions()},
        }

    def run(self, steps: Iterable[Step], together: int = 1) -> None:
        """Run those of `steps` that are asked for, `together` at a time; each is told and kept when it ends."""
        wanted = [step for step in steps if not self._only or any(step.name.startswith(name) for name in self._only)]
        for first in range(0, len(wanted), together):
            group = [(step, self._start(step)) for step in wanted[first : first + together]]
            for step, process in group:
                self._finish(step, process)

    def _start(self, step: Step) -> "subprocess.Popen[str] | None":
        if self._end - monotonic() < LEAST_SECONDS:
            return None
        print(f"-- {step.name}: {shlex.join(step.words)}", flush=True)
        words = [sys.executable, *step.arguments]
        return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")

    def _finish(self, step: Step, process: "subprocess.Popen[str] | None") -> None:
        done = Done(step.name, shlex.join(step.words))
        began = monotonic()
        if process is None:
            done.said = ["left out: no time left (--minutes)"]
        else:
            try:
                out, _ = process.communicate(timeout=max(min(step.seconds, self._end - began), 1.0))
                done.code = process.returncode
            except subprocess.TimeoutExpired:
                process.kill()
                out, _ = process.communicate()
                out += f"\nstopped after {monotonic() - began:.0f} s"
            done.seconds = round(monotonic() - began, 1)
            done.said = [line for line in out.splitlines() if line.strip()][-step.lines :]
        if step.file is not None and step.file.is_file():
            done.file = step.file.name
        print(*(f"   {line}" for line in done.said), f"   {done.seconds:g} s, exit {done.code}", sep="\n", flush=True)
        self.done = [*(one for one in self.done if one.name != done.name), done]
        self.keep()

    def keep(self) -> None:
        """Write the index and the summary of all that was done so far."""
        told = {**self.about, "steps": [asdict(one) for one in self.done]}
        write_bytes(self.setup.out / INDEX, (json.dumps(told, indent=1) + "\n").encode())
        write_bytes(self.setup.out / SUMMARY, summary(told, self.setup.out).encode())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the session. 2 where nothing can be run, 1 where a step failed, 0 otherwise."""
    options = _parser().parse_args(arguments)
    try:
        setup = Setup.of(options)
        if options.list:
            for step in (*exports(setup), *numerics(setup), *speeds(setup, setup.backends), *profiles(setup)):
                print(f"{step.name}: {shlex.join(step.words)}")
            return 0
        if not options.only or not all(name.startswith("export") for name in options.only):
            _require_device(options.device)
        make_folder(setup.out)
        make_folder(setup.bundles)
        session = Session(setup, options.minutes, options.only)
        session.keep()
        session.run(exports(setup), together=setup.exports_at_once)
        session.run(numerics(setup))
        session.run(speeds(setup, backends_that_load(setup)))
        session.run(profiles(setup))
    except TrkError as error:
        print(f"gpu: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    print(f"wrote {setup.out / INDEX} and {setup.out / SUMMARY}")
    return 1 if any(one.code != 0 for one in session.done) else 0


def _before(out: Path) -> list[Done]:
    """Return what an earlier session in the same folder did: --only adds to it."""
    try:
        steps = json.loads((out / INDEX).read_text(encoding="utf-8"))["steps"]
        return [Done(**step) for step in steps]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _require_device(device: str) -> None:
    if device == "cuda" and not gpus():
        raise UsageError("no GPU was found (nvidia-smi, NVML and PyTorch see none): install a driver, or --device cpu")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m trk.bench.gpu",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=Path("gpu-results"), help="Folder for JSON and Markdown; added to.")
    parser.add_argument(
        "--bundles", type=Path, help="Folder of the bundles; those there are taken. Default: OUT/bundles."
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--backend", action="append", help="Default: onnxruntime, torch and tensorrt.")
    parser.add_argument("--model", action="append", help="MODEL:VARIANT. Default: those with a target on a GPU.")
    parser.add_argument("--precision", choices=PRECISIONS, action="append", help="Default on a GPU: fp32 and fp16.")
    parser.add_argument("--minutes", type=float, default=10.0, help="Steps that don't fit are left out. Default: 10.")
    parser.add_argument("--only", action="append", default=[], help="Begin of the names of steps, such as speed-.")
    parser.add_argument("--small", action="store_true", help="Few frames and one round: to try the command.")
    parser.add_argument("--list", action="store_true", help="Show the commands and run none.")
    return parser


if __name__ == "__main__":
    sys.exit(main())
