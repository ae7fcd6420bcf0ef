"""Tables that commands print, by rich, on stderr: stdout is for data."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column, Table
from rich.text import Text

if TYPE_CHECKING:
    from ..engine.manifest import HalfPrecision, Manifest
    from ..models.cost import Cost
    from ..models.row import Row

console = Console(stderr=True, highlight=False)
PIPED_WIDTH = 200
"""Columns of a table that goes to a pipe or a file: wide enough for a line a row."""


def say(line: str, style: str | None = None) -> None:
    """Print a line on stderr as it is: whole where no terminal ends it, brackets in a file's name no markup."""
    console.print(line, style=style, markup=False, soft_wrap=True)


def progress_bar(shown: bool) -> Progress:
    """Return a progress bar on stderr that goes away when done; descriptions are shown as they are, no markup."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, transient=True, disable=not (shown and sys.stderr.isatty()))


def print_data(table: Table, *, in_parts: bool = False) -> None:
    """Print a table that was asked for on stdout, as wide as it has to be where no terminal limits it.

    `in_parts`: in several where a terminal is narrow, see `legible`.
    """
    out = Console(highlight=False, width=None if sys.stdout.isatty() else PIPED_WIDTH)
    for part in legible(table, out.width) if in_parts else [table]:
        out.print(part)


def print_table(table: Table) -> None:
    """Print `table` on stderr whole: in several where a terminal is narrow, as wide as it has to be elsewhere."""
    # A width that is given to `print` can only be smaller than the console's.
    out = console if console.is_terminal else Console(stderr=True, highlight=False, width=PIPED_WIDTH)
    for part in legible(table, out.width):
        out.print(part)


def legible(table: Table, width: int) -> list[Table]:
    """Return `table`, or several that fit into `width`: each with the first column and as many others as there is room.

    For tables of plain right-hand columns: a cell that is cut off says nothing.
    """
    first, *others = [(column, [str(cell) for cell in column.cells]) for column in table.columns]
    spare = width - _needed(*first)
    rows: list[list[tuple[Column, list[str]]]] = [[]]
    for column, cells in others:
        needed = _needed(column, cells)
        if rows[-1] and sum(_needed(*one) for one in rows[-1]) + needed > spare:
            rows.append([])
        rows[-1].append((column, cells))
    if len(rows) == 1:
        return [table]
    parts = []
    for number, row in enumerate(rows):
        title = table.title if number == 0 else None
        part = Table(
            title=title, title_justify="left", title_style="bold", box=None, padding=(0, 1, 0, 0), header_style="bold"
        )
        for column, _ in (first, *row):
            part.add_column(str(column.header), justify=column.justify, no_wrap=True)
        for line in zip(*(cells for _, cells in (first, *row)), strict=True):
            part.add_row(*line)
        parts.append(part)
    return parts


def _needed(column: Column, cells: Sequence[str]) -> int:
    longest = max(Text.from_markup(text).cell_len for text in (str(column.header), *cells))
    return max(longest, column.min_width or 0) + 1


def stage_table(summary: Mapping[str, Mapping[str, float]], title: str | None = None) -> Table:
    """Return milliseconds per stage: median, p95, p99. `summary` is what `StageTimes.summary` returns."""
    table = Table(title=title, box=None, pad_edge=False, header_style="bold")
    table.add_column("ms per frame")
    for column in ("median", "p95", "p99"):
        table.add_column(column, justify="right")
    for stage, values in summary.items():
        table.add_row(stage, *(f"{values[key]:.2f}" for key in ("median_ms", "p95_ms", "p99_ms")))
    return table


def model_table(rows: Sequence[tuple[Row, Cost]]) -> Table:
    """Return the models that can be exported, with what they cost and where they come from."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("model", no_wrap=True)
    table.add_column("variant", no_wrap=True)
    for column in ("M params", "GFLOP/frame", "template", "search"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("weights")
    table.add_column("source")
    for row, cost in rows:
        sizes = "/".join(str(search.size) for search in row.searches)
        table.add_row(
            row.model,
            row.variant,
            f"{cost.parameters / 1e6:.2f}",
            f"{cost.search_gflop:.2f}",
            str(cost.template_size),
            sizes,
            "shipped" if row.shipped else row.checkpoint.file if row.checkpoint else "-",
            row.source,
        )
    return table


def parity_table(manifest: Manifest) -> Table:
    """Return the largest difference between the graphs and PyTorch, per output, with what is allowed."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("output")
    table.add_column("largest difference from PyTorch", justify="right")
    table.add_column("allowed", justify="right")
    for name, difference in manifest.parity.outputs.items():
        table.add_row(name, f"{difference:.2g}", f"{manifest.parity.limits[name]:.2g}")
    return table


FP16_LARGEST = 65504.0


def range_table(half: HalfPrecision) -> Table:
    """Return the largest value at every layer of an FP16 bundle, as it was in FP32, and the layer's type."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("layer", no_wrap=True)
    table.add_column("largest value", justify="right")
    table.add_column("of FP16's range", justify="right")
    table.add_column("type")
    for name, value in half.ranges.items():
        kind = f"FP32: {half.wide[name]}" if name in half.wide else "FP16"
        table.add_row(name, f"{value:.4g}", f"{value / FP16_LARGEST:.2%}", kind)
    return table


def half_line(half: HalfPrecision) -> str:
    """Return in a line how near FP16 came to its limits."""
    name, value = max(half.ranges.items(), key=lambda item: item[1])
    return (
        f"FP16: largest value {value:.4g} ({name}; FP16 ends at {FP16_LARGEST:.0f}), boxes' overlap changes by "
        f"{half.box_drift:.4f}, {len(half.wide)} layers pinned, {half.wide_share:.1%} of a frame's sums in FP32"
    )
