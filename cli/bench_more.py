"""What trk-bench does in place of a comparison: sweeps over the amount of work, and the age of live results."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from rich.markup import escape
from rich.table import Table

from ..bench.age import age_data, jitter, measure_age
from ..bench.device import gpus
from ..bench.machine import load_average, machine, versions
from ..bench.speed import Clip, Plan
from ..bench.store import write_bytes
from ..bench.sweep import SWEEPS, Point, Setup, sweep, sweep_data
from ..engine.bundle import Bundle
from ..engine.tracker import Tracker
from ..errors import SinkError, UsageError
from .tables import print_table, progress_bar, say


def run_sweeps(bundles: Mapping[str, Bundle], clip: Clip, options: dict[str, Any]) -> dict[str, Any]:
    """Measure, print and plot the sweeps that were asked for; return them ready for JSON."""
    try:
        from ..bench.sweep_picture import about as title
        from ..bench.sweep_picture import sweep_picture
    except ImportError as error:
        raise UsageError(f"--sweep draws plots and needs {error.name}: pip install 'trk-engine[eval]'") from None
    names = list(SWEEPS) if "all" in options["sweeps"] else list(dict.fromkeys(options["sweeps"]))
    setup = Setup(
        bundles,
        options["backends"][0],
        options["device"],
        options["threads"][0],
        Plan(options["warmup"], options["rounds"]),
        options["length"],
    )
    about, device = _about(clip), f"--device {options['device']}"
    try:
        options["out"].mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SinkError(f"no plots can be written to {options['out']} ({error.strerror}): name a folder") from None
    found = []
    for name in names:
        with progress_bar(not options["quiet"]) as progress:
            task = progress.add_task(name, total=None)
            points = sweep(name, setup, clip, partial(progress.advance, task))
        found.append(sweep_data(name, points))
        path = options["out"] / f"sweep-{name}.png"
        threads = "" if name == "threads" else f", threads {setup.threads}"
        write_bytes(path, sweep_picture(name, points, f"{title({**about, 'command': device})}{threads}"))
        if not options["quiet"]:
            print_table(_table(name, points))
            say(f"wrote {path}")
    return {**about, "sweeps": found}


def run_live(bundles: Mapping[str, Bundle], clip: Clip, options: dict[str, Any]) -> dict[str, Any]:
    """Measure and print ages and jitter, one bundle after the other: time is what is measured."""
    rows = []
    for label, bundle in bundles.items():
        for backend in dict.fromkeys(options["backends"]):
            for threads in dict.fromkeys(options["threads"]):
                tracker = Tracker(bundle, backend, options["device"], threads)
                with progress_bar(not options["quiet"]) as progress:
                    task = progress.add_task(label, total=options["frames"])
                    ages = measure_age(
                        tracker,
                        clip.frames,
                        clip.box,
                        options["live"],
                        options["frames"],
                        partial(progress.advance, task),
                    )
                about = {"bundle": label, "how": tracker.backend.name, "threads": threads}
                still = jitter(tracker, clip.frames[0], clip.box)
                rows.append({**about, **age_data(ages, options["live"]), "jitter": still})
    if not options["quiet"]:
        print_table(_age_table(rows, options["live"]))
        say(
            "age: from the arrival of a frame at the reading thread to its box; frames that came while the tracker was "
            "busy are skipped. Jitter: change of a corner from frame to frame on one frame repeated, and how far the "
            "box has moved from the given one in the end."
        )
    return {**_about(clip), "live": rows}


def _about(clip: Clip) -> dict[str, Any]:
    height, width = clip.frames[0].shape[:2]
    return {
        "machine": machine(),
        "gpus": gpus(),
        "load_average": load_average(),
        "versions": versions(),
        "clip": {"name": clip.name, "frames": len(clip.frames) - 1, "size": [width, height], "init": list(clip.box)},
    }


def _table(name: str, points: list[Point]) -> Table:
    table = Table(title=name, title_justify="left", title_style="bold", box=None, padding=(0, 1, 0, 0))
    table.add_column("bundle", no_wrap=True)
    crowd, has_memory = name == "targets", any(point.memory_mib is not None for point in points)
    rate = "target FPS" if crowd else "FPS"
    columns = (SWEEPS[name][1], "ms a frame", "q1", "q3", "p99", "cpu", rate, *(["MiB"] if has_memory else []))
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for point in points:
        values = [f"{point.seconds[f'{key}_ms']:.2f}" for key in ("median", "q1", "q3", "p99")]
        values += [f"{point.cpu_ms:.2f}", f"{(point.amount if crowd else 1) * 1e3 / point.seconds['median_ms']:.1f}"]
        memory = [] if point.memory_mib is None else [f"{point.memory_mib:.1f}"]
        table.add_row(escape(point.series), f"{point.amount:,}", *values, *memory)
    return table


def _age_table(rows: list[dict[str, Any]], fps: float) -> Table:
    title = f"age of a result at {fps:g} frames a second"
    table = Table(title=title, title_justify="left", title_style="bold", box=None, padding=(0, 1, 0, 0))
    table.add_column("bundle", no_wrap=True)
    table.add_column("run by", no_wrap=True)
    for column in ("threads", "p50 ms", "p90", "p99", "largest", "tracked", "skipped", "jitter px", "drift px"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        ages = [f"{row[name]:.1f}" for name in ("p50_ms", "p90_ms", "p99_ms", "largest_ms")]
        still = [f"{row['jitter'][name]:.3f}" for name in ("step_px", "drift_px")]
        counts = [str(row[name]) for name in ("tracked", "skipped")]
        table.add_row(escape(row["bundle"]), row["how"], str(row["threads"]), *ages, *counts, *still)
    return table
