"""A writer is ended before each of its steps on the disk, one after the other; what is under its name then is told.

    python tests/killed.py PLACE ONE_BUNDLE OTHER_BUNDLE

Prints a JSON object a step of each writer: how it ended, whether the file is the old one, the new one, or broken, and
what else was left. Run by tests/test_killed.py in a process without threads, since it forks.
"""

import csv
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

OLD, NEW = 1, 2
ERRORS = {"full": OSError(28, "No space left on device")}
CHANGES = {"os.rename", "os.mkdir", "os.chmod", "os.link", "os.symlink", "os.truncate"}
REMOVES = {"os.remove", "os.rmdir"}
"""Audit events, raised before the system is asked; `open` for writing besides. What is removed needs no room."""


class Writer(NamedTuple):
    """`write(path, which)` writes one of two contents; `read(path)` tells which is there, and raises on any other."""

    name: str
    write: Callable[[Path, int], None]
    read: Callable[[Path], int]


def _bundles() -> dict[int, Any]:
    from trk.engine.bundle import Bundle

    return {which: Bundle(Path(path)) for which, path in ((OLD, sys.argv[2]), (NEW, sys.argv[3]))}


def _write_bundle(path: Path, which: int) -> None:
    from trk.export.write import write_bundle

    bundle = _bundles()[which]
    write_bundle(path, bundle.manifest, {file.name: bundle.read(file.name) for file in bundle.manifest.files})


def _read_bundle(path: Path) -> int:
    from trk.engine.bundle import Bundle

    there = Bundle(path)
    for file in there.manifest.files:
        there.read(file.name)
    return next(which for which, bundle in _bundles().items() if bundle.manifest == there.manifest)


def _write_checkpoint(path: Path, which: int) -> None:
    import torch

    from trk.train.checkpoint import save

    save(path, {"step": which, "x": torch.full((1000,), float(which))})


def _read_checkpoint(path: Path) -> int:
    from trk.train.checkpoint import load

    state = load(path)
    assert (state["x"] == float(state["step"])).all()
    return int(state["step"])


def _write_weights(path: Path, which: int) -> None:
    import torch

    from trk.weights.checkpoint import write_safetensors

    write_safetensors(path, {"a": torch.full((1000,), float(which))})


def _read_weights(path: Path) -> int:
    from trk.weights.checkpoint import read_checkpoint

    (values,) = read_checkpoint(path).tensors.values()
    assert (values == values[0]).all()
    return int(values[0])


def _plan_key() -> Any:
    from trk.engine.plans.cache import Key

    return Key("search.onnx", "0" * 64, "TensorRT", "10", "a GPU", "fp32")


def _write_plan(path: Path, which: int) -> None:
    from trk.engine.plans.cache import keep

    keep(path, _plan_key(), bytes([which]) * 1000)


def _read_plan(path: Path) -> int:
    from trk.engine.plans.cache import find

    plan, why = find(path, _plan_key())
    if plan is None:  # a cache: what is not whole is not used
        assert why
        return OLD
    assert plan == plan[:1] * 1000
    return plan[0]


def _write_boxes(path: Path, which: int) -> None:
    from trk.video.boxes import open_sink
    from trk.video.record import Record

    with open_sink(path) as sink:
        for frame in range(20):
            sink.write(Record(frame, 0.0, (float(which), 2.0, 3.0, 4.0)))


def _read_boxes(path: Path) -> int:
    with path.open(newline="") as stream:
        found = [float(row["x"]) for row in csv.DictReader(stream)]
    assert len(found) == 20
    (which,) = set(found)
    return int(which)


def _write_video(path: Path, which: int) -> None:
    import numpy as np

    from trk.video.writer import open_video

    with open_video(path, (64, 48), 25.0) as writer:
        for frame in range(5):
            writer.write(np.full((48, 64, 3), 100 * which, np.uint8), frame / 25)


def _read_video(path: Path) -> int:
    from trk.video.source import open_source

    with open_source(path) as source:
        means = [float(frame.image.mean()) for frame in source]
    assert len(means) == 5
    (which,) = {round(mean / 100) for mean in means}
    return which


def _write_run(path: Path, which: int) -> None:
    from trk.bench.store import write_text

    write_text(path, json.dumps([which] * 1000))


def _read_run(path: Path) -> int:
    (which,) = set(json.loads(path.read_text()))
    return int(which)


def _write_options(path: Path, which: int) -> None:
    from trk.train.session import write_options

    write_options(path.parent, {"steps": which, "val": None, "init": None, "cache": None})


def _read_options(path: Path) -> int:
    from trk.train.session import read_options

    return int(read_options(path.parent)["steps"])


WRITERS = {
    "bundle": Writer("bundle", _write_bundle, _read_bundle),
    "bundle.trk": Writer("bundle.trk", _write_bundle, _read_bundle),
    "plan": Writer("plans", _write_plan, _read_plan),
    "boxes": Writer("boxes.csv", _write_boxes, _read_boxes),
    "video": Writer("video.mp4", _write_video, _read_video),
    "result of an evaluation": Writer("run.json", _write_run, _read_run),
    "options of a training": Writer("options.json", _write_options, _read_options),
    "training checkpoint": Writer("latest.pt", _write_checkpoint, _read_checkpoint),
    "weights": Writer("weights.safetensors", _write_weights, _read_weights),
}
"""Those that need PyTorch last: with it loaded, every fork is slower."""


def end_before(step: int, how: str, final: Path) -> tuple[Callable[[], int], list[str]]:
    """From now on, count what changes the disk around `final`, and end the process or the call before the nth.

    Returns what gives the count, and a list that gets the names of files that are written under their final names.
    """
    done, in_place, place = 0, list[str](), final.parent

    def count() -> None:
        nonlocal done
        done += 1
        if done == step:
            if how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise ERRORS[how]

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if not any(str(word).startswith(str(place)) for word in args[:2]):
            return
        writes = event == "open" and (isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR))
        hidden = any(part.startswith(".") or part.endswith(".part") for part in Path(args[0]).parts)
        if writes and not hidden and Path(args[0]).is_relative_to(final):
            in_place.append(Path(args[0]).name)  # from here to its last byte it would be broken
        if writes or event in CHANGES or (event in REMOVES and how == "kill"):
            count()

    def fsync(handle: int, real: Callable[[int], None] = os.fsync) -> None:
        count()
        real(handle)

    os.fsync = fsync  # type: ignore[assignment]
    sys.addaudithook(hook)
    return lambda: done, in_place


def attempt(writer: Writer, path: Path, step: int, how: str) -> tuple[str, bool]:
    """Write in a child that ends before its nth step; return how it ended, and whether it had that many steps."""
    reader, told = os.pipe()
    child = os.fork()
    if not child:
        from trk.errors import TrkError

        done, in_place = end_before(step, how, path)
        try:
            writer.write(path, NEW)
            ended = f"written in place: {in_place[0]}" if in_place else "written"
        except TrkError as error:
            ended = "refused" if "\n" not in str(error) else f"more than a line: {error}"
        except BaseException as error:
            ended = f"{type(error).__name__}: {error}"
        os.write(told, json.dumps([ended, done() >= step]).encode())
        os._exit(0)
    os.close(told)
    with os.fdopen(reader, "rb") as stream:
        words = stream.read()
    os.waitpid(child, 0)
    ended, reached = json.loads(words) if words else ("killed", True)
    return ended, reached


def tries(name: str, how: str, before: bool, place: Path) -> None:
    """End one writer before each of its steps, with something there before or without."""
    writer, path = WRITERS[name], place / WRITERS[name].name
    step, reached = 0, True
    while reached:
        step += 1
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        if before:
            writer.write(path, OLD)
        ended, reached = attempt(writer, path, step, how)
        left = sorted(one.name for one in place.iterdir() if one.name != writer.name)
        try:
            there = {OLD: "old", NEW: "new"}[writer.read(path)] if path.exists() else "nothing"
        except Exception as error:
            there = f"broken: {type(error).__name__}: {error}"
        again = ""
        try:
            writer.write(path, NEW)
            assert writer.read(path) == NEW
        except Exception as error:
            again = f"{type(error).__name__}: {error}"
        about = {"writer": name, "how": how, "before": before, "step": step}
        print(json.dumps({**about, "ended": ended, "there": there, "left": left, "again": again}), flush=True)


def main() -> None:
    """Try every step of every writer."""
    place = Path(sys.argv[1])
    place.mkdir()
    for name, writer in WRITERS.items():
        writer.write(place / writer.name, OLD)  # loads whatever it needs
        assert writer.read(place / writer.name) == OLD
        for how in ("kill", *ERRORS):
            for before in (False, True):
                tries(name, how, before, place)


if __name__ == "__main__":
    main()
