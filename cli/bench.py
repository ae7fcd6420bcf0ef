"""trk-bench: how fast bundles track, beside other runtimes, other trackers and upstream's way to run them."""

import json
import shlex
import sys
import tempfile
from collections.abc import Callable, Sequence
from math import inf
from pathlib import Path
from time import monotonic
from typing import Any

import click

from .. import __version__
from ..bench.device import gpus
from ..bench.footprint import measure_footprint
from ..bench.gemm import Gemm
from ..bench.machine import load_average
from ..bench.parts import device_parts
from ..bench.speed import Entry, Outcome, Plan, frames_to_track, measure
from ..bench.speed_against import AGAINST
from ..bench.speed_clip import Clip, read_clip, sample_clip
from ..bench.speed_entries import DEVICE, HOST, Wanted, choose_baseline, entries
from ..bench.speed_report import Beside, medians, published_speeds, report
from ..bench.speed_text import markdown
from ..bench.sweep import SWEEPS
from ..engine.bundle import Bundle
from ..errors import BackendError, TrkError, UsageError
from ..weights.shipped import default_bundle
from .bench_files import picture_file, report_file
from .bench_tables import (
    baseline_lines,
    device_table,
    failed_lines,
    footprint_table,
    notes,
    published_lines,
    ratio_lines,
    speed_tables,
)
from .command import EXIT_ERROR, run, traceback_option
from .tables import console, print_table, progress_bar
from .values import BundlePath, parse_box

QUICK = Plan(warmup=3, rounds=3, seconds=18.0)
QUICK_STARTS_UNTIL = 40.0
"""Seconds after which --quick starts nothing more in a process of its own: on a busy machine each takes long."""
QUICK_FRAMES = 30
STARTS = 3
"""Times that each entry is opened in a process of its own."""

EPILOG = """\b
Examples:
  trk-bench --quick
  trk-bench video.mp4 --init 120,80,60,40 --bundle a.trk --bundle b.trk --threads 1 --threads 2
  trk-bench --bundle nano.trk --tracker opencv:mil --baseline opencv-mil --markdown speed.md --picture speed.png
  trk-bench --bundle siamfc.trk --against upstream-style --json speed.json
  trk-bench --sweep targets --sweep size --out plots
  trk-bench --live 30
"""


@click.command("trk-bench", epilog=EPILOG)
@click.argument("video", required=False)
@click.option("--init", "init", metavar="X,Y,W,H", help="The target in the first frame. The sample brings its own.")
@click.option("--start", type=click.IntRange(min=0), help="Number of the frame to begin at. Default: 0.")
@click.option(
    "--bundle",
    "bundles",
    type=BundlePath(),
    multiple=True,
    help="Bundle to measure, or default, int8: those that ship; may be given more than once. Default: default.",
)
@click.option(
    "--backend",
    "backends",
    multiple=True,
    default=("auto",),
    show_default=True,
    help="Runtime; may be repeated.",
)
@click.option("--device", help="cpu or cuda. Default: cpu.")
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    multiple=True,
    default=(1,),
    show_default=True,
    help="Threads of a tracker; may be given more than once.",
)
@click.option(
    "--targets",
    type=click.IntRange(1, 1024),
    multiple=True,
    default=(1,),
    show_default=True,
    help="Targets that a bundle follows at once; may be given more than once. See trk-export --targets.",
)
@click.option(
    "--frames-on",
    type=click.Choice([HOST, DEVICE]),
    multiple=True,
    default=(HOST,),
    show_default=True,
    help="Where the frames lie that a bundle is given: in the host's memory, or as PyTorch tensors on the GPU already; "
    "may be given more than once.",
)
@click.option(
    "--tracker",
    "peers",
    multiple=True,
    help="Another tracker on the same frames: opencv:mil, opencv:kcf, opencv:csrt, opencv:nano:BACKBONE,HEAD, "
    "opencv:vit:FILE, opencv:all (those of this OpenCV that need no files), stay.",
)
@click.option(
    "--baseline",
    metavar="NAME",
    help="Bundle, tracker or way to run that all others are compared with. Default: the first.",
)
@click.option(
    "--frames", type=click.IntRange(min=2), default=60, show_default=True, help="Frames of the clip to track."
)
@click.option(
    "--warmup", type=click.IntRange(min=1), default=10, show_default=True, help="Frames to track before timing."
)
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True, help="Passes through the clip.")
@click.option("--quick", is_flag=True, help="Under a minute: as many rounds and frames as fit, one start each.")
@click.option(
    "--starts",
    type=click.IntRange(min=0),
    help=f"Times to start each one in a process of its own, for start-up and memory. Default: {STARTS}.",
)
@click.option(
    "--against",
    type=click.Choice(list(AGAINST)),
    multiple=True,
    help="Run the same network in PyTorch too, on --device, as its upstream repository does, and print the ratio. "
    "PySOT and others record gradients while they track; upstream-no-grad does the same without, upstream-compile with "
    "torch.compile. opencv-nano: a NanoTrack by OpenCV's TrackerNano.",
)
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Checkpoint that a bundle was exported from; --against needs it.",
)
@click.option(
    "--sweep",
    "sweeps",
    type=click.Choice([*SWEEPS, "all"]),
    multiple=True,
    help="Instead: how the cost grows with targets (1..32), size (480 to 2160 rows), threads or length of the video. "
    "Plots go to --out.",
)
@click.option(
    "--length",
    type=click.IntRange(min=10),
    default=10_000,
    show_default=True,
    help="Frames of the longest video of --sweep length.",
)
@click.option(
    "--live",
    type=click.FloatRange(min=0, min_open=True),
    metavar="FPS",
    help="Instead: VIDEO plays at this rate as a camera does; how old is a frame when its box is there, how many are "
    "skipped, how still is a box on a still picture.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("trk-bench"),
    show_default=True,
    help="Folder for the plots of --sweep.",
)
@click.option("--json", "json_path", metavar="FILE", help="Write all figures as JSON; - is stdout.")
@click.option("--markdown", "markdown_path", metavar="FILE", help="Write the tables as Markdown; - is stdout.")
@click.option("--picture", "picture_path", type=click.Path(path_type=Path), help="Write a picture of it (.png, .svg).")
@click.option("--quiet", is_flag=True, help="Print no table.")
@traceback_option
@click.version_option(__version__)
def command(video: str | None, init: str | None, start: int | None, **options: Any) -> int:
    """Measure how fast bundles track VIDEO: a file, a folder or a glob of images; none named is the sample.

    Everything that is compared takes turns, block of frames by block, in one run. All frames are decoded before timing
    starts: decoding, drawing and writing are in no figure. A folder of images with a groundtruth.txt brings its box,
    and accuracy is told beside speed.
    """
    if video is None and init is not None:
        raise UsageError("--init goes with a VIDEO: the sample brings its own box")
    if options["json_path"] == options["markdown_path"] == "-":
        raise UsageError("--json - and --markdown - would mix on stdout: give one of them a file")
    if options["sweeps"] or options["live"]:
        return _instead(video, init, start, options)
    began = monotonic()
    plan = QUICK if options["quick"] else Plan(options["warmup"], options["rounds"])
    frames = min(options["frames"], QUICK_FRAMES) if options["quick"] else options["frames"]
    loud = not options["quiet"]
    with (
        report_file(options["json_path"]) as write_json,
        report_file(options["markdown_path"]) as write_markdown,
        picture_file(options["picture_path"]) as write_picture,
        tempfile.TemporaryDirectory(prefix="trk-bench-") as folder,
    ):
        clip = _clip(video, init, start, frames)
        wanted = Wanted(
            bundles=_open(options["bundles"], options["peers"]),
            backends=list(dict.fromkeys(options["backends"])),
            device=options["device"],
            threads=list(dict.fromkeys(options["threads"])),
            peers=list(dict.fromkeys(options["peers"])),
            against=list(dict.fromkeys(options["against"])),
            weights=list(dict.fromkeys(options["weights"])),
            folder=Path(folder),
            targets=list(dict.fromkeys(options["targets"])),
            frames_on=list(dict.fromkeys(options["frames_on"])),
        )
        before = gpus()
        compared = entries(wanted)
        baseline, against = choose_baseline(compared, options["baseline"], wanted.against)
        gemm = Gemm(wanted.threads)
        load = load_average()
        with progress_bar(loud) as progress:
            task = progress.add_task(clip.name, total=frames_to_track(len(compared), clip, plan))
            outcome = measure(compared, clip, plan, lambda count: progress.advance(task, count), gemm.turn)
            if all(item.failed for item in outcome.measured):
                raise BackendError(outcome.measured[0].failed)
            starts = options["starts"] if options["starts"] is not None else 1 if options["quick"] else STARTS
            task = progress.add_task("start-up", total=starts * len(compared))
            until = began + QUICK_STARTS_UNTIL if options["quick"] else inf
            footprints = _footprints(compared, clip, starts, lambda: progress.advance(task), until)
        parts = _device_parts(compared, outcome) if on_device(options["device"]) else {}
        published = {label: published_speeds(bundle) for label, bundle in wanted.bundles.items()}
        line = _command_line(video, init, start, options)
        found = report(outcome, against, line, load, Beside(gemm, footprints, before, parts, published), baseline)
        write_json(json.dumps(found, indent=1))
        write_markdown(markdown(found))
        write_picture(found)
    if loud:
        _print(found, frames)
    for text in failed_lines(found):
        click.echo(f"trk-bench: {text}", err=True)
    return EXIT_ERROR if found["failed"] else 0


def _instead(video: str | None, init: str | None, start: int | None, options: dict[str, Any]) -> int:
    """Do --sweep or --live in place of the comparison."""
    left_alone = {"targets": {1}, "frames_on": {HOST}}
    for name in ("peers", "against", "baseline", "markdown_path", "picture_path", "frames_on", "targets"):
        if options[name] and (name not in left_alone or set(options[name]) != left_alone[name]):
            option = {"peers": "tracker", "frames_on": "frames-on"}.get(name, name.removesuffix("_path"))
            raise UsageError(f"--{option} belongs to the comparison: leave it out with --sweep and --live")
    for option, several in (("backend", options["backends"]), ("threads", options["threads"])):
        if options["sweeps"] and len(set(several)) > 1:
            raise UsageError(f"--sweep takes one --{option}: give each its own run and --out")
    if options["sweeps"] and options["live"]:
        raise UsageError("--sweep and --live are two measurements: one at a time")
    from .bench_more import run_live, run_sweeps

    bundles = _open(options["bundles"], [])
    clip = _clip(video, init, start, options["frames"])
    with report_file(options["json_path"]) as write:
        found = (run_live if options["live"] else run_sweeps)(bundles, clip, options)
        found["command"] = _command_line(video, init, start, options)
        write(json.dumps(found, indent=1))
    return 0


def _print(found: dict[str, Any], frames: int) -> None:
    for table in (*speed_tables(found), *device_table(found), *footprint_table(found)):
        print_table(table)
    for line in (*ratio_lines(found), *baseline_lines(found), *published_lines(found), *notes(found, frames)):
        console.print(line, soft_wrap=not console.is_terminal)


def _clip(video: str | None, init: str | None, start: int | None, frames: int) -> Clip:
    if video is not None:
        return read_clip(video, None if init is None else parse_box(init), start=start or 0, frames=frames)
    if start is not None:
        raise UsageError("--start goes with a VIDEO: the sample begins where its box is")
    return sample_clip(frames)


def _open(paths: Sequence[str], peers: Sequence[str]) -> dict[str, Bundle]:
    """Return the bundles by what they are called in tables: the file's name, or its path where names repeat."""
    default = [] if peers else [str(default_bundle())]
    bundles = [Bundle(path) for path in dict.fromkeys(paths or default)]
    names = [bundle.path.name for bundle in bundles]
    return {str(b.path) if names.count(b.path.name) > 1 else b.path.name: b for b in bundles}


def _footprints(
    compared: Sequence[Entry], clip: Clip, starts: int, advance: Callable[[], None], until: float
) -> dict[int, dict[str, float | None]]:
    """Return the medians of what each entry's starts took, by position; they take turns, too."""
    found: dict[int, list[dict[str, float | None]]] = {}
    for _ in range(starts):
        for number, entry in enumerate(compared):
            advance()
            if entry.recipe is None or monotonic() > until:
                continue
            try:
                found.setdefault(number, []).append(measure_footprint(entry.recipe, clip.frames, clip.box))
            except TrkError as error:
                click.echo(f"trk-bench: {entry.label}: {error}", err=True)
    return {number: medians(several) for number, several in found.items()}


def on_device(device: str | None) -> bool:
    """Whether what is measured has a clock of its own."""
    return device == "cuda"


def _device_parts(compared: Sequence[Entry], outcome: Outcome) -> dict[int, dict[str, Any]]:
    """Return what the device's clock says of each entry's parts, by position, where it can tell."""
    found = {}
    for number, (entry, item) in enumerate(zip(compared, outcome.measured, strict=True)):
        try:
            parts = None if item.failed else device_parts(entry, outcome.clip)
        except Exception as error:  # an extra, in code that no frame runs: it must not cost what was timed
            why = str(error) if isinstance(error, TrkError) else f"{type(error).__name__}: {error}"
            click.echo(f"trk-bench: {entry.label}, {entry.how}, in parts: {' '.join(why.split())}", err=True)
            continue
        if parts is not None:
            found[number] = parts
    return found


def _command_line(video: str | None, init: str | None, start: int | None, options: dict[str, Any]) -> str:
    """Return the command that repeats this measurement, with what was left to the defaults."""
    words: list[object] = ["trk-bench", *([video] if video else []), *(["--init", init] if init else [])]
    if start is not None:
        words += ["--start", start]
    several = {"bundle": "bundles", "backend": "backends", "frames-on": "frames_on", "tracker": "peers"}
    unsaid = {"backend": ["auto"], "targets": [1], "frames-on": [HOST]}
    for name in ("bundle", "backend", "frames-on", "threads", "targets", "tracker", "against", "weights"):
        given = list(dict.fromkeys(options[several.get(name, name)]))
        given = [] if given == unsaid.get(name) else given
        words += [word for value in given for word in (f"--{name}", value)]
    for name in options["sweeps"]:
        words += ["--sweep", name, *(["--length", options["length"]] if name in ("length", "all") else [])]
    for name in ("device", "baseline", "starts", "live"):
        words += [f"--{name}", options[name]] if options[name] is not None else []
    for name in ("frames", "warmup", "rounds"):
        words += [] if options["quick"] else [f"--{name}", options[name]]
    return shlex.join(str(word) for word in [*words, *(["--quick"] if options["quick"] else [])])


def main() -> None:
    """Entry point of trk-bench."""
    sys.exit(run(command))
