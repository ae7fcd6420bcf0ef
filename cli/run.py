"""trk-run: track a target through a video."""

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from .. import __version__
from ..engine.multi import MultiTracker
from ..engine.policy import POLICIES
from ..engine.tracker import Tracker
from ..errors import UsageError
from ..tracking import follow
from ..video.boxes import BOX_FORMATS
from ..video.seeds import FORMATS, Seed
from ..video.source import Position
from ..video.span import open_span, parse_position
from ..weights.clips import sample
from .batch import run_batch, videos_of
from .command import EXIT_INTERRUPTED, run, traceback_option
from .outputs import Outputs
from .running import Tally, check_outputs, corners_hint, describe, has_several, hushed, open_tracker
from .tables import console, progress_bar, say, stage_table
from .values import BundlePath, parse_seeds
from .web import run_web
from .window import NO_TARGET, draw_targets, has_display

EPILOG = """\b
Examples:
  trk-run video.mp4
  trk-run video.mp4 --init 120,80,60,40 --out tracked.mp4 --boxes boxes.csv
  trk-run video.mp4 --web
  trk-run --demo
"""


@click.command("trk-run", epilog=EPILOG)
@click.argument("video", required=False)
@click.option(
    "--init",
    "inits",
    multiple=True,
    metavar="X,Y,W,H|FILE",
    help="The target in the first frame: top-left corner and size, in pixels. Or a .csv or .json with boxes at frames. "
    "Given again: another target.",
)
@click.option(
    "--init-format",
    type=click.Choice(FORMATS),
    default="xywh",
    show_default=True,
    help="What the numbers of --init are.",
)
@click.option(
    "--relative", is_flag=True, help="The numbers of --init are shares of the frame's width and height, 0..1."
)
@click.option(
    "--start", default="0", help="Where to begin: a frame (40) or a time (1.6s, 0:01:05). --init refers to it."
)
@click.option("--end", help="Where to end, included: a frame or a time. Default: the end.")
@click.option("--reverse", is_flag=True, help="From the end to the start; --init is then of the last frame.")
@click.option(
    "--raw", metavar="WxH[:FORMAT[:FPS]]", help="VIDEO is - and brings bare pictures: 640x480, 640x480:gray:30."
)
@click.option(
    "--bundle",
    type=BundlePath(),
    help="Bundle to track with: a folder, a .trk file, or int8, the default in INT8. Default: the one shipped.",
)
@click.option("--preset", help="One of the bundle's sets of hyper-parameters, or a file that trk-tune wrote.")
@click.option(
    "--on-lost",
    type=click.Choice(list(POLICIES)),
    help="While the target is lost: go on, hold the box, search the whole frame, or stop. Default: the bundle's.",
)
@click.option(
    "--update-template",
    type=click.FloatRange(0, 1),
    metavar="RATE",
    help="Let the template follow the target's appearance by this share at a time; 0: never. Default: the bundle's.",
)
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Override one hyper-parameter.")
@click.option("--backend", default="auto", show_default=True, help="Runtime.")
@click.option("--device", help="cpu or cuda. Default: cpu.")
@click.option("--threads", type=int, help="Threads of the runtime. Default: the runtime's choice.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the annotated video (.mp4, .mkv, .mov).")
@click.option(
    "--boxes",
    type=click.Path(path_type=Path),
    multiple=True,
    help=f"Write the boxes; by suffix: {', '.join(BOX_FORMATS)}; - is JSON lines on stdout. May be repeated.",
)
@click.option("--sheet", type=click.Path(path_type=Path), help="Write a contact sheet of the run (.png).")
@click.option(
    "--why",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Write a picture of each fall of the score: crop, score map, penalties, window, ranking, rivals.",
)
@click.option("--jobs", type=click.IntRange(1, 1024), help="Videos beside each other. Default: one a core.")
@click.option(
    "--one-process/--own-process",
    default=None,
    help="Many videos: in one process, which loads the network once, or each in its own. Default: one on a GPU.",
)
@click.option("--ray", metavar="ADDRESS", help="Of many videos: on a Ray cluster (host:port, auto), or local.")
@click.option("--web", is_flag=True, help="Draw the targets on a local page and watch them there, in place of --init.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="Of --web; 0 is a free one."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Of --web. Anything else opens it to the network.")
@click.option("--demo", is_flag=True, help="Track the sample that ships with trk and write trk-demo.mp4.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
@traceback_option
@click.version_option(__version__)
def command(video: str | None, inits: tuple[str, ...], demo: bool, **options: Any) -> int:
    """Track targets through VIDEO: a file, a folder or glob of images, a camera (0), a URL, or - for stdin.

    Without --init a window opens to draw the targets with the mouse; --web does without a display.

    A folder or glob of videos is tracked video by video; outputs then have {name} in their names.
    """
    about: dict[str, object] = {}
    start, end = parse_position(options["start"], "--start"), options["end"]
    job = Job(start, None if end is None else parse_position(end, "--end"), options)
    if demo:
        if video or inits:
            raise UsageError("--demo brings its own video and box: leave VIDEO and --init out")
        clip = sample("bunny")
        video, seeds, job.start = str(clip.video), [Seed(clip.init_box)], clip.init_frame
        if not options["web"]:
            options["out"] = options["out"] or Path("trk-demo.mp4")
        about = {"title": clip.title, "attribution": clip.attribution}
    elif not video:
        raise UsageError("no VIDEO: name a file or a folder of images, or try trk-run --demo")
    elif options["web"]:
        if inits or options["reverse"] or options["sheet"] or options["why"] or "-" in map(str, options["boxes"]):
            raise UsageError(
                "--web draws the targets on its page: leave --init, --reverse, --sheet, --why and --boxes - out"
            )
        seeds = []
    elif not inits and not has_display():
        raise UsageError(NO_TARGET)
    elif videos := videos_of(video):
        if not inits:
            raise UsageError("many videos need their boxes as --init, such as a .csv with a column video")
        if options["why"]:
            raise UsageError("--why looks at one video: name it")
        return run_batch(videos, inits, options)
    elif options["ray"]:
        raise UsageError("--ray is for many videos: name a folder of them or a quoted glob")
    else:
        seeds = parse_seeds(inits)
    check_outputs(video, [path for path in (options["out"], *options["boxes"], options["sheet"]) if path])
    tracker = open_tracker(options, several=has_several(seeds))
    loud = not options["quiet"]
    if loud and tracker.manifest.weights.origin == "random":
        say("trk-run: this bundle has random weights: it shows speed and tracks nothing", style="yellow")
    if options["web"]:
        outputs = [path for path in (options["out"], *options["boxes"]) if path]
        return run_web(video, tracker, job.start, job.end, options, outputs)
    return _run(video, seeds, job, tracker, about, loud)


@dataclass
class Job:
    """Which frames are tracked, and how the boxes and outputs were asked for."""

    start: Position
    end: Position | None
    options: dict[str, Any]


def _run(video: str, seeds: Sequence[Seed], job: Job, tracker: Tracker, about: dict[str, object], loud: bool) -> int:
    options = job.options
    interrupted = False
    form, relative = options["init_format"], options["relative"]
    with ExitStack() as stack:
        stack.enter_context(hushed(not loud))
        source = stack.enter_context(
            open_span(video, job.start, job.end, reverse=options["reverse"], ahead=True, raw=options["raw"])
        )
        if not seeds:
            seeds, source = draw_targets(source)
            form, relative = "xywh", False
            if has_several(seeds):
                tracker = open_tracker(options, several=True)
        if form == "xywh" and not relative and loud and (hint := corners_hint(seeds, source.size_wh)):
            say(f"trk-run: {hint}", style="yellow")
        tally = Tally()
        several = has_several(seeds)
        followers = MultiTracker(tracker, threads=options["threads"]) if several else tracker
        if options["why"] and several:
            raise UsageError("--why looks at one target: give one --init")
        why = _why(tracker, options["why"])
        about = {**about, **describe(video, seeds, tracker), "size_wh": list(source.size_wh)}
        outputs = stack.enter_context(
            Outputs(source, options["out"], options["boxes"], options["sheet"], about, several=several)
        )
        progress = stack.enter_context(progress_bar(loud))
        task = progress.add_task(source.name, total=source.count)
        try:
            for followed in follow(source, seeds, followers, form=form, relative=relative):
                if why:
                    (result,) = followed.results.values()
                    why.add(followed.frame.index, result)
                tally.add(followed, *outputs.add(followed))
                progress.advance(task)
        except KeyboardInterrupt:
            interrupted = True
    tally.stop()
    pictures, lines = why.write() if why else ([], [])
    if loud:
        _report(tally, tracker, [*outputs.paths, *pictures])
        if not (outputs.paths or options["boxes"] or why):
            say("no boxes were kept: --boxes boxes.csv and --out tracked.mp4 do that", style="yellow")
        for line in lines:
            say(line)
    if interrupted:
        frames = f"{tally.frames} frames"
        click.echo(f"trk-run: interrupted after {frames}; what was written is complete up to there", err=True)
        return EXIT_INTERRUPTED
    return 0


def _why(tracker: Tracker, folder: Path | None) -> Any:
    """Return what watches the run and explains it; None where nobody asked."""
    if folder is None:
        return None
    from ..bench.why import Why

    return Why(tracker, folder)


def _report(tally: Tally, tracker: Tracker, paths: list[Path]) -> None:
    manifest = tracker.manifest
    console.print(stage_table(tally.times.summary()))
    say(tally.line())
    say(f"{manifest.title} ({manifest.weights.origin} weights) on {tracker.backend.name}, {tracker.backend.device}")
    for path in paths:
        say(f"wrote {path}")


def main() -> None:
    """Entry point of trk-run."""
    sys.exit(run(command))
