from types import SimpleNamespace

import numpy as np
import pytest

from trk.bench import published
from trk.bench.accuracy import OnSet
from trk.bench.datasets.layouts import LAYOUTS, DataSet
from trk.bench.metrics import FIGURES, Score
from trk.bench.peers import Spec
from trk.bench.published import compare_published
from trk.models.published import Published

ROW = SimpleNamespace(
    model="siam",
    variant="a",
    published=(
        Published("OTB2015 AUC", 0.6, "-", "paper"),
        Published("GOT-10k val AO", 0.5, "-", "paper"),
        Published("VOT2018 EAO", 0.4, "-", "paper"),
        Published("fps", 100, "Titan X", "paper"),
    ),
)


class Counted(OnSet):
    """A tracker that was counted on one sequence."""

    @property
    def scores(self):
        return [Score(np.zeros(21), np.zeros(51), np.zeros(51), dict.fromkeys(FIGURES, 0.61), 1)]

    def fps(self):
        return 80.0


@pytest.fixture
def data(tmp_path):
    def of(layout, sequences=1):
        return DataSet(tmp_path, next(row for row in LAYOUTS if row.name == layout), (None,) * sequences)

    return of


@pytest.fixture(autouse=True)
def models(monkeypatch):
    monkeypatch.setattr(published, "_model", lambda one: ("siam", one.spec.target))


def found(data, subset, *sets):
    return {one.published.what: (one.ours, one.tracker) for one in compare_published([ROW], sets, data, subset)}


def test_ours_stands_beside_what_was_measured_on_the_same_data(data):
    ours = found(data("otb"), "OTB2015", Counted(Spec("mine", "bundle", "a")))
    assert ours["OTB2015 AUC"] == (0.61, "mine")
    assert ours["fps"] == (80.0, "mine")
    assert ours["GOT-10k val AO"] == (None, "other data: it takes --layout got10k --subset val")
    assert ours["VOT2018 EAO"][0] is None
    assert "vot-toolkit" in ours["VOT2018 EAO"][1]


def test_a_part_of_the_data_or_another_variant_reproduces_nothing(data):
    mine = Counted(Spec("mine", "bundle", "a"))
    assert found(data("otb"), "tb50", mine)["OTB2015 AUC"][0] is None
    assert found(data("otb"), None, mine)["OTB2015 AUC"][0] is None
    assert found(data("otb", 2), "tb100", mine)["OTB2015 AUC"] == (None, "not all sequences were counted")
    other = Counted(Spec("other", "bundle", "b"))
    assert set(found(data("otb"), "tb100", other).values()) == {(None, "no --bundle of it")}
    assert found(data("got10k"), None, mine)["GOT-10k val AO"][0] == 0.61


def test_every_accuracy_in_the_registry_is_known_or_is_vots():
    from trk.models import registry

    for name in registry.models():
        for row in registry.variants(name):
            for one in row.published:
                known = one.what in published.MEASURES or one.what == published.SPEED
                assert known or one.what.startswith("VOT"), (row.model, row.variant, one.what)
