"""mypy needs most of a minute where it has no cache yet: it begins when the tests do, and its own test waits for it."""

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
_begun: list[subprocess.Popen[str]] = []


def _begin(config: pytest.Config) -> subprocess.Popen[str]:
    # The repository root is the package: mypy finds it under its name through a link.
    place = config.cache.mkdir("mypy")
    link = place / "trk"
    if not link.is_symlink():
        link.symlink_to(ROOT)
    modules = sorted(path.stem for path in ROOT.glob("*.py") if path.stem not in ("setup", "__init__"))
    rooms = sorted(path.parent.name for path in ROOT.glob("*/__init__.py"))
    assert {"engine", "export", "models", "video", "cli"} <= set(rooms)
    words = ["-m", "trk"]
    for module in modules:
        words += ["-m", f"trk.{module}"]
    for room in rooms:
        words += ["-p", f"trk.{room}"]
    command = [sys.executable, "-m", "mypy", "--config-file", "trk/pyproject.toml", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=place)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Begin, unless others run the tests beside this process, of whom only one will ask."""
    alone = not hasattr(session.config, "workerinput")
    if alone and any(item.name == "test_types" for item in session.items) and importlib.util.find_spec("mypy"):
        _begun.append(_begin(session.config))


@pytest.fixture
def types(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    """The process of mypy over the whole house."""
    process = _begun.pop() if _begun else _begin(request.config)
    with process:
        yield process
        process.kill()


def pytest_unconfigure() -> None:
    """End what nobody asked for."""
    for process in _begun:
        with process:
            process.kill()
