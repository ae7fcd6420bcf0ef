"""Every variant of every model that trk knows, one row each. Adding one is a row, and at most one file."""

from difflib import get_close_matches

from ..errors import ModelError
from .row import Row
from .rows import dasiamrpn, fear, light, lightfc, matching, nanotrack, pysot, sasiam, siamdw, siamfc, slimfc

ROWS: tuple[Row, ...] = (
    *light.ROWS,  # before PySOT's: what `siamrpnpp` alone means
    *pysot.ROWS,
    pysot.SIAMRPN,
    *siamfc.ROWS,
    *dasiamrpn.ROWS,
    *siamdw.ROWS,
    *sasiam.ROWS,
    *nanotrack.ROWS,
    *lightfc.ROWS,
    *fear.ROWS,
    *slimfc.ROWS,
    *matching.ROWS,
)


def models() -> list[str]:
    """Return the names of the models, in the order of the registry."""
    return list(dict.fromkeys(row.model for row in ROWS))


def variants(model: str) -> list[Row]:
    """Return the rows of `model`, its default first. Raises ModelError where there is none."""
    rows = [row for row in ROWS if row.model == model]
    if not rows:
        near = get_close_matches(model, models(), n=1)
        hint = f"did you mean {near[0]}?" if near else f"it knows {', '.join(models())}"
        raise ModelError(f"trk knows no model {model!r}: {hint} (trk-export --list shows all)")
    return rows


def find(model: str, variant: str | None = None) -> Row:
    """Return the row of `model` and `variant`; no variant is the model's first row. Raises ModelError."""
    rows = variants(model)
    if variant is None:
        return rows[0]
    for row in rows:
        if row.variant == variant:
            return row
    known = [row.variant for row in rows]
    near = get_close_matches(variant, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(known)}"
    raise ModelError(f"model {model} has no variant {variant!r}: {hint}")
