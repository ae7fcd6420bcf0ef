"""A sweep as a plot: milliseconds a frame over the amount of work, and memory where it was measured.

    python -m trk.bench.sweep_picture sweep.json FOLDER

draws the plots of what trk-bench --sweep ... --json wrote.
"""

import io
import json
import sys
from collections.abc import Mapping, Sequence
from math import nan
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator, StrMethodFormatter

from .store import make_folder, write_bytes
from .sweep import SWEEPS, Point

SIZE = (6.6, 4.2)
TITLES = {
    "targets": "What a frame costs with more targets in it",
    "size": "What a frame costs as it grows (the target grows along)",
    "threads": "What a frame costs with more threads",
    "length": "What a frame costs, and memory, as the video goes on",
}
PROPORTIONAL = ("targets",)
"""Sweeps whose cost grows with the amount: on two logarithmic scales that is a straight line."""


def sweep_picture(name: str, points: Sequence[Point], about: str) -> bytes:
    """Return a PNG: a line for each series with its quartiles; `about` says what it was measured on."""
    has_memory = any(point.memory_mib is not None for point in points)
    figure = Figure(figsize=(SIZE[0] * (2 if has_memory else 1), SIZE[1]), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 2 if has_memory else 1, squeeze=False)[0]
    for series in dict.fromkeys(point.series for point in points):
        mine = [point for point in points if point.series == series]
        amounts = [point.amount for point in mine]
        axes[0].plot(amounts, [point.seconds["median_ms"] for point in mine], marker="o", label=series)
        low, high = ([point.seconds[key] for point in mine] for key in ("q1_ms", "q3_ms"))
        axes[0].fill_between(amounts, low, high, alpha=0.2)
        axes[0].plot(amounts, [point.cpu_ms for point in mine], linestyle=":", color=axes[0].lines[-1].get_color())
        if has_memory:
            axes[1].plot(amounts, [point.memory_mib for point in mine], marker="o", label=series)
    _finish(axes[0], name, points, "milliseconds a frame")
    axes[0].set_title("line: median; band: quartiles; dotted: processor time", fontsize=8)
    if has_memory:
        _finish(axes[1], name, points, "resident memory, MiB")
        axes[1].set_title("of this process, with the clip's decoded frames", fontsize=8)
    figure.suptitle(f"{TITLES[name]}\n{about}", fontsize=9, parse_math=False)
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=110)
    return out.getvalue()


def _finish(axes: Axes, name: str, points: Sequence[Point], what: str) -> None:
    axes.set_xscale("log")
    amounts = sorted({point.amount for point in points})
    axes.set_xticks(amounts, [f"{amount:,}" for amount in amounts])
    axes.xaxis.set_minor_locator(NullLocator())
    if name in PROPORTIONAL:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    else:
        axes.set_ylim(0, 1.08 * axes.dataLim.ymax)
    axes.set_xlabel(SWEEPS[name][1])
    axes.set_ylabel(what)
    axes.grid(alpha=0.3)
    for text in axes.legend(fontsize=8).get_texts():
        text.set_parse_math(False)


def about(told: Mapping[str, Any]) -> str:
    """Return what a sweep was measured on, for its title; `told` is what trk-bench --sweep writes as JSON."""
    clip, machine, load = told["clip"], told["machine"], told["load_average"]
    where = f"{machine['cpu']}, {machine['usable_cores']} cores" + (f", load {load[0]:g}" if load else "")
    if told.get("gpus") and "--device cuda" in told.get("command", ""):
        where = f"{told['gpus'][0]['name']}; {where}"
    return f"{clip['name']}, {clip['size'][0]}x{clip['size'][1]}; {where}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw the plots of a JSON file into a folder."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if len(given) != 2:
        raise SystemExit(__doc__)
    told = json.loads(Path(given[0]).read_text(encoding="utf-8"))
    make_folder(Path(given[1]))
    for one in told["sweeps"]:
        points = [Point(p["series"], p["amount"], p, p.get("cpu_ms", nan), p["memory_mib"]) for p in one["points"]]
        write_bytes(Path(given[1]) / f"sweep-{one['sweep']}.png", sweep_picture(one["sweep"], points, about(told)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
