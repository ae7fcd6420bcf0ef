"""A session on a GPU in a page: what it ran on, whether numbers agree, how fast, against the targets."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .device import gpu_line
from .gpu_numerics import line

GOALS = {
    "siamrpnpp/resnet50": 1000,
    "siamrpnpp/mobilenetv2": 1200,
    "siamrpnpp/alexnet": 2500,
    "siamfc/alexnet": 1500,
    "siamdw_rpn/res22": 1500,
}
"""Frames per second of one target that are aimed at on an H100 or H200, the frame in host memory."""


def summary(told: Mapping[str, Any], folder: Path) -> str:
    """Return the page of a session as Markdown; `told` is its index, the figures are read from `folder`."""
    lines = [f"# {_where(told)}", "", told["date"], ""]
    lines += [f"- GPU: {gpu_line(one)}" for one in told["gpus"]]
    about = told["machine"]
    clock = "" if about.get("mhz") is None else f", {about['mhz']} MHz"
    governed = "" if about.get("governor") is None else f", governor {about['governor']}"
    lines += [f"- processor: {about['cpu']}, {about['usable_cores']} cores{clock}{governed}"]
    lines += [f"- {', '.join(f'{name} {value}' for name, value in told['versions'].items())}", ""]
    files = [(step, _read(folder, step["file"])) for step in told["steps"]]
    for title, found in (
        ("Numerics", list(_numerics(files))),
        ("Speed", list(_speed(files))),
        ("Profile", list(_profile(files))),
        ("Not done", list(_failed(told))),
    ):
        if found:
            lines += [f"## {title}", "", *found, ""]
    return "\n".join(lines)


def _where(told: Mapping[str, Any]) -> str:
    return told["gpus"][0]["name"] if told["device"] == "cuda" and told["gpus"] else str(told["machine"]["cpu"])


def _read(folder: Path, name: str | None) -> dict[str, Any]:
    if name is None or not name.endswith(".json"):
        return {}
    found: dict[str, Any] = json.loads((folder / name).read_text(encoding="utf-8"))
    return found


Files = list[tuple[dict[str, Any], dict[str, Any]]]


def _numerics(files: Files) -> Iterator[str]:
    for _, found in files:
        yield from (f"- {line(row)}" for row in found.get("numerics", ()))


def _speed(files: Files) -> Iterator[str]:
    rows = []
    for _, found in files:
        slow = {
            (ratio["bundle"], ratio["fast"], ratio["targets"]): ratio["total"]["median"]
            for ratio in found.get("ratios", ())
            if ratio["slow"] == "upstream-style"
        }
        for entry in found.get("entries", ()):
            model = f"{entry['about'].get('model')}/{entry['about'].get('variant')}"
            total, times = entry["total"], slow.get((entry["bundle"], entry["how"], entry["targets"]))
            goal = GOALS.get(model) if entry["targets"] == 1 and not entry["how"].startswith("upstream") else None
            told = "; ".join(f"{one['fps']:g} on {one['hardware']}" for one in entry["published"])
            cells = [entry["bundle"], entry["how"], str(entry["targets"]), f"{entry['fps']:.1f}"]
            cells += [f"{entry['target_fps']:.1f}", f"{total['median_ms']:.3f}", f"{total['p99_ms']:.3f}"]
            cells += ["-" if times is None else f"{times:.2f}", "-" if goal is None else str(goal), told or "-"]
            rows.append("| " + " | ".join(cells) + " |")
    if rows:
        head = (
            "bundle",
            "run by",
            "targets",
            "FPS",
            "target FPS",
            "p50 ms",
            "p99 ms",
            "times upstream",
            "goal",
            "published",
        )
        yield "| " + " | ".join(head) + " |"
        yield "|" + "---|" * len(head)
        yield from rows


def _profile(files: Files) -> Iterator[str]:
    for _, found in files:
        if "limits" in found:
            yield "- limits: " + ", ".join(f"{name} {value:g}" for name, value in found["limits"].items())
        for row in found.get("profiles", ()):
            least = row["floor"]
            yield (
                f"- {row['bundle']}: {row['wall_us']:g} us a frame, the device busy for {row['busy_us']:g} in "
                f"{row['launches']:g} kernels; arithmetic alone {least['arithmetic_us']:g}, weights "
                f"{least['weights_us']:g}"
            )


def _failed(told: Mapping[str, Any]) -> Iterator[str]:
    for step in told["steps"]:
        if step["code"] != 0:
            said = step["said"][-1] if step["said"] else "it said nothing"
            yield f"- {step['name']} (exit {step['code']}): {said}"
