"""Pictures of an evaluation, drawn as the papers draw them: curves with their figures in the legend, and confidence."""

import io
from collections.abc import Callable
from collections.abc import Sequence as Many

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from .accuracy import OnSet, by_attribute, confidence
from .calibration import ON_TARGET, Fitted
from .metrics import AT_PIXELS, OVERLAPS, PIXELS, SHARES, Score, mean_score

SIZE = (6.4, 4.8)
DPI = 110
STYLES = ("-", "--", ":", "-.")
COLOURS = 10
"""In matplotlib's cycle; the next ten trackers get the next line style."""
MOST_ATTRIBUTES = 14
BINS = 10
"""Of the confidence plots: as many frames each; equal widths where scores are shares."""
FEWEST = 5
"""Frames that make a point of the reliability diagram."""
GOOD = 0.5
"""Overlap from which a frame counts as found in the reliability diagram."""


def draw_plots(sets: Many[OnSet]) -> dict[str, bytes]:
    """Return PNGs by name: success, precision, norm_precision; where there is something to draw attributes, confidence.

    Trackers without figures are left out; without any, there are no pictures.
    """
    shown = [(one, mean) for one in sets if (mean := one.mean()) is not None]
    if not shown:
        return {}
    shown.sort(key=lambda pair: -pair[1].figures["auc"])
    plots = {
        "success": _curves(
            shown, "Success", "overlap threshold", "success rate", OVERLAPS, "auc", lambda score: score.success
        ),
        "precision": _curves(
            shown,
            f"Precision at {AT_PIXELS} px",
            "centre error threshold, pixels",
            "precision",
            PIXELS,
            "precision",
            lambda score: score.precision,
        ),
        "norm_precision": _curves(
            shown,
            "Normalised precision",
            "centre error threshold, sizes of the target",
            "normalised precision",
            SHARES,
            "norm_precision",
            lambda score: score.norm_precision,
        ),
    }
    attributes = _attributes([one for one, _ in shown])
    if attributes is not None:
        plots["attributes"] = attributes
    with_scores = [one for one, _ in shown if np.ptp(confidence(one)[0]) > 0]
    if with_scores:
        plots["confidence"] = _confidence(with_scores)
    return plots


def draw_reliability(fitted: Fitted) -> bytes:
    """Return a PNG: what probabilities promise against what was found, and how they part targets there from gone ones.

    Of frames in sequences that the fit had not seen.
    """
    figure = Figure((10, 4.6), DPI, layout="constrained")
    left, right = figure.subplots(1, 2)
    bins = fitted.reliability()
    left.plot([0, 1], [0, 1], color="0.5", linewidth=1, label="as sure as right")
    left.plot([one.probability for one in bins], [one.on_target for one in bins], marker="o", label="measured")
    for one in bins:
        left.annotate(
            str(one.frames), (one.probability, one.on_target), (4, -12), textcoords="offset points", fontsize=8
        )
    _finish(left, f"Reliability: frames with overlap of {ON_TARGET:g} or more", "probability", "share of frames")
    left.legend(fontsize=9, loc="upper left")
    edges = np.linspace(0, 1, 2 * BINS + 1)
    there, off = fitted.on_target == 1, fitted.on_target == 0
    kinds = {"on the target": there, "off it": off & ~fitted.gone, "target gone or covered": fitted.gone}
    right.hist([fitted.probabilities[kind] for kind in kinds.values()], edges, stacked=True, label=list(kinds))
    for limit in (fitted.calibration.low, fitted.calibration.high):
        right.axvline(limit, color="0.3", linewidth=1, linestyle=":")
    area = fitted.calibration.measured["roc_area"]
    _finish(right, f"Area under the ROC {area:.3f}; dotted: lost, and found again", "probability", "frames")
    right.legend(fontsize=9, loc="upper center")
    return _png(figure)


def _curves(
    shown: Many[tuple[OnSet, Score]],
    title: str,
    x_label: str,
    y_label: str,
    thresholds: np.ndarray,
    figure_name: str,
    curve: Callable[[Score], np.ndarray],
) -> bytes:
    figure = Figure(SIZE, DPI, layout="constrained")
    axes = figure.add_subplot()
    ranked = sorted(shown, key=lambda pair: -pair[1].figures[figure_name])
    for number, (one, mean) in enumerate(ranked):
        label = f"{one.spec.label} [{mean.figures[figure_name]:.3f}]"
        axes.plot(thresholds, curve(mean), _style(number), label=label, linewidth=2)
    _finish(axes, title, x_label, y_label)
    axes.set_xlim(float(thresholds[0]), float(thresholds[-1]))
    axes.set_ylim(0, 1)
    axes.legend(loc="lower left" if figure_name == "auc" else "lower right", fontsize=9)
    return _png(figure)


def _attributes(sets: Many[OnSet]) -> bytes | None:
    """Bars of the mean AUC over the sequences that have each attribute."""
    per_tracker = [by_attribute(one) for one in sets]
    names = list(per_tracker[0])[:MOST_ATTRIBUTES] if per_tracker else []
    if not names:
        return None
    figure = Figure((7.2, 1.4 + len(names) * (0.22 + 0.12 * len(sets))), DPI, layout="constrained")
    axes = figure.add_subplot()
    height = 0.8 / len(sets)
    for number, (one, found) in enumerate(zip(sets, per_tracker, strict=True)):
        values = [mean_score(found[name]).figures["auc"] if name in found else 0.0 for name in names]
        axes.barh(np.arange(len(names)) + (number - (len(sets) - 1) / 2) * height, values, height, label=one.spec.label)
    labels = [f"{name} ({len(per_tracker[0][name])})" for name in names]
    axes.set_yticks(np.arange(len(names)), labels)
    axes.margins(y=0.01)
    axes.invert_yaxis()
    _finish(axes, "Area under the success curve by attribute (sequences)", "AUC", "")
    axes.set_xlim(0, 1)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.06), ncols=4, fontsize=9, frameon=False)
    return _png(figure)


def _confidence(sets: Many[OnSet]) -> bytes:
    """Left: overlap from the least sure tenth of the frames to the surest. Right: score against the share of hits."""
    figure = Figure((10, 4.6), DPI, layout="constrained")
    left, right = figure.subplots(1, 2)
    for number, one in enumerate(sets):
        scores, overlaps = confidence(one)
        order = np.argsort(scores, kind="stable")
        parts = [part for part in np.array_split(order, BINS) if part.size]
        at = np.arange(1, len(parts) + 1)
        colour = f"C{number % COLOURS}"
        left.plot(at, [overlaps[part].mean() for part in parts], _style(number), marker="o", label=one.spec.label)
        low, high = np.array([np.percentile(overlaps[part], (25, 75)) for part in parts]).T
        left.fill_between(at, low, high, color=colour, alpha=0.15, linewidth=0)
        if _is_share(scores):
            width = np.minimum((scores * BINS).astype(int), BINS - 1)
            parts = [part for bin_ in range(BINS) if (part := np.flatnonzero(width == bin_)).size >= FEWEST]
        sure = [scores[part].mean() for part in parts]
        right.plot(sure, [(overlaps[part] > GOOD).mean() for part in parts], _style(number), marker="o")
    _finish(left, "Overlap by score (mean; band: quartiles)", "tenth of the frames, the least sure first", "overlap")
    left.set_xticks(np.arange(1, BINS + 1))
    _finish(right, f"Reliability: frames with overlap above {GOOD:g}", "score", "share of frames")
    if all(_is_share(confidence(one)[0]) for one in sets):
        right.plot([0, 1], [0, 1], color="0.5", linewidth=1, label="as sure as right")
    left.set_ylim(0, 1)
    right.set_ylim(0, 1.02)
    left.legend(fontsize=9, loc="lower right")
    if right.get_legend_handles_labels()[1]:
        right.legend(fontsize=9)
    return _png(figure)


def _is_share(scores: np.ndarray) -> bool:
    """Whether scores can be read as probabilities."""
    return bool(scores.size and scores.min() >= 0 and scores.max() <= 1)


def _style(number: int) -> str:
    return f"C{number % COLOURS}{STYLES[number // COLOURS % len(STYLES)]}"


def _finish(axes: Axes, title: str, x_label: str, y_label: str) -> None:
    axes.set_title(title, fontsize=11)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(alpha=0.3)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _png(figure: Figure) -> bytes:
    content = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(content, format="png")
    return content.getvalue()
