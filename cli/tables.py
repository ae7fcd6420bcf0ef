"""Tables that commands print, by rich, on stderr: stdout is for data."""

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

console = Console(stderr=True, highlight=False)


def stage_table(summary: Mapping[str, Mapping[str, float]], title: str | None = None) -> Table:
    """Return milliseconds per stage: median, p95, p99. `summary` is what `StageTimes.summary` returns."""
    table = Table(title=title, box=None, pad_edge=False, header_style="bold")
    table.add_column("ms per frame")
    for column in ("median", "p95", "p99"):
        table.add_column(column, justify="right")
    for stage, values in summary.items():
        table.add_row(stage, *(f"{values[key]:.2f}" for key in ("median_ms", "p95_ms", "p99_ms")))
    return table
