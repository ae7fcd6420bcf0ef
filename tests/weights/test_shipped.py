from pathlib import Path

import pytest

from trk import BundleError, CheckpointError
from trk.weights import shipped


@pytest.fixture
def empty(monkeypatch, tmp_path):
    """An installation that lost the files that ship with it."""
    monkeypatch.setattr(shipped, "HERE", tmp_path)
    return tmp_path


def test_an_installation_without_its_default_bundle_says_so(empty):
    with pytest.raises(BundleError, match="reinstall trk-engine"):
        shipped.default_bundle()


def test_what_ships_has_names():
    found = [shipped.default_bundle(name) for name in shipped.BUNDLES]
    assert found[0] == shipped.default_bundle()
    assert len(set(found)) == 3
    with pytest.raises(BundleError, match="it has default, int8, small"):
        shipped.default_bundle("int4")


def test_a_name_is_what_ships_unless_a_file_here_is_so_called(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert shipped.bundle_path(None) == shipped.bundle_path("default") == shipped.default_bundle()
    assert shipped.bundle_path("int8") == shipped.default_bundle("int8")
    assert shipped.bundle_path("sub/int8") == Path("sub/int8")
    Path("int8").mkdir()
    assert shipped.bundle_path("int8") == Path("int8")


@pytest.mark.parametrize("there", ["net.safetensors", "net.md"])
def test_weights_without_their_card_are_not_used_nor_a_card_without_weights(empty, there):
    (empty / there).write_text("Licence: MIT\n")
    with pytest.raises(CheckpointError, match="reinstall trk-engine"):
        shipped.shipped_weights("net.safetensors")


def test_terms_are_those_of_the_card(empty):
    (empty / "net.safetensors").write_bytes(b"")
    (empty / "net.md").write_text("# Net\n\nLicence: MIT\nNotice: made of other weights\n\nText: more\n")
    assert shipped.shipped_weights("net.safetensors")[1:] == ("MIT", "made of other weights")
