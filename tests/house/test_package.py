"""setup.py: what a plain `pip install` brings is all that the code reads beside itself."""

import runpy
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def asked():
    """What setup.py hands to setuptools."""
    setuptools = pytest.importorskip("setuptools", reason="setuptools is not installed")
    words = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(setuptools, "setup", lambda **given: words.update(given))
        runpy.run_path(str(ROOT / "setup.py"))
    return words


@pytest.fixture(scope="module")
def tracked():
    """Every file that git tracks."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip(f"not a git checkout: {listed.stderr.strip()}")
    return [Path(name) for name in listed.stdout.split("\0") if name]


@pytest.mark.parametrize("room", ["weights", "web"])
def test_all_data_of_a_room_is_installed(room, asked, tracked):
    patterns = asked["package_data"][f"trk.{room}"]
    data = [one.relative_to(room) for one in tracked if one.parts[0] == room and one.suffix != ".py"]
    assert data
    assert [str(one) for one in data if not any(one.match(pattern) for pattern in patterns)] == []


def test_all_code_is_installed(asked, tracked):
    rooms = {one.removeprefix("trk").removeprefix(".").replace(".", "/") for one in asked["packages"]}
    apart = {"docs", "tests", "examples", "weights/samples"}
    code = {one.parent.as_posix().removeprefix(".") for one in tracked if one.suffix == ".py"}
    missing = {one for one in code if not any(one == top or one.startswith(f"{top}/") for top in apart)} - rooms
    assert missing == set()
