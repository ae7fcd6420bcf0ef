"""The metrics of a run as a picture."""

import csv
from pathlib import Path

from .loop import METRICS


def plot(out: Path) -> Path | None:
    """Draw loss and validation of the run in `out` to metrics.png and return it; None where matplotlib is missing."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return None
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    left = figure.add_subplot(xlabel="step", ylabel="loss")
    rows = _rows(out / METRICS)
    left.plot([row["step"] for row in rows], [row["loss"] for row in rows], linewidth=1, label="loss")
    validation = _rows(out / "validation.csv")
    if validation:
        right = left.twinx()
        right.set_ylabel("mean overlap on validation clips")
        accuracy = [row["accuracy"] for row in validation]
        right.plot([row["step"] for row in validation], accuracy, "o-", color="tab:orange")
    canvas.print_png(str(out / "metrics.png"))  # type: ignore[no-untyped-call]
    return out / "metrics.png"


def _rows(path: Path) -> list[dict[str, float]]:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as stream:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(stream)]
