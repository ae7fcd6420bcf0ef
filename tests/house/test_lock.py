"""requirements.lock: every package that a release needs, one version for each system, with the hashes of its files."""

import re
import runpy
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
EXTRAS = ("cpu", "export", "web", "eval")


@pytest.fixture(scope="module")
def locked():
    """Version to hashes, by package."""
    found = defaultdict(dict)
    for entry in re.sub(r"\\\n\s*", "", LOCK).splitlines():
        if not entry.startswith("#"):
            requirement, *hashes = entry.split("--hash=sha256:")
            name, version = requirement.split(";")[0].strip().split("==")
            found[name][version] = [one.strip() for one in hashes]
    return found


def test_every_package_has_hashes(locked):
    assert len(locked) > 50
    for versions in locked.values():
        for hashes in versions.values():
            assert hashes
            assert all(re.fullmatch(r"[0-9a-f]{64}", one) for one in hashes)


def test_no_place_to_fetch_from_is_named():
    assert "://" not in LOCK
    assert not re.search(r"^-", LOCK, re.M)


def test_what_setup_asks_for_is_locked_in_versions_that_it_allows(locked, monkeypatch):
    requirements = pytest.importorskip("packaging.requirements", reason="packaging is not installed")
    pytest.importorskip("setuptools", reason="setuptools is not installed")
    asked = {}
    monkeypatch.setattr("setuptools.setup", lambda **words: asked.update(words))
    runpy.run_path(str(ROOT / "setup.py"))
    lines = [*asked["install_requires"], *(line for extra in EXTRAS for line in asked["extras_require"][extra])]
    assert len(lines) > 10
    for line in lines:
        wanted = requirements.Requirement(line)
        assert locked[wanted.name], f"{line} is not locked: make requirements.lock anew"
        for version in locked[wanted.name]:
            assert wanted.specifier.contains(version), f"{wanted.name} {version} is locked, setup.py wants {line}"
