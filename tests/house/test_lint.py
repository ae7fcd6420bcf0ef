"""Format, lint and types of the whole house: what a commit has to pass."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def clean(*words, cwd=ROOT):
    done = subprocess.run([sys.executable, "-m", *map(str, words)], capture_output=True, text=True, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr


def test_lint():
    pytest.importorskip("ruff", reason="ruff is not installed (trk-engine[dev])")
    clean("ruff", "check")


def test_format():
    pytest.importorskip("ruff", reason="ruff is not installed (trk-engine[dev])")
    # Code in Markdown is set for the reader: comments in a column.
    clean("ruff", "format", "--check", "--diff", "--config", "format.exclude = ['*.md']")


def test_types(request):
    pytest.importorskip("mypy", reason="mypy is not installed (trk-engine[dev])")
    process = request.getfixturevalue("types")
    said, _ = process.communicate()
    assert process.returncode == 0, said
