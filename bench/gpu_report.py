"""A session on a GPU in a page: what it ran on, whether numbers agree, how fast, against the targets."""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from . import gpu_numerics, gpu_profile
from .device import gpu_line
from .speed_entries import HOST

GOALS = {
    ("siamrpnpp/resnet50", 1): 1000,
    ("siamrpnpp/mobilenetv2", 1): 1200,
    ("siamrpnpp/alexnet", 1): 2500,
    ("siamfc/alexnet", 1): 1500,
    ("siamdw_rpn/res22", 1): 1500,
    ("nanotrack/v3", 1): 4000,
    ("siamrpnpp/mobilenetv2", 32): 10_000,
}
"""By model and targets: frames per second and target that are aimed at on an H100 or H200, FP16, frames on the host."""
LEAST_TIMES, MOST_P99 = 4.0, 1.5
"""Times upstream-style on the same GPU that are aimed at, and p99 in medians that is tolerated."""
UPSTREAM = "upstream-style"
HEAD = ("bundle", "run by", "targets", "FPS", "target FPS", "p50 ms", "p99 ms", "times upstream", "goal", "published")


def summary(told: Mapping[str, Any], folder: Path) -> str:
    """Return the page of a session as Markdown; `told` is its index, the figures are read from `folder`."""
    lines = [f"# {_where(told)}", "", told["date"], ""]
    lines += [f"- GPU: {gpu_line(one)}" for one in told["gpus"]]
    about = told["machine"]
    clock = "" if about.get("mhz") is None else f", {about['mhz']} MHz"
    governed = "" if about.get("governor") is None else f", governor {about['governor']}"
    lines += [f"- processor: {about['cpu']}, {about['usable_cores']} cores{clock}{governed}"]
    lines += [f"- {', '.join(f'{name} {value}' for name, value in told['versions'].items())}", ""]
    files = [_read(folder, step["file"]) for step in told["steps"]]
    speeds = [speed for found in files for speed in _speeds(found)]
    for title, found in (
        ("Targets", list(_targets(speeds)) if told["device"] == "cuda" else []),
        ("Limits", list(_limits(files))),
        ("Numerics", list(_numerics(row for one in files for row in one.get("numerics", ())))),
        ("Speed", list(_table(speeds))),
        ("Profile", [f"- {gpu_profile.line(row)}" for one in files for row in one.get("profiles", ())]),
        ("Disturbed", list(_disturbed(told))),
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


def _numerics(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a line for each way that ran, then one for each reason why others did not."""
    left_out: dict[tuple[str, str], dict[str, None]] = {}
    for row in rows:
        if "why" in row:
            name = f"{row['bundle']} with frames on the {row['frames_on']}"
            left_out.setdefault((f"{row['backend']} on {row['device']}", row["why"]), {})[name] = None
        else:
            yield f"- {gpu_numerics.line(row)}"
    for (where, why), names in left_out.items():
        yield f"- {where}: not run: {why} ({', '.join(names)})"


class Speed(NamedTuple):
    """A way to run a bundle, as it was timed."""

    entry: Mapping[str, Any]
    times: float | None
    """As fast as upstream-style, target for target, in the same run."""

    @property
    def is_ours(self) -> bool:
        """No upstream."""
        return not str(self.entry["how"]).startswith("upstream")

    @property
    def key(self) -> tuple[str, int]:
        """By which GOALS are found."""
        about = self.entry["about"]
        return f"{about.get('model')}/{about.get('variant')}", self.entry["targets"]

    @property
    def p99(self) -> float:
        """The tail, in medians."""
        return float(self.entry["total"]["p99_ms"] / self.entry["total"]["median_ms"])


def _speeds(found: Mapping[str, Any]) -> Iterator[Speed]:
    """Yield what one run of trk-bench timed."""
    ratios = {
        (ratio["bundle"], ratio["fast"], ratio["targets"]): ratio["total"]["median"]
        for ratio in found.get("ratios", ())
        if ratio["slow"] == UPSTREAM
    }
    entries = found.get("entries", ())
    upstream = {entry["bundle"]: entry["fps"] for entry in entries if entry["how"] == UPSTREAM}
    for entry in entries:
        times = ratios.get((entry["bundle"], entry["how"], entry["targets"]))
        if times is None and entry["targets"] > 1 and entry["bundle"] in upstream:
            times = entry["target_fps"] / upstream[entry["bundle"]]  # which follows several one after the other
        yield Speed(entry, times)


def _targets(speeds: list[Speed]) -> Iterator[str]:
    """Yield a line for each goal: the fastest way there was, and whether each of its parts was met."""
    for (model, targets), goal in GOALS.items():
        name = f"{model}, {targets} target{'s' if targets > 1 else ''}"
        mine = [one for one in speeds if one.key == (model, targets) and one.is_ours]
        mine = [one for one in mine if one.entry["about"].get("frames_on", HOST) == HOST]
        if not mine:
            yield f"- {name}: not timed"
            continue
        best = max(mine, key=lambda one: float(one.entry["target_fps"]))
        rate = best.entry["target_fps"]
        parts = [f"{rate:.0f} of {goal} target-frames a second: {_met(rate >= goal)}"]
        if best.times is None:
            parts.append("not timed beside upstream-style")
        else:
            parts.append(
                f"{best.times:.2f} times upstream-style (of {LEAST_TIMES:g}): {_met(best.times >= LEAST_TIMES)}"
            )
        parts.append(f"p99 {best.p99:.2f} times the median (of {MOST_P99:g}): {_met(best.p99 <= MOST_P99)}")
        yield f"- {name}, {best.entry['bundle']} by {best.entry['how']}: {'; '.join(parts)}"


def _met(is_met: bool) -> str:
    return "met" if is_met else "MISSED"


def _table(speeds: list[Speed]) -> Iterator[str]:
    if speeds:
        yield "| " + " | ".join(HEAD) + " |"
        yield "|" + "---|" * len(HEAD)
    for one in speeds:
        entry, total = one.entry, one.entry["total"]
        goal = GOALS.get(one.key) if one.is_ours else None
        told = "; ".join(f"{known['fps']:g} on {known['hardware']}" for known in entry["published"])
        cells = [entry["bundle"], entry["how"], str(entry["targets"]), f"{entry['fps']:.1f}"]
        cells += [f"{entry['target_fps']:.1f}", f"{total['median_ms']:.3f}", f"{total['p99_ms']:.3f}"]
        cells += ["-" if one.times is None else f"{one.times:.2f}", "-" if goal is None else str(goal), told or "-"]
        yield "| " + " | ".join(cells) + " |"


def _limits(files: list[dict[str, Any]]) -> Iterator[str]:
    for found in files:
        if "limits" in found:
            yield "- " + ", ".join(f"{name} {value:g}" for name, value in found["limits"].items())


def _disturbed(told: Mapping[str, Any]) -> Iterator[str]:
    for step in told["steps"]:
        if step["beside"] and step["name"].startswith("speed-"):
            yield f"- {step['name']}: {', '.join(step['beside'])} ran at the same time"


def _failed(told: Mapping[str, Any]) -> Iterator[str]:
    for step in told["steps"]:
        if step["code"] != 0:
            said = step["said"][-1] if step["said"] else "it said nothing"
            yield f"- {step['name']} (exit {step['code']}): {said}"
