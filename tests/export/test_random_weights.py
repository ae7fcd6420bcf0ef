import pytest
import torch
from tiny import TINY

from trk.engine.geometry import Geometry
from trk.engine.manifest import Search
from trk.export.random_weights import randomise
from trk.export.reference import reference_crops
from trk.models.registry import find


def state(row, seed):
    searches = tuple(Search(file="x", inputs=(), outputs=(), size=search.size) for search in row.searches)
    crops = reference_crops(Geometry.model_validate(row.geometry), searches, row.params.get("scale_step", 1.0))
    net = row.build()
    randomise(net, seed, crops, row.channels)
    return net.state_dict()


@pytest.mark.parametrize("row", [TINY, find("nanotrack", "v1")], ids=lambda row: row.name)
def test_seed_decides_the_weights_whatever_was_drawn_before(row):
    torch.manual_seed(1)
    first = state(row, 5)
    torch.manual_seed(2)
    again, other = state(row, 5), state(row, 6)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_activations_stay_in_range():
    for values in state(find("nanotrack", "v1"), 0).values():
        assert torch.isfinite(values.float()).all()
