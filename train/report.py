"""Accuracy of bundles on a folder of sequences in one run, and how well their scores tell a loss.

    python -m trk.train.report SEQUENCES default.trk nanotrackv2/ --out report.md --plot scores.png

One thread; one-pass evaluation as bench/ope.py has it. Peers are trk-eval's business.
"""

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ..bench.ope import Run, run_folder
from ..engine.tracker import Tracker

LOST, HELD = 0.2, 0.5
"""A frame is lost below the one overlap, or where the target is absent, and held above the other; between: neither."""

Columns = dict[str, list[Run]]


def area_under_roc(scores: NDArray[np.float64], lost: NDArray[np.bool_]) -> float:
    """Return the probability that a held frame has a higher score than a lost one; nan where one kind is missing."""
    high, low = scores[~lost], scores[lost]
    if not len(high) or not len(low):
        return float("nan")
    return float((high[:, None] > low[None]).mean() + 0.5 * (high[:, None] == low[None]).mean())


def judged(runs: list[Run]) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64]]:
    """Return scores, whether lost, and overlaps of the frames of `runs` that are lost or held; absent counts as 0."""
    score = np.concatenate([run.scores[1:] for run in runs])
    value = np.concatenate([np.nan_to_num(run.overlaps[1:], nan=0.0) for run in runs])
    clear = (value < LOST) | (value > HELD)
    return score[clear], value[clear] < LOST, value[clear]


def table(columns: Columns) -> str:
    """Return a Markdown table: mean overlap by sequence, their mean, milliseconds a frame, area under the ROC."""
    names = [run.name for run in next(iter(columns.values()))]
    lines = [f"| sequence | {' | '.join(columns)} |", "|---|" + "---|" * len(columns)]
    for number, name in enumerate(names):
        values = " | ".join(f"{runs[number].mean_overlap:.3f}" for runs in columns.values())
        lines.append(f"| {name} | {values} |")
    means = [float(np.mean([run.mean_overlap for run in runs])) for runs in columns.values()]
    lines.append(f"| **mean** | {' | '.join(f'**{value:.3f}**' for value in means)} |")
    times = [1e3 * sum(r.seconds for r in runs) / sum(len(r.boxes) - 1 for r in runs) for runs in columns.values()]
    lines.append(f"| ms a frame | {' | '.join(f'{value:.1f}' for value in times)} |")
    areas = [area_under_roc(*judged(runs)[:2]) for runs in columns.values()]
    return "\n".join([*lines, f"| lost: area under the ROC | {' | '.join(f'{a:.3f}' for a in areas)} |"]) + "\n"


def plot(columns: Columns, path: Path) -> None:
    """Draw score against overlap, a panel for each bundle, three in a row."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    wide = min(3, len(columns))
    rows = -(-len(columns) // wide)
    figure = Figure(figsize=(4 * wide, 3.2 * rows), layout="constrained")
    for number, (name, runs) in enumerate(columns.items(), start=1):
        axes = figure.add_subplot(rows, wide, number, xlabel="overlap (absent: 0)", ylabel="score", title=name)
        score, lost, value = judged(runs)
        axes.scatter(value, score, s=4, alpha=0.4, c=np.where(lost, "tab:red", "tab:blue"))
    FigureCanvasAgg(figure).print_png(str(path))  # type: ignore[no-untyped-call]


def main(arguments: list[str] | None = None) -> int:
    """Run everything and print the table."""
    parser = argparse.ArgumentParser(prog="python -m trk.train.report", description="Accuracy of bundles.")
    parser.add_argument("sequences", type=Path)
    parser.add_argument("bundles", type=Path, nargs="+")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    columns = {path.stem: list(run_folder(Tracker(path, threads=1), options.sequences)) for path in options.bundles}
    text = table(columns)
    print(text, end="")
    if options.out:
        options.out.write_text(text, encoding="utf-8")
    if options.plot:
        plot(columns, options.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
