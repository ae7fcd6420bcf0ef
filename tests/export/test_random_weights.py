import pytest
import torch
from tiny import TINY

from trk.engine.geometry import Geometry
from trk.engine.manifest import Search
from trk.export.graphs import image
from trk.export.random_weights import randomise
from trk.export.reference import reference_crops
from trk.models.registry import find


def randomised(row, seed):
    searches = tuple(Search(file="x", inputs=(), outputs=(), size=search.size) for search in row.searches)
    crops = reference_crops(Geometry.model_validate(row.geometry), searches, row.params.get("scale_step", 1.0))
    net = row.build()
    randomise(net, seed, crops, row.channels)
    return net, crops


def state(row, seed):
    return randomised(row, seed)[0].state_dict()


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


@pytest.mark.parametrize(("model", "variant"), [("siamrpn", None), ("dasiamrpn", None), ("siamdw_rpn", "res43")])
def test_maps_of_an_up_channel_head_have_the_scale_of_a_trained_one(model, variant):
    row = find(model, variant)
    net, crops = randomised(row, 0)
    with torch.no_grad():
        maps = net.search(image(crops.searches[0][0], row.channels), *net.template(image(crops.template, row.channels)))
    assert [round(values.std().item(), 2) for values in maps] == [1, 1]
