"""What trk-bench prints of a speed report: a row for each entry, a line for each ratio, and what to know about both."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.markup import escape
from rich.table import Table

from ..bench.device import gpu_line
from ..bench.stages import TRACKING

MIN_NAME = 16
BUSY = 0.5
"""Load per core, before the run, from which a machine counts as busy."""


def speed_tables(report: Mapping[str, Any]) -> Iterator[Table]:
    """Yield a table for each bundle and tracker: FPS and milliseconds a frame, a row for each way it was run."""
    for bundle in dict.fromkeys(entry["bundle"] for entry in report["entries"]):
        entries = [entry for entry in report["entries"] if entry["bundle"] == bundle]
        table = _table(escape(bundle))
        columns = ["threads", "FPS", "median", "q1", "q3", "p99", "crop", "search", "host", "cpu"]
        has_rate = any(entry["gflops"] for entry in entries)
        has_crowd = any(entry["targets"] > 1 for entry in entries)
        has_truth = any(entry["mean_overlap"] is not None for entry in entries)
        columns[1:1] = ["targets"] if has_crowd else []
        columns[3:3] = ["target FPS"] if has_crowd else []
        columns += ["GFLOP/s", "of peak"] if has_rate else []
        columns += ["overlap"] if has_truth else []
        for column in columns:
            table.add_column(column, justify="right", no_wrap=True)
        for entry in entries:
            total = entry["total"]
            values = [total[f"{name}_ms"] for name in ("median", "q1", "q3", "p99")]
            values += [entry[stage] and entry[stage]["median_ms"] for stage in (*TRACKING, "cpu")]
            shown = ["-" if value is None else f"{value:.{2 if value < 100 else 1}f}" for value in values]
            if has_rate:
                share = entry["share_of_gemm_peak"]
                shown += [f"{entry['gflops']:.1f}" if entry["gflops"] else "-", f"{share:.0%}" if share else "-"]
            if has_truth:
                shown.append("-" if entry["mean_overlap"] is None else f"{entry['mean_overlap']:.3f}")
            counts = [str(entry["threads"]), *([str(entry["targets"])] if has_crowd else [])]
            rates = [f"{entry['fps']:.1f}", *([f"{entry['target_fps']:.1f}"] if has_crowd else [])]
            table.add_row(entry["how"], *counts, *rates, *shown)
        yield table


def device_table(report: Mapping[str, Any]) -> Iterator[Table]:
    """Yield a table of a search's parts by the device's own clock, where backends can tell."""
    entries = [entry for entry in report["entries"] if entry["device"]]
    if not entries:
        return
    table = _table("a search by the device's clock, ms: median (p99)")
    for column in ("upload", "network", "download"):
        table.add_column(column, justify="right", no_wrap=True)
    for entry in entries:
        parts = [entry["device"][name] for name in ("upload", "compute", "download")]
        shown = [f"{one['median_ms']:.3f} ({one['p99_ms']:.3f})" for one in parts]
        table.add_row(escape(f"{entry['bundle']}, {entry['how']}"), *shown)
    yield table


def footprint_table(report: Mapping[str, Any]) -> Iterator[Table]:
    """Yield a table of start-up, memory and bytes copied, where they were measured."""
    entries = [entry for entry in report["entries"] if entry["footprint"]]
    if not entries:
        return
    table = _table("in a process of its own")
    on_device = any(entry["footprint"]["device_mib"] is not None for entry in entries)
    columns = ("threads", "start-up s", *(head for head, *_ in _FOOTPRINT), *(["GPU MiB"] if on_device else []))
    for column in (*columns, "copied a frame"):
        table.add_column(column, justify="right", no_wrap=True)
    for entry in entries:
        found = entry["footprint"]
        values = [_shown(found["start_s"], ".2f")]
        values += [_shown(None if found[name] is None else found[name] * by, form) for _, name, by, form in _FOOTPRINT]
        values += [_shown(found["device_mib"], ".0f")] if on_device else []
        copied = "-" if found["copied_bytes"] is None else f"{found['copied_bytes'] / 1024:.0f} KiB"
        table.add_row(escape(f"{entry['bundle']}, {entry['how']}"), str(entry["threads"]), *values, copied)
    yield table


_FOOTPRINT = (
    ("loading s", "load_s", 1, ".2f"),
    ("init ms", "init_s", 1e3, ".1f"),
    ("frame 1 ms", "frame_1_s", 1e3, ".1f"),
    ("frame 2 ms", "frame_2_s", 1e3, ".1f"),
    ("memory MiB", "memory_mib", 1, ".0f"),
    ("peak MiB", "peak_mib", 1, ".0f"),
)


def _shown(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _table(title: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, padding=(0, 1, 0, 0))
    table.add_column("run by", no_wrap=True, min_width=MIN_NAME)
    return table


def baseline_lines(report: Mapping[str, Any]) -> list[str]:
    """Return a line for each entry: how many times as fast as the baseline it is, and how alike their boxes are."""
    base = report["baseline"]
    if base is None:
        return []
    lines = [f"[bold]times as fast as {escape(base['bundle'])}, {base['how']}, {_counts(base)}:[/bold]"]
    for row in base["times_as_fast"]:
        total, same = row["total"], row["overlap_of_boxes"]
        lines.append(
            f"  {escape(row['bundle'])}, {row['how']}, {_counts(row)}: {total['median']:.2f}x "
            f"(quartiles {total['q1']:.2f}-{total['q3']:.2f}), processor time {row['cpu']['median']:.2f}x"
            + ("" if same is None else f", boxes overlap by {same:.2f}")
        )
    return lines


def published_lines(report: Mapping[str, Any]) -> list[str]:
    """Return a line for each speed that was published of a bundle's model, with the fastest of ours beside it."""
    lines = []
    for bundle in dict.fromkeys(entry["bundle"] for entry in report["entries"]):
        mine = [one for one in report["entries"] if one["bundle"] == bundle and one["published"]]
        mine = [one for one in mine if not one["how"].startswith("upstream")]
        if not mine:
            continue
        best = max(mine, key=lambda one: float(one["fps"]))
        lines += [
            f"{escape(bundle)}: published {one['fps']:g} FPS on {one['hardware']} ({one['source']}), here "
            f"{best['fps']:.1f} by {best['how']}: {one['times']:.2f}x"
            for one in best["published"]
        ]
    return lines


def failed_lines(report: Mapping[str, Any]) -> list[str]:
    """Return a line for each entry that stopped: why, without markup."""
    return [
        f"{one['bundle']}, {one['how']}, {_counts(one)} failed and is in no figure: {one['why']}"
        for one in report["failed"]
    ]


def ratio_lines(report: Mapping[str, Any]) -> list[str]:
    """Return lines for each comparison: how many times faster, in all and by part, and whether the boxes agree."""
    lines = []
    for found in report["ratios"]:
        boxes = found["boxes"]
        until = "" if boxes["parted_by_rounding_at_frame"] is None else ", until a rounding parts them"
        alike = f"  boxes within {boxes['largest_difference_px']:.2g} px over {boxes['frames_compared']} frames{until}"
        if not boxes["meant_to_be_equal"]:
            alike = f"  boxes overlap by {boxes['overlap']:.3f}: they are not meant to be equal"
        lines += [
            f"[bold]{escape(found['bundle'])}, {_counts(found)}: {found['fast']} is "
            f"{_times(found['total'])} as fast as {found['slow']}[/bold]",
            f"  {_parts(found)}processor time {_times(found['cpu'])}",
            alike,
        ]
    return lines


def notes(report: Mapping[str, Any], frames: int) -> list[str]:
    """Return what a reader has to know: what is inside, what was measured on, and what may disturb."""
    clip, plan, machine = report["clip"], report["plan"], report["machine"]
    lines = [
        "ms a frame: median, quartiles and p99 of crop + search + host, then medians of each and of processor time. "
        "FPS is 1 / median. Frames were decoded before: decoding is in no figure. What doesn't tell its parts has them "
        "all in the median.",
        f"{escape(clip['name'])}, {clip['size'][0]}x{clip['size'][1]}, {clip['frames']} frames, {plan['rounds']} "
        f"rounds, {plan['warmup_frames']} frames of warm-up, on {machine['cpu']} with {machine['usable_cores']} cores",
    ]
    lines += [escape(gpu_line(one)) for one in report["gpus"] if _uses_gpu(report)]
    if clip["frames"] < frames:
        lines.append(f"the clip ends after {clip['frames']} of the {frames} frames that --frames allows")
    if any(entry["about"].get("weights") == "random" for entry in report["entries"]):
        lines.append("[yellow]random weights: they show speed and track nothing[/yellow]")
    load, cores = report["load_average"]["before"], machine["usable_cores"] or 1
    if load and load[0] > BUSY * cores:
        line = f"other work was running (load {load[0]:g} on {cores} cores): trust the ratios of processor time first"
        if any(entry["threads"] > 1 for entry in report["entries"]):
            line += ", and none with more than one thread: threads that wait by spinning lose most"
        lines.append(f"[yellow]{line}[/yellow]")
    return lines


def _uses_gpu(report: Mapping[str, Any]) -> bool:
    return any(entry["about"].get("device", "cpu") != "cpu" for entry in report["entries"])


def _parts(found: Mapping[str, Any]) -> str:
    if found["search"] is None:
        return ""
    return f"search {_times(found['search'])}, crop and host {_times(found['crop_and_host'])}, "


def _times(spread: Mapping[str, Any]) -> str:
    return f"{spread['median']:.2f}x ({spread['min']:.2f}-{spread['max']:.2f})"


def _counts(row: Mapping[str, Any]) -> str:
    threads, targets = row["threads"], row["targets"]
    text = f"{threads} thread{'' if threads == 1 else 's'}"
    return text if targets == 1 else f"{text}, {targets} targets"
