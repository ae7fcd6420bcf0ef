"""Every command tells its version wherever it runs: a checkout on PYTHONPATH has no metadata to ask."""

from importlib import import_module
from importlib.metadata import PackageNotFoundError

import pytest

import trk
from trk.cli.command import run


@pytest.mark.parametrize("name", ["bench", "calibrate", "eval", "export", "run", "train", "trax", "tune"])
def test_version_is_told_where_no_package_is_installed(name, monkeypatch, capsys):
    def absent(package):
        raise PackageNotFoundError(package)

    monkeypatch.setattr("importlib.metadata.distribution", absent)
    assert run(import_module(f"trk.cli.{name}").command, ["--version"]) == 0
    assert capsys.readouterr().out == f"trk-{name}, version {trk.__version__}\n"
