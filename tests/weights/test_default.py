"""The bundle that is used when none is named, and the weights that it was made of."""

import hashlib

import pytest

from trk.engine.bundle import Bundle
from trk.models.registry import find
from trk.weights.shipped import BUNDLES, HERE, default_bundle, shipped_weights

LIMIT = 15 * 2**20


def manifest_of(path):
    bundle = Bundle(path)
    bundle.close()
    return bundle.manifest


def test_the_default_is_what_the_models_name_alone_exports():
    row = find("slimfc")
    manifest = manifest_of(default_bundle())
    assert (manifest.model, manifest.variant) == (row.model, row.variant)
    assert manifest.params == dict(row.params)
    assert manifest.template_rate == row.template_rate
    assert [search.size for search in manifest.searches] == [search.size for search in row.searches]


@pytest.mark.parametrize("name", BUNDLES.values())
def test_a_shipped_bundle_was_made_of_the_weights_that_ship_and_is_calibrated(name):
    manifest = manifest_of(HERE / name)
    shipped = shipped_weights(find("slimfc").shipped)
    assert manifest.weights.sha256 == hashlib.sha256(shipped.path.read_bytes()).hexdigest()
    assert manifest.weights.licence == shipped.licence
    assert manifest.calibration is not None


def test_nothing_that_ships_is_above_the_limit():
    files = [path for path in HERE.rglob("*") if path.suffix in (".trk", ".safetensors")]
    assert len(files) >= 4
    assert max(path.stat().st_size for path in files) <= LIMIT
