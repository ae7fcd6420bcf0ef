"""A bundle of NanoTrack V3 with random weights: the smallest real network, exported once a session."""

from functools import cache
from pathlib import Path

import pytest


def nano_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The path of the bundle. Read it, don't change it."""
    return _exported(tmp_path_factory.getbasetemp() / "nano.trk")


@cache
def _exported(out: Path) -> Path:
    from trk.export.bundle import export_bundle
    from trk.models.registry import find

    export_bundle(find("nanotrack", "v3"), out, seed=3)
    return out
