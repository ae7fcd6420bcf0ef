"""The registry as Markdown, for docs/models.md."""

from collections.abc import Iterable

from .cost import cost
from .registry import variants
from .row import Row


def model_tables(model: str) -> str:
    """Return the variants of `model` with their cost, checkpoints and published figures, then their presets."""
    rows = variants(model)
    parts = [_variants(rows), _presets(rows)]
    notes = [f"- `{row.variant}`: {row.notes}" for row in rows if row.notes]
    if notes and len({row.notes for row in rows}) == 1:
        notes = [rows[0].notes]
    return "\n\n".join(part for part in (*parts, "\n".join(notes)) if part)


def _table(header: Iterable[str], lines: Iterable[Iterable[str]]) -> str:
    columns = list(header)
    out = [columns, ["---"] * len(columns), *[list(line) for line in lines]]
    return "\n".join("| " + " | ".join(line) + " |" for line in out)


def _variants(rows: list[Row]) -> str:
    lines = []
    for row in rows:
        spent = cost(row)
        checkpoint, figures = row.checkpoint, row.published
        lines.append(
            [
                f"`{row.variant}`",
                f"{spent.parameters / 1e6:.2f}",
                f"{spent.search_gflop:.2f}",
                f"{spent.template_size} / {', '.join(str(search.size) for search in row.searches)}",
                f"`{checkpoint.file}`, {checkpoint.where}" if checkpoint else row.shipped or "none published",
                checkpoint.licence if checkpoint else "-",
                "; ".join(f"{f.what} {f.value:g}{_on(f.hardware)} ({f.source})" for f in figures) or "-",
            ]
        )
    header = (
        "variant",
        "M parameters",
        "GFLOP a frame",
        "template / search px",
        "checkpoint",
        "its licence",
        "published",
    )
    return _table(header, lines)


def _on(hardware: str) -> str:
    return "" if hardware == "-" else f" on {hardware}"


def _presets(rows: list[Row]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row.params))
    lines = []
    for row in rows:
        for name, preset in row.presets.items():
            values = {**row.params, **preset.params}
            sizes = ", ".join(str(search.size) for search in row.searches_for(name))
            lines.append([f"`{row.variant}`", f"`{name}`", *(_number(values.get(key)) for key in names), sizes])
    return _table(("variant", "preset", *(f"`{name}`" for name in names), "search px"), lines)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:g}"
