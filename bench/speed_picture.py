"""A speed report as a picture: milliseconds a frame with quartiles, and where they go."""

import io
from collections.abc import Mapping
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from .stages import TRACKING

KINDS = ("png", "svg", "pdf")
COLOURS = {"crop": "#e0a83c", "search": "#3f7fbf", "host": "#7a7a7a", "whole": "#9a6fb0"}
LABELS = {"crop": "crop", "search": "search: the network", "host": "everything else", "whole": "all in one figure"}
ROW = 0.42
"""Inches a bar."""


def picture(report: Mapping[str, Any], kind: str = "png") -> bytes:
    """Return the picture as a file's bytes: a bar for each entry, fastest on top; `kind` is one of KINDS."""
    entries = sorted(report["entries"], key=lambda entry: -float(entry["total"]["median_ms"]))
    figure = Figure(figsize=(9, 2.1 + ROW * len(entries)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for place, entry in enumerate(entries):
        left = 0.0
        for name, value in _parts(entry).items():
            axes.barh(place, value, left=left, color=COLOURS[name], height=0.7)
            left += value
        total = entry["total"]
        axes.hlines(place, total["q1_ms"], total["q3_ms"], color="black", linewidth=1.2)
        axes.text(max(left, total["q3_ms"]), place, f"  {entry['fps']:.1f} FPS", va="center", fontsize=9)
    axes.set_yticks(range(len(entries)), [_label(entry) for entry in entries], fontsize=9, parse_math=False)
    axes.set_xlabel("milliseconds a frame: median, the line spans the quartiles; decoding is not in it", fontsize=9)
    axes.margins(x=0.12)
    figure.suptitle("How long a frame takes, and frames per second", fontsize=11)
    axes.set_title(_about(report), fontsize=8.5, parse_math=False)
    shown = {name for entry in entries for name in _parts(entry)}
    handles = [axes.barh(0, 0, color=COLOURS[name], label=LABELS[name]) for name in COLOURS if name in shown]
    # Outside: no bar and no number lies under it.
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=8, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    out = io.BytesIO()
    figure.savefig(out, format=kind, dpi=120)
    return out.getvalue()


def _about(report: Mapping[str, Any]) -> str:
    """Return in a line or two what was measured on what."""
    clip, machine, load = report["clip"], report["machine"], report["load_average"]["before"]
    on_gpu = any(entry["about"].get("device", "cpu") != "cpu" for entry in report["entries"])
    where = f"{machine['cpu']}, {machine['usable_cores']} cores" + (f", load {load[0]:g}" if load else "")
    if on_gpu and report["gpus"]:
        where = f"{report['gpus'][0]['name']}; {where}"
    what = f"{clip['name']}, {clip['size'][0]}x{clip['size'][1]}, {clip['frames']} frames, {report['plan']['rounds']}"
    return f"{what} rounds, {report['date'][:10]}\n{where}"


def _parts(entry: Mapping[str, Any]) -> dict[str, float]:
    if entry["search"] is None:
        return {"whole": float(entry["total"]["median_ms"])}
    return {stage: float(entry[stage]["median_ms"]) for stage in TRACKING}


def _label(entry: Mapping[str, Any]) -> str:
    threads = "" if entry["threads"] == 1 else f", {entry['threads']} threads"
    targets = "" if entry["targets"] == 1 else f", {entry['targets']} targets"
    return f"{entry['bundle']}\n{entry['how']}{threads}{targets}"
