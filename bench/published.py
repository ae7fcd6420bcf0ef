"""Published figures of a model beside ours, and why they differ where they do."""

from collections.abc import Iterator
from collections.abc import Sequence as Many
from dataclasses import dataclass

from ..engine.bundle import Bundle
from ..models.published import FPS as SPEED
from ..models.published import Published
from ..models.row import Row
from .accuracy import OnSet
from .datasets.layouts import DataSet


@dataclass(frozen=True)
class Measures:
    """What a published figure is called here."""

    layout: str
    subsets: tuple[str | None, ...]
    """Parts of the data set it was measured on; None where that is what is read without --subset."""
    figure: str


MEASURES = {
    "OTB2015 AUC": Measures("otb", ("otb2015", "tb100"), "auc"),
    "OTB-100 AUC": Measures("otb", ("otb2015", "tb100"), "auc"),
    "GOT-10k val AO": Measures("got10k", ("val", None), "ao"),
}
ALWAYS = (
    "Differences of a few thousandths are usual: the image decoder, the runtime's order of additions, and upstream's "
    "test scripts, some of which begin half a pixel off the annotation (PySOT) or clamp what they write (SiamDW)",
)


@dataclass(frozen=True)
class Compared:
    """One published figure, and ours where there is one."""

    row: Row
    published: Published
    ours: float | None
    tracker: str
    """Which tracker ours is of, or why there is none."""


def compare_published(rows: Many[Row], sets: Many[OnSet], data: DataSet, subset: str | None) -> list[Compared]:
    """Return every figure published of `rows`, with what was measured here of a bundle of that row."""
    bundles = {one.spec.label: _model(one) for one in sets if one.spec.kind == "bundle"}
    found = []
    for row in rows:
        mine = [one for one in sets if bundles.get(one.spec.label) == (row.model, row.variant)]
        for published in row.published:
            found.append(Compared(row, published, *_ours(published, mine, data, subset)))
    return found


def _model(one: OnSet) -> tuple[str, str]:
    bundle = Bundle(one.spec.target)
    bundle.close()
    return bundle.manifest.model, bundle.manifest.variant


def _ours(published: Published, mine: Many[OnSet], data: DataSet, subset: str | None) -> tuple[float | None, str]:
    if not mine:
        return None, "no --bundle of it"
    if published.what == SPEED:
        return mine[0].fps(), mine[0].spec.label
    asks = MEASURES.get(published.what)
    if asks is None:
        return None, "not measured by trk-eval (VOT: run the vot-toolkit with trk-trax)"
    if data.layout.name != asks.layout or (subset and subset.lower()) not in asks.subsets:
        part = f" --subset {asks.subsets[0]}" if asks.subsets[0] else ""
        return None, f"other data: it takes --layout {asks.layout}{part}"
    mean = mine[0].mean()
    if mean is None or len(mine[0].scores) < len(data.found):
        return None, "not all sequences were counted"
    return mean.figures[asks.figure], mine[0].spec.label


def differences(found: Many[Compared], sets: Many[OnSet]) -> Iterator[str]:
    """Yield what to expect of the differences."""
    yield from ALWAYS
    if any(one.published.what == SPEED for one in found):
        yield "Speed was published on other hardware, and here it is without reading images: compare with trk-bench"
    for one in sets:
        if one.spec.kind != "bundle":
            continue
        bundle = Bundle(one.spec.target)
        bundle.close()
        weights = bundle.manifest.weights
        if weights.origin == "random":
            yield f"{one.spec.label} has random weights: its accuracy means nothing"
        elif any(c.ours is not None and c.tracker == one.spec.label for c in found):
            yield f"{one.spec.label}: weights {weights.file or weights.origin}; preset {bundle.manifest.preset}"
