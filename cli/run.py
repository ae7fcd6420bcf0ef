"""trk-run: track a target through a video."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from glob import glob
from pathlib import Path
from time import perf_counter
from typing import Any

import click
import numpy as np
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..bench.stages import StageTimes
from ..engine.result import Box
from ..engine.tracker import Tracker
from ..errors import UsageError
from ..track import Tracked, track
from ..video.boxes import Record, open_sink
from ..video.draw import draw
from ..video.sheet import ContactSheet
from ..video.source import IMAGE_SUFFIXES, Source, open_source
from ..video.writer import open_video
from ..weights.clips import sample
from .command import EXIT_INTERRUPTED, run, traceback_option
from .tables import console, say, stage_table
from .values import parse_box, parse_settings

EPILOG = """\b
Examples:
  trk-run video.mp4 --init 120,80,60,40 --out tracked.mp4 --boxes boxes.csv
  trk-run --demo
"""


@click.command("trk-run", epilog=EPILOG)
@click.argument("video", required=False)
@click.option(
    "--init", "init", metavar="X,Y,W,H", help="The target in the first frame: top-left corner and size, in pixels."
)
@click.option(
    "--start",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Number of the frame to begin at; --init refers to it.",
)
@click.option(
    "--bundle", type=click.Path(), help="Bundle to track with: a folder or a .trk file. Default: the one shipped."
)
@click.option("--preset", help="One of the bundle's sets of hyper-parameters.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Override one hyper-parameter.")
@click.option("--backend", default="auto", show_default=True, help="Runtime.")
@click.option("--device", help="cpu or cuda. Default: cpu.")
@click.option("--threads", type=int, help="Threads of the runtime. Default: the runtime's choice.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the annotated video (.mp4, .mkv, .mov).")
@click.option(
    "--boxes",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Write the boxes: .csv, .json, or .txt as OTB has it. May be given more than once.",
)
@click.option("--sheet", type=click.Path(path_type=Path), help="Write a contact sheet of the run (.png).")
@click.option("--demo", is_flag=True, help="Track the sample that ships with trk and write trk-demo.mp4.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
@traceback_option
@click.version_option(package_name="trk-engine")
def command(video: str | None, init: str | None, start: int, demo: bool, **options: Any) -> int:
    """Track one target through VIDEO: a file, a folder or a glob of images."""
    about: dict[str, object] = {}
    if demo:
        if video or init:
            raise UsageError("--demo brings its own video and box: leave VIDEO and --init out")
        clip = sample("bunny")
        video, box, start = str(clip.video), clip.init_box, clip.init_frame
        options["out"] = options["out"] or Path("trk-demo.mp4")
        about = {"title": clip.title, "attribution": clip.attribution}
    elif not video:
        raise UsageError("no VIDEO: name a file or a folder of images, or try trk-run --demo")
    elif init is None:
        raise UsageError("no target: give its box in the first frame as --init x,y,w,h")
    else:
        box = parse_box(init)
    check_outputs(video, [path for path in (options["out"], *options["boxes"], options["sheet"]) if path])
    tracker = Tracker(
        options["bundle"],
        options["backend"],
        options["device"],
        options["threads"],
        preset=options["preset"],
        params=parse_settings(options["settings"]),
    )
    loud = not options["quiet"]
    if loud and tracker.manifest.weights.origin == "random":
        say("trk-run: this bundle has random weights: it shows speed and tracks nothing", style="yellow")
    return _run(video, box, start, tracker, options, about, loud)


def check_outputs(video: str, outputs: Sequence[Path]) -> None:
    """Raise UsageError where an output is named twice, or would replace what is to be tracked."""
    for number, path in enumerate(outputs):
        if path.resolve() in (other.resolve() for other in outputs[:number]):
            raise UsageError(f"{path} is named twice as an output")
        if path.exists() and any(path.samefile(read) for read in _read_from(video)):
            raise UsageError(f"{path} belongs to the video that is to be tracked: name another output")


def _read_from(video: str) -> Iterator[Path]:
    """Yield the files that tracking `video` may read: itself, or the images of a folder or a glob."""
    path = Path(video)
    found = list(path.iterdir()) if path.is_dir() else [Path(match) for match in glob(video)]  # noqa: PTH207
    for file in (path, *(file for file in found if file.suffix.lower() in IMAGE_SUFFIXES)):
        if file.exists():
            yield file


def _run(
    video: str, box: Box, start: int, tracker: Tracker, options: dict[str, Any], about: dict[str, object], loud: bool
) -> int:
    times = StageTimes()
    interrupted = False
    began = perf_counter()
    with ExitStack() as stack:
        source = stack.enter_context(open_source(video))
        outputs = stack.enter_context(Outputs(source, options, {**about, **_about(video, box, tracker)}))
        progress = stack.enter_context(_progress(loud))
        task = progress.add_task(escape(source.name), total=source.count and max(source.count - start, 0))
        try:
            for tracked in track(source, box, tracker, start=start):
                drawn, written = outputs.add(tracked)
                first = tracked.result.frame_index == 0
                stages = tracked.stages
                if not first:  # the template branch runs once and would only blur the search branch's times
                    times.add({"crop": stages.crop, "search": stages.network, "host": stages.host})
                times.add({"decode": tracked.decode, **drawn, **written})
                progress.advance(task)
        except KeyboardInterrupt:
            interrupted = True
    frames = len(times.seconds["decode"])
    if loud:
        _report(times, frames, perf_counter() - began, tracker, outputs.paths)
    if interrupted:
        click.echo(f"trk-run: interrupted after {frames} frames; what was written is complete up to there", err=True)
        return EXIT_INTERRUPTED
    return 0


class Outputs:
    """All sinks of a run, opened before the first frame and closed whole whatever happens."""

    def __init__(self, source: Source, options: dict[str, Any], about: dict[str, object]):
        self._stack = ExitStack()
        self.paths: list[Path] = [path for path in (options["out"], *options["boxes"], options["sheet"]) if path]
        with ExitStack() as opening:
            out, sheet = options["out"], options["sheet"]
            self._video = opening.enter_context(open_video(out, source.size_wh, source.fps)) if out else None
            self._boxes = [opening.enter_context(open_sink(path, about=about)) for path in options["boxes"]]
            self._sheet = opening.enter_context(ContactSheet(sheet)) if sheet else None
            self._stack = opening.pop_all()
        self._recent = 0.0

    def __enter__(self) -> "Outputs":
        return self

    def __exit__(self, *error: Any) -> bool | None:
        return self._stack.__exit__(*error)

    def add(self, tracked: Tracked) -> tuple[dict[str, float], dict[str, float]]:
        """Write one frame; return the seconds of drawing and of writing, empty where there was none."""
        frame, result = tracked.frame, tracked.result
        started = perf_counter()
        picture = None
        if self._video:
            self._recent = 0.9 * self._recent + 0.1 * result.time if self._recent else result.time
            picture = draw(
                frame.image,
                result.box,
                score=result.score,
                fps=1 / self._recent,
                lost=result.lost,
                frame_index=frame.index,
            )
        drawn = perf_counter()
        if self._video and picture is not None:
            self._video.write(picture, frame.time)
        for sink in self._boxes:
            sink.write(Record(frame.index, frame.time, result.box, result.score, result.lost))
        if self._sheet:
            self._sheet.add(frame.index, frame.image, result.box, lost=result.lost, score=result.score)
        written = perf_counter()
        return (
            {"draw": drawn - started} if self._video else {},
            {"write": written - drawn} if self.paths else {},
        )


def _about(video: str, box: Box, tracker: Tracker) -> dict[str, object]:
    manifest = tracker.manifest
    return {
        "video": video,
        "init": list(box),
        "model": manifest.model,
        "variant": manifest.variant,
        "weights": manifest.weights.origin,
        "params": dict(tracker.params),
        "backend": tracker.backend.name,
        "device": tracker.backend.device,
    }


def _progress(loud: bool) -> Progress:
    columns = (
        TextColumn("[progress.description]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, transient=True, disable=not (loud and sys.stderr.isatty()))


def _report(times: StageTimes, frames: int, seconds: float, tracker: Tracker, paths: list[Path]) -> None:
    manifest = tracker.manifest
    console.print(stage_table(times.summary()))
    median = np.median(np.asarray(times.seconds["search"])) * 1e3 if times.seconds["search"] else 0.0
    say(
        f"{frames} frames · {times.tracking_fps():.1f} FPS tracking · {frames / seconds:.1f} FPS with reading, "
        f"drawing and writing · search {median:.1f} ms"
    )
    say(f"{manifest.title} ({manifest.weights.origin} weights) on {tracker.backend.name}, {tracker.backend.device}")
    for path in paths:
        say(f"wrote {path}")


def main() -> None:
    """Entry point of trk-run."""
    sys.exit(run(command))
