"""A speed report as Markdown: every figure with what is inside it, ready for a README or an issue."""

from collections.abc import Mapping, Sequence
from typing import Any

from .device import gpu_line
from .stages import TRACKING


def markdown(report: Mapping[str, Any]) -> str:
    """Return the report's tables and what was measured how."""
    clip, plan, machine = report["clip"], report["plan"], report["machine"]
    peaks = ", ".join(f"{count}: {one['peak']:g}" for count, one in report["gemm_gflops"].items())
    load = report["load_average"]["before"]
    lines = [
        f"{clip['name']}, {clip['size'][0]}x{clip['size'][1]}, {clip['frames']} frames, {plan['rounds']} rounds, "
        f"interleaved in blocks of {plan['block_frames']}; {machine['cpu']}, {machine['usable_cores']} cores"
        + (f", load {load[0]:g} before" if load else "")
        + (f"; fastest matrix product, GFLOP/s by threads: {peaks}" if peaks else "")
        + f". {report['date'][:10]}.",
        "",
        *(f"GPU: {gpu_line(one)}\n" for one in report["gpus"]),
        "```bash",
        report["command"],
        "```",
        "",
        *_speed(report),
        "",
        *_device(report),
        *_footprint(report),
        *_ratios(report),
        *_published(report),
        *(f"- {_cell(one['bundle'])}, {one['how']} failed: {one['why']}" for one in report["failed"]),
        "What is inside:",
        "",
        *(f"- {name}: {text}" for name, text in report["inside"].items()),
        "",
        "Versions: " + ", ".join(f"{name} {value}" for name, value in report["versions"].items()),
    ]
    return "\n".join(lines)


def _speed(report: Mapping[str, Any]) -> list[str]:
    crowd = any(entry["targets"] > 1 for entry in report["entries"])
    head = [
        "",
        "run by",
        "threads",
        *(["targets"] if crowd else []),
        "FPS",
        *(["target FPS"] if crowd else []),
        "ms (quartiles)",
        "p99",
        *TRACKING,
        "cpu",
        "GFLOP",
        "GFLOP/s",
        "of peak",
    ]
    has_truth = any(entry["mean_overlap"] is not None for entry in report["entries"])
    base = report["baseline"]
    head += ["overlap"] if has_truth else []
    head += [f"times as fast as {base['bundle']}, {base['how']}, {base['threads']}"] if base else []
    times = {_key(row): row["total"] for row in base["times_as_fast"]} if base else {}
    rows = []
    for entry in report["entries"]:
        total = entry["total"]
        row = [entry["bundle"], entry["how"], str(entry["threads"])]
        row += [str(entry["targets"])] if crowd else []
        row += [f"{entry['fps']:.1f}", *([f"{entry['target_fps']:.1f}"] if crowd else [])]
        row += [f"{total['median_ms']:.2f} ({total['q1_ms']:.2f}-{total['q3_ms']:.2f})", f"{total['p99_ms']:.2f}"]
        row += [_number(entry[stage] and entry[stage]["median_ms"]) for stage in (*TRACKING, "cpu")]
        row += [_number(entry["gflop"]), _number(entry["gflops"], ".1f"), _number(entry["share_of_gemm_peak"], ".0%")]
        row += [_number(entry["mean_overlap"], ".3f")] if has_truth else []
        if base:
            found = times.get(_key(entry))
            row.append(f"{found['median']:.2f} ({found['q1']:.2f}-{found['q3']:.2f})" if found else "1")
        rows.append(row)
    return _table(head, rows)


def _footprint(report: Mapping[str, Any]) -> list[str]:
    entries = [entry for entry in report["entries"] if entry["footprint"]]
    if not entries:
        return []
    names = ("start_s", "load_s", "init_s", "frame_1_s", "frame_2_s", *_MIB, "copied_bytes")
    rows = []
    for entry in entries:
        found = entry["footprint"]
        forms = (".2f", ".2f", ".4f", ".4f", ".4f", ".0f", ".0f", ".0f", ".0f", ".0f")
        values = [_number(found[name], form) for name, form in zip(names, forms, strict=True)]
        rows.append([entry["bundle"], entry["how"], str(entry["threads"]), *values])
    return [*_table(["", "run by", "threads", *(name.replace("_", " ") for name in names)], rows), ""]


_MIB = ("memory_mib", "peak_mib", "bare_mib", "device_mib")


def _device(report: Mapping[str, Any]) -> list[str]:
    rows = []
    for entry in report["entries"]:
        if entry["device"]:
            parts = [entry["device"][name] for name in ("upload", "compute", "download")]
            shown = [f"{one['median_ms']:.3f} ({one['p99_ms']:.3f})" for one in parts]
            rows.append([entry["bundle"], entry["how"], *shown])
    head = ["", "run by", "upload, ms (p99) by the device's clock", "network", "download"]
    return [*_table(head, rows), ""] if rows else []


def _published(report: Mapping[str, Any]) -> list[str]:
    rows = [
        [entry["bundle"], entry["how"], f"{one['fps']:g}", one["hardware"], one["source"], f"{one['times']:.2f}"]
        for entry in report["entries"]
        for one in entry["published"]
    ]
    head = ["", "run by", "published FPS", "on", "source", "ours, times as fast"]
    return [*_table(head, rows), ""] if rows else []


def _ratios(report: Mapping[str, Any]) -> list[str]:
    rows = []
    for found in report["ratios"]:
        parts = (found["total"], found["search"], found["crop_and_host"], found["cpu"])
        values = ["-" if one is None else f"{one['median']:.2f} ({one['q1']:.2f}-{one['q3']:.2f})" for one in parts]
        rows.append([found["bundle"], str(found["threads"]), f"{found['fast']} over {found['slow']}", *values])
    head = ["", "threads", "times as fast", "all", "search", "crop and host", "processor time"]
    return [*_table(head, rows), ""] if rows else []


def _key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return row["bundle"], row["how"], row["threads"], row["targets"]


def _number(value: float | None, form: str = ".2f") -> str:
    return "-" if value is None else format(value, form)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
