"""trk-bench: how fast bundles track, and how much faster than upstream's way to run the same network."""

import json
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from ..bench.machine import load_average
from ..bench.speed import Clip, Entry, Plan, frames_to_track, measure, read_clip
from ..bench.speed_report import about_bundle, report
from ..engine.bundle import Bundle
from ..engine.tracker import Tracker
from ..errors import BackendError, UsageError
from ..video.partial import PartialFile
from ..weights.shipped import default_bundle
from .bench_tables import notes, ratio_lines, speed_tables
from .command import run, traceback_option
from .tables import PIPED_WIDTH, console, progress_bar
from .values import parse_box

AGAINST: dict[str, bool | None] = {"upstream-style": None, "upstream-no-grad": False}
"""Ways to run a bundle's network in PyTorch, and whether gradients are recorded (None: as its upstream does)."""

EPILOG = """\b
Examples:
  trk-bench
  trk-bench video.mp4 --init 120,80,60,40 --bundle a.trk --bundle b.trk --threads 1 --threads 2
  trk-bench --bundle siamfc.trk --against upstream-style --json speed.json
"""


@click.command("trk-bench", epilog=EPILOG)
@click.argument("video", required=False)
@click.option("--init", "init", metavar="X,Y,W,H", help="The target in the first frame. The sample brings its own.")
@click.option("--start", type=click.IntRange(min=0), help="Number of the frame to begin at. Default: 0.")
@click.option(
    "--bundle",
    "bundles",
    type=click.Path(),
    multiple=True,
    help="Bundle to measure; may be given more than once. Default: the one shipped.",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    multiple=True,
    default=(1,),
    show_default=True,
    help="Threads of a tracker; may be given more than once.",
)
@click.option(
    "--frames", type=click.IntRange(min=2), default=60, show_default=True, help="Frames of the clip to track."
)
@click.option(
    "--warmup", type=click.IntRange(min=1), default=10, show_default=True, help="Frames to track before timing."
)
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True, help="Passes through the clip.")
@click.option(
    "--against",
    type=click.Choice(list(AGAINST)),
    multiple=True,
    help="Run the same network in PyTorch too, as its upstream repository does, and print the ratio. PySOT and others "
    "record gradients while they track; upstream-no-grad does the same without.",
)
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Checkpoint that a bundle was exported from; --against needs it.",
)
@click.option("--json", "json_path", metavar="FILE", help="Write all figures as JSON; - is stdout.")
@click.option("--quiet", is_flag=True, help="Print no table.")
@traceback_option
@click.version_option(package_name="trk-engine")
def command(video: str | None, init: str | None, start: int | None, **options: Any) -> int:
    """Measure how fast bundles track VIDEO: a file, a folder or a glob of images; none named is the sample.

    Everything that is compared takes turns, block of frames by block, in one run. All frames are decoded before timing
    starts: decoding, drawing and writing are in no figure.
    """
    if (video is None) != (init is None):
        raise UsageError(
            "--init goes with a VIDEO: the sample brings its own box"
            if video is None
            else "no target: give its box in the first frame as --init x,y,w,h"
        )
    with _json_file(options["json_path"]) as write:
        clip = _clip(video, init, start, options["frames"])
        against = list(dict.fromkeys(options["against"]))
        entries = _entries(_open(options["bundles"]), list(dict.fromkeys(options["threads"])), against, options)
        plan = Plan(options["warmup"], options["rounds"])
        loud = not options["quiet"]
        load = load_average()
        with progress_bar(loud) as progress:
            task = progress.add_task(clip.name, total=frames_to_track(len(entries), clip, plan))
            measured = measure(entries, clip, plan, lambda frames: progress.advance(task, frames))
        found = report(measured, clip, plan, against, _command_line(video, init, start, options), load)
        write(found)
    if loud:
        wide = None if console.is_terminal else PIPED_WIDTH
        for table in speed_tables(found):
            console.print(table, width=wide)
        for line in (*ratio_lines(found), *notes(found, options["frames"])):
            console.print(line, soft_wrap=not console.is_terminal)
    return 0


def _clip(video: str | None, init: str | None, start: int | None, frames: int) -> Clip:
    if video is not None and init is not None:
        return read_clip(video, parse_box(init), start=start or 0, frames=frames)
    if start is not None:
        raise UsageError("--start goes with a VIDEO: the sample begins where its box is")
    from ..weights.clips import sample

    shipped = sample()
    clip = read_clip(shipped.video, shipped.init_box, start=shipped.init_frame, frames=frames)
    return clip._replace(name=f"sample {shipped.name}")


def _open(paths: Sequence[str]) -> dict[str, Bundle]:
    """Return the bundles by what they are called in tables: the file's name, or its path where names repeat."""
    bundles = [Bundle(path) for path in dict.fromkeys(paths or [str(default_bundle())])]
    names = [bundle.path.name for bundle in bundles]
    return {str(b.path) if names.count(b.path.name) > 1 else b.path.name: b for b in bundles}


def _entries(
    bundles: dict[str, Bundle], threads: Sequence[int], against: Sequence[str], options: dict[str, Any]
) -> list[Entry]:
    entries = []
    for label, bundle in bundles.items():
        about = about_bundle(bundle)
        for count in threads:
            tracker = Tracker(bundle, threads=count)
            entries.append(Entry(label, tracker.backend.name, count, tracker, about))
        if against:
            entries += _upstream_entries(label, bundle, threads, against, options["weights"], about)
    return entries


def _upstream_entries(
    label: str,
    bundle: Bundle,
    threads: Sequence[int],
    against: Sequence[str],
    weights: Sequence[Path],
    about: dict[str, Any],
) -> Iterator[Entry]:
    try:
        from ..bench.upstream_style import network_of, upstream_style
    except ImportError as error:
        raise BackendError(
            f"--against needs PyTorch ({error.name} is missing): pip install 'trk-engine[export]', or leave it out"
        ) from None
    net = network_of(bundle, weights)
    for how in against:
        for count in threads:
            tracker = upstream_style(bundle, net, gradients=AGAINST[how])
            yield Entry(label, how, count, tracker, about, tracker.is_close_call)


@contextmanager
def _json_file(path: str | None) -> Iterator[Any]:
    """Give a function that writes the report; an unwritable place is found out before anything is measured."""
    if path is None:
        yield lambda found: None
    elif path == "-":
        yield lambda found: click.echo(json.dumps(found, indent=2))
    else:
        file = PartialFile(Path(path))
        try:
            yield lambda found: file.temporary.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
            file.publish()
        finally:
            file.discard()


def _command_line(video: str | None, init: str | None, start: int | None, options: dict[str, Any]) -> str:
    """Return the command that repeats this measurement, with what was left to the defaults."""
    words: list[object] = ["trk-bench", *([video, "--init", init] if video else [])]
    if start is not None:
        words += ["--start", start]
    for name, key in (("bundle", "bundles"), ("threads", "threads"), ("against", "against"), ("weights", "weights")):
        words += [word for value in dict.fromkeys(options[key]) for word in (f"--{name}", value)]
    for name in ("frames", "warmup", "rounds"):
        words += [f"--{name}", options[name]]
    return shlex.join(str(word) for word in words)


def main() -> None:
    """Entry point of trk-bench."""
    sys.exit(run(command))
