"""What trk-eval prints: a row for each tracker, a row for each sequence, and what to know about both."""

from collections.abc import Iterator
from collections.abc import Sequence as Many
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from ..bench.accuracy import Ahead, OnSet, ahead
from ..bench.conventions import Convention
from ..bench.evaluate import Protocol
from ..bench.metrics import FIGURES, intervals

if TYPE_CHECKING:
    from ..bench.published import Compared

TITLES = {
    "auc": "AUC",
    "precision": "P@20",
    "norm_precision": "normP",
    "ao": "AO",
    "sr50": "SR.50",
    "sr75": "SR.75",
}
FEW = 10
"""Sequences below which an interval over them says little."""


def summary_table(sets: Many[OnSet]) -> Table:
    """Return the means of each tracker in percent, with their 95 % intervals where there are two sequences or more."""
    table = _table("tracker")
    table.add_column("sequences", justify="right")
    for one in sets:
        mean = one.mean()
        count = f"{len(one.scores)}" if not one.failed else f"{len(one.scores)} ({len(one.failed)} failed)"
        if mean is None:
            table.add_row(escape(one.spec.label), *["-"] * len(FIGURES), _fps(one.fps()), count)
            continue
        spread = intervals(one.scores)
        cells = []
        for name in FIGURES:
            low, high = spread[name]
            spread_of = rf" \[{100 * low:.0f}-{100 * high:.0f}]" if len(one.scores) > 1 else ""
            cells.append(f"{100 * mean.figures[name]:.1f}{spread_of}")
        table.add_row(escape(one.spec.label), *cells, _fps(one.fps()), count)
    return table


def ahead_table(sets: Many[OnSet]) -> Table:
    """Return by how much each tracker is above the first, in percent, with paired 95 % intervals."""
    first, *others = sets
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(escape(f"against {first.spec.label}"), no_wrap=True)
    for name in FIGURES:
        table.add_column(TITLES[name], justify="right", no_wrap=True)
    for one in others:
        found = ahead(one, first)
        cells = [_apart(found[name]) if found else "-" for name in FIGURES]
        table.add_row(escape(one.spec.label), *cells)
    return table


def _apart(found: Ahead) -> str:
    low, high = (100 * value for value in found.interval_95)
    return rf"{100 * found.mean:+.1f} \[{low:+.1f} {high:+.1f}]"


def sequence_table(one: OnSet) -> Table:
    """Return the figures of one tracker in percent, worst sequence first."""
    table = _table(one.spec.label)
    table.add_column("frames", justify="right")
    scored = sorted(one.scored, key=lambda item: item.score.figures["auc"] if item.score else 0)
    for item in scored:
        assert item.score is not None
        cells = [f"{100 * item.score.figures[name]:.1f}" for name in FIGURES]
        table.add_row(escape(item.sequence.name), *cells, _fps(item.fps), str(len(item.run.boxes)))
    return table


def published_table(found: "Many[Compared]") -> Table:
    """Return each published figure with ours beside it, or with what it would take."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("model", "figure", "published", "hardware", "source", "ours", "difference", "of"):
        right = column in ("published", "ours", "difference")
        table.add_column(column, justify="right" if right else "left", no_wrap=column != "of")
    for one in found:
        ours = "-" if one.ours is None else f"{one.ours:.3g}"
        apart = "-" if one.ours is None else f"{one.ours - one.published.value:+.3g}"
        about = one.published
        name = f"{one.row.model}:{one.row.variant}"
        cells = (name, about.what, f"{about.value:g}", about.hardware, about.source, ours, apart, one.tracker)
        table.add_row(*(escape(cell) for cell in cells))
    return table


def notes(sets: Many[OnSet], rule: Convention, protocol: Protocol, side_by_side: bool) -> Iterator[str]:
    """Yield what has to be known to read the figures."""
    yield "Percent; in brackets the 95 % interval of a bootstrap over sequences"
    if len(sets) > 1:
        first = sets[0].spec.label
        yield f"Against {first}: sequence by sequence; where the interval holds 0 the two can't be told apart"
    yield f"Counted by the rules '{rule.name}' (--convention), those of {rule.source}"
    for one in sets:
        if one.spec.identity().get("weights") == "random":
            yield f"{one.spec.label} has random weights: its accuracy means nothing"
    if protocol.realtime:
        yield f"Real time: frames arrive at {protocol.realtime:g} a second, and a late answer counts as the old box"
    if protocol.runs > 1:
        yield (
            f"Each sequence {protocol.runs} times: forwards and backwards by turns, from the third run on with the "
            "first box moved by up to a pixel"
        )
    if any(0 < len(one.scores) < FEW for one in sets):
        yield f"Fewer than {FEW} sequences: the intervals say little"
    if any(one.failed for one in sets):
        yield "Means of trackers that failed somewhere are over fewer sequences: don't compare them with the others"
    if side_by_side:
        yield "FPS was measured with several processes side by side: for speed use trk-bench, or --jobs 1"


def _table(first: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(escape(first), no_wrap=True)
    for name in FIGURES:
        table.add_column(TITLES[name], justify="right", no_wrap=True)
    table.add_column("FPS", justify="right")
    return table


def _fps(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"
