from functools import cache

import pytest

from trk.export.bundle import export_bundle
from trk.export.weights import choose

from shared import shared_path


@pytest.fixture(scope="session")
def published_bundle(tmp_path_factory):
    """Return the bundle of a file of published weights (its path in ../shared), which is exported once."""
    folder = tmp_path_factory.mktemp("published")

    @cache
    def exported(file):
        row, net, weights = choose(None, None, shared_path(*file.split("/")))
        out = folder / f"{file.split('/')[-1].removesuffix('.npz')}.trk"
        export_bundle(row, out, net, weights)
        return out

    return exported
