"""What trk-bench prints of a speed report: a row for each entry, a line for each ratio, and what to know about both."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.markup import escape
from rich.table import Table

from ..bench.stages import TRACKING

MIN_NAME = 16
BUSY = 0.5
"""Load per core, before the run, from which a machine counts as busy."""


def speed_tables(report: Mapping[str, Any]) -> Iterator[Table]:
    """Yield a table for each bundle: FPS and milliseconds a frame, a row for each way it was run."""
    for bundle in dict.fromkeys(entry["bundle"] for entry in report["entries"]):
        entries = [entry for entry in report["entries"] if entry["bundle"] == bundle]
        table = Table(title=escape(bundle), title_justify="left", title_style="bold", box=None, padding=(0, 1, 0, 0))
        table.add_column("run by", no_wrap=True, min_width=MIN_NAME)
        for column in ("threads", "FPS", "median", "p95", "p99", "crop", "search", "host", "cpu"):
            table.add_column(column, justify="right", no_wrap=True)
        for entry in entries:
            values = [entry["total"][f"{name}_ms"] for name in ("median", "p95", "p99")]
            values += [entry[stage]["median_ms"] for stage in (*TRACKING, "cpu")]
            shown = (f"{value:.{2 if value < 100 else 1}f}" for value in values)
            table.add_row(entry["how"], str(entry["threads"]), f"{entry['fps']:.1f}", *shown)
        yield table


def ratio_lines(report: Mapping[str, Any]) -> list[str]:
    """Return lines for each comparison: how many times faster, in all and by part, and whether the boxes agree."""
    lines = []
    for found in report["ratios"]:
        boxes = found["boxes"]
        until = "" if boxes["parted_by_rounding_at_frame"] is None else ", until a rounding parts them"
        lines += [
            f"[bold]{escape(found['bundle'])}, {_threads(found['threads'])}: {found['fast']} is "
            f"{_times(found['total'])} as fast as {found['slow']}[/bold]",
            f"  search {_times(found['search'])}, crop and host {_times(found['crop_and_host'])}, processor time "
            f"{_times(found['cpu'])}",
            f"  boxes within {boxes['largest_difference_px']:.2g} px over {boxes['frames_compared']} frames{until}",
        ]
    return lines


def notes(report: Mapping[str, Any], frames: int) -> list[str]:
    """Return what a reader has to know: what is inside, what was measured on, and what may disturb."""
    clip, plan, machine = report["clip"], report["plan"], report["machine"]
    lines = [
        "ms a frame: median, p95 and p99 of crop + search + host, then medians of each and of processor time. FPS is "
        "1 / median. Frames were decoded before: decoding is in no figure.",
        f"{escape(clip['name'])}, {clip['size'][0]}x{clip['size'][1]}, {clip['frames']} frames, {plan['rounds']} "
        f"rounds, {plan['warmup_frames']} frames of warm-up, on {machine['cpu']} with {machine['usable_cores']} cores",
    ]
    if clip["frames"] < frames:
        lines.append(f"the clip ends after {clip['frames']} of the {frames} frames that --frames allows")
    if any(entry["about"]["weights"] == "random" for entry in report["entries"]):
        lines.append("[yellow]random weights: they show speed and track nothing[/yellow]")
    load, cores = report["load_average"]["before"], machine["usable_cores"] or 1
    if load and load[0] > BUSY * cores:
        line = f"other work was running (load {load[0]:g} on {cores} cores): trust the ratios of processor time first"
        if any(entry["threads"] > 1 for entry in report["entries"]):
            line += ", and none with more than one thread: threads that wait by spinning lose most"
        lines.append(f"[yellow]{line}[/yellow]")
    return lines


def _times(spread: Mapping[str, Any]) -> str:
    return f"{spread['median']:.2f}x ({spread['min']:.2f}-{spread['max']:.2f})"


def _threads(count: int) -> str:
    return f"{count} thread{'' if count == 1 else 's'}"
