"""All that has to be seen on a GPU, by one command, made for a quarter of an hour on a card.

    python -m trk.bench.gpu --only export --bundles bundles        # beforehand, on any machine
    python -m trk.bench.gpu --bundles bundles --out gpu-results --minutes 6

First one model has to track as on the CPU: where it does not, everything ends with its traceback. Then come the limits
of the device, numerics of every way to run the bundles, speeds beside upstream's PyTorch on the same GPU, many targets,
a profile, one model in FP32, and torch.compile. Bundles that are not there are exported beside all that. Each step is a
process of its own: one that crashes or hangs costs nothing but itself. What is known is on disk at once, and all of it
in one archive, whatever ends the command. `--only` names single steps; `--list` shows the commands and runs none. It
needs no installation: a checkout that can be imported as `trk` is enough. `--device cpu --small` runs the same steps on
a CPU.
"""

import argparse
import os
import shlex
import signal
import sys
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from time import monotonic

from ..errors import TrkError, UsageError
from .device import gpus
from .gpu_session import Session
from .gpu_steps import (
    PRECISIONS,
    Setup,
    compiled,
    crowd,
    limits,
    numerics,
    planned,
    profiles,
    rows,
    smoke,
    speeds,
)
from .store import make_folder

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None, began: float | None = None) -> int:
    """Run the session; its minutes count from `began`, by the clock of `monotonic`.

    2 where nothing can be run, 1 where a step failed, 130 where it was interrupted, 0 otherwise.
    """
    began = monotonic() if began is None else began
    options = _parser().parse_args(arguments)
    try:
        setup = Setup.of(options)
        if options.list:
            for step in planned(setup):
                print(f"{step.name}: {shlex.join(step.words)}")
            return 0
        _check_asked(setup, options.only)
        make_folder(setup.out)
        make_folder(setup.bundles)
        date = datetime.now(timezone.utc).isoformat(timespec="seconds")
        session = Session(setup, began + 60 * options.minutes, options.only, options.archive, date)
    except TrkError as error:
        print(f"gpu: {error}", file=sys.stderr)
        return 2
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # kill and timeout end it as Ctrl-C does
    try:
        good = _run(session, setup)
    except KeyboardInterrupt:
        session.say("interrupted")
        return INTERRUPTED
    finally:
        session.finish()
        signal.signal(signal.SIGTERM, before)
        session.say(f"wrote {session.archive} after {monotonic() - began:.0f} s")
    return 0 if good and not session.failed else 1


def _seconds_before() -> float:
    """Return the seconds that this process was there before it came here: imports take long from a cold disk."""
    try:
        ticks = int(Path("/proc/self/stat").read_text(encoding="ascii").rpartition(")")[2].split()[19])
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):  # no Linux
        return 0.0


def _run(session: Session, setup: Setup) -> bool:
    """Run the steps in their order; return whether the gate was passed."""
    session.export()
    if not session.run([smoke(setup)]):
        session.say("the gate was not passed: nothing else is run")
        return False
    session.run([limits(setup)])
    for number, works in enumerate(session.batches(setup.works), 1):
        session.run(numerics(setup, works, number))
        session.run(speeds(setup, works))
    session.run(crowd(setup))
    session.run(profiles(setup))
    for works in session.batches(setup.late):
        session.run(numerics(setup, works))
        session.run(speeds(setup, works))
    session.run(compiled(setup))
    session.wait_for_exports()
    return True


def _check_asked(setup: Setup, only: Sequence[str]) -> None:
    """Raise UsageError where what is asked for can't be run: never less of it, silently."""
    steps = list(planned(setup))
    names = [*(step.name for step in steps), *(f"export-{work.name}" for work in (*setup.works, *setup.late))]
    for name in only:
        if not any(known.startswith(name) for known in names):
            raise UsageError(f"--only {name}: no step's name begins so: --list shows them")
    if not all(name.startswith("export") for name in only) or not only:
        _require_device(setup.device)
    if not only:
        return
    asked = [step for step in steps if any(step.name.startswith(name) for name in only)]
    made = {step.file for step in asked if step.name.startswith("export-")}
    compares = any(step.name.startswith("numerics-") for step in asked)
    known = {row["bundle"] for row in rows(setup)}
    for step in asked:
        for path in map(setup.bundle, step.needs):
            if not path.exists() and path not in made:
                raise UsageError(f"{step.name} needs {path}, which is not there: --only export makes it")
            if step.name.startswith("speed-") and not compares and path.name not in known:
                raise UsageError(
                    f"{step.name} times what numerics have seen run, and {setup.out} holds none of {path.name}: "
                    "name --only numerics, too"
                )


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
    parser.add_argument("--archive", type=Path, help="All that is in OUT, but bundles. Default: OUT/gpu.tar.gz.")
    parser.add_argument(
        "--bundles", type=Path, help="Folder of the bundles; those there are taken. Default: OUT/bundles."
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--backend", action="append", help="Default: torch, onnxruntime and tensorrt.")
    parser.add_argument("--model", action="append", help="MODEL:VARIANT. Default: those with a target on a GPU.")
    parser.add_argument(
        "--precision", choices=PRECISIONS, action="append", help="Default: fp16, and fp32 of one model."
    )
    parser.add_argument(
        "--minutes",
        type=float,
        default=10.0,
        help="All of it ends by then; what does not fit is left out. Default: 10.",
    )
    parser.add_argument("--only", action="append", default=[], help="Begin of the names of steps, such as speed-.")
    parser.add_argument("--small", action="store_true", help="Few frames and one round: to try the command.")
    parser.add_argument("--list", action="store_true", help="Show the commands and run none.")
    return parser


if __name__ == "__main__":
    sys.exit(main(began=monotonic() - _seconds_before()))
