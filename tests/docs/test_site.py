"""The documentation: complete, current, and a site without a single warning."""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))


def test_every_page_is_in_the_navigation():
    navigation = re.findall(r":\s*([\w-]+\.md)\s*$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    assert sorted(navigation) == [page.name for page in PAGES]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_and_pictures_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
    for target in targets:
        assert "://" in target or (DOCS / target).is_file(), f"{page.name} links to {target}"


def test_generated_parts_are_current(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["fill.py", "--check"])
    main = runpy.run_path(str(DOCS / "fill.py"))["main"]
    assert main() == 0, capsys.readouterr().out


def test_every_command_shows_its_help():
    commands = re.findall(r'"(trk-\w+) = ', (ROOT / "setup.py").read_text())
    shown = "".join(page.read_text() for page in PAGES)
    assert commands
    for command in commands:
        assert f"<!-- help: {command} -->" in shown


def test_site_is_built_without_a_warning(tmp_path):
    for name in ("material", "mkdocstrings"):
        pytest.importorskip(name, reason="the extra docs is not installed (trk-engine[docs])")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", str(ROOT / "mkdocs.yml"), "-d", str(tmp_path)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stderr
    reference = (tmp_path / "api" / "index.html").read_text()
    for name in ("MultiTracker", "on_lost", "open_source", "SourceError"):
        assert name in reference
