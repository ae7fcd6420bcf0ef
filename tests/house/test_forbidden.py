"""Calls that no room of the house makes: running what a file says, shells, and clocks that can be set back."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = sorted(path.parent for path in ROOT.glob("*/__init__.py"))
SOURCES = sorted(path for room in ROOMS for path in room.rglob("*.py")) + sorted(ROOT.glob("*.py"))

RUNS_FILES = {
    *("eval", "exec", "compile", "__import__"),
    *("pickle.load", "pickle.loads", "marshal.load", "marshal.loads", "shelve.open", "dill.load", "joblib.load"),
    *("yaml.load", "yaml.unsafe_load", "torch.jit.load", "torch.hub.load", "runpy.run_path", "os.system", "os.popen"),
}
SET_BACK = {"time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "datetime.datetime.now"}
DATED = {
    "bench/gpu.py": "the date of a measurement",
    "bench/footprint.py": "when a process began, told to that process: no other clock is shared by two",
    "bench/speed_report.py": "the date of a report",
    "train/tables.py": "the date of a table",
}


def calls(path):
    """Yield every call of a file: its full name, where imports from a module are resolved, and its node."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {one.asname or one.name: f"{node.module}.{one.name}" for one in node.names}
        elif isinstance(node, ast.Import):
            names |= {one.asname: one.name for one in node.names if one.asname}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            first, dot, rest = ast.unparse(node.func).partition(".")
            yield names.get(first, first) + dot + rest, node


def keyword(node, name):
    return next((ast.unparse(one.value) for one in node.keywords if one.arg == name), None)


def test_there_are_sources():
    assert len(SOURCES) > 150


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_that_a_file_says_is_run_and_no_clock_that_can_be_set_back_is_read(path):
    for name, node in calls(path):
        where = f"{path.name}:{node.lineno}: {name}"
        assert name not in RUNS_FILES, where
        assert keyword(node, "shell") in (None, "False"), where
        if name == "torch.load":
            assert keyword(node, "weights_only") == "True", where
        if name in ("numpy.load", "np.load"):
            assert keyword(node, "allow_pickle") in (None, "False"), where
        if str(path.relative_to(ROOT)) not in DATED:
            assert name not in SET_BACK, where


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("import time\ntime.time()", "time.time"),
        ("from time import time\ntime()", "time.time"),
        ("from time import time as now\nnow()", "time.time"),
        ("import pickle as p\np.load(f)", "pickle.load"),
        ("eval('1')", "eval"),
    ],
)
def test_calls_are_seen_under_any_name(line, name, tmp_path):
    (tmp_path / "x.py").write_text(line)
    assert [found for found, _ in calls(tmp_path / "x.py")] == [name]
