"""Mutation testing: one small fault after the other is put into a module, and its tests have to notice.

    pip install cosmic-ray                                  # makes the mutants
    python tests/mutate.py engine/crop.py                   # prints counts, and the mutants that survive as diffs
    python tests/mutate.py engine/crop.py --only 'Number.* (3|14)$'    # some again, by the names that were printed
    python tests/mutate.py --list

Nothing is written: every mutant lives in a process of its own, forked where the libraries are loaded already.
"""

import argparse
import difflib
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
TESTS = {
    "engine/boxes.py": ["engine/test_boxes.py"],
    "engine/bundle.py": ["engine/test_bundle.py"],
    "engine/confidence.py": ["engine/test_confidence.py", "engine/test_lost.py"],
    "engine/crop.py": ["engine/test_crop_rules.py", "engine/test_crop.py"],
    "engine/geometry.py": [
        "engine/test_geometry.py",
        "engine/test_crop_rules.py",
        "engine/test_target.py",
        "engine/test_crop.py",
    ],
    "engine/manifest.py": ["engine/test_manifest.py", "engine/test_bundle.py"],
    "engine/params.py": ["engine/test_params.py"],
    "engine/backends/device/crops.py": ["engine/test_crop_kernel.py", "engine/backends/device/test_backend.py"],
    "engine/plans/cache.py": ["engine/plans/test_cache.py"],
    "engine/signature.py": ["engine/test_signature.py"],
    "engine/target.py": ["engine/test_target.py"],
    "export/write.py": ["export/test_write.py"],
    "models/proposals.py": ["models/test_proposals.py"],
    "models/scales.py": ["models/test_scales.py"],
    "models/matching_step.py": ["models/test_matching.py"],
}
"""Modules and the tests that belong to them, from the root of the repository and from tests/; options of pytest."""
LIBRARIES = (
    "numpy",
    "cv2",
    "av",
    "pydantic",
    "hypothesis",
    "click",
    "rich",
    "onnxruntime",
    "torch",
    "onnx",
    "onnxscript",
)
KEPT = ("tiny_bundle", "long_bundle", "tiny_trk", "long_trk", "many_bundle")
"""Fixtures that take seconds: made once, with the module as it is."""
UNLIKELY = re.compile(
    r"ReplaceBinaryOperator_(\w+_(Mod|Pow|LShift|RShift|BitOr|BitAnd|BitXor)|BitOr_\w+)$|ReplaceUnaryOperator_\w+_Invert$"
    r"|ReplaceComparisonOperator_\w+_Is(Not)?$|RemoveDecorator|Variable(Inserter|Replacer)"
)
"""Faults that nobody makes, those in type annotations, and those that ask for more than a place."""


class Mutant(NamedTuple):
    operator: str
    occurrence: int
    code: str


def mutants(source: str) -> Iterator[Mutant]:
    """Yield every mutant of `source` that differs from it and compiles."""
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator, operator_names

    def mutated(operator: Any, occurrence: int) -> str | None:
        try:
            return mutate_code(source, operator, occurrence)
        except AttributeError:  # an exception that is not one word, such as `*DAMAGED`, can't be replaced by another
            return source

    for name in sorted(operator_names()):
        if UNLIKELY.search(name):
            continue
        operator, occurrence = get_operator(name)(), 0
        while (code := mutated(operator, occurrence)) is not None:
            if code != source:
                yield Mutant(name.removeprefix("core/"), occurrence, code)
            occurrence += 1


class Keeps:
    """A pytest plugin: `KEPT` come from `folder`; where they are not there yet, they are copied to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any, request: Any) -> Any:
        name = fixturedef.argname
        found = list(self.folder.glob(f"{name}/*"))
        if name in KEPT and found:
            fixturedef.func, fixturedef.argnames = (lambda: found[0]), ()
        made = yield
        if name in KEPT and not found:
            kept = self.folder / name / made.name
            kept.parent.mkdir()
            shutil.copytree(made, kept) if made.is_dir() else shutil.copy(made, kept)
        return made


def passes(module: str, code: str, keeps: Keeps, limit: float) -> bool:
    """Whether the tests of `module` pass in a child process in which its source is `code`, in `limit` seconds."""
    child = os.fork()
    if not child:
        os.setsid()
        _quiet()
        status = 1
        try:
            _put(ROOT / module, code)
            files = [name if name.startswith("-") else str(ROOT / "tests" / name) for name in TESTS[module]]
            words = ["-x", "-p", "no:cacheprovider", "--hypothesis-seed=0", f"--rootdir={ROOT}", *files]
            status = pytest.main(words, plugins=[keeps])
        finally:
            os._exit(int(status))
    end = time.monotonic() + limit
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status == 0
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def _quiet() -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)


def _put(path: Path, code: str) -> None:
    """Let the import of the file at `path` find `code`, and hypothesis be content with any failing example."""
    from hypothesis import Phase, settings

    settings.register_profile("mutants", phases=(Phase.explicit, Phase.generate), database=None)
    settings.load_profile("mutants")
    read = SourceFileLoader.get_code

    def get_code(self: SourceFileLoader, fullname: str) -> Any:
        here = Path(self.get_filename(fullname)).resolve() == path
        return compile(code, str(path), "exec", dont_inherit=True) if here else read(self, fullname)

    SourceFileLoader.get_code = get_code  # type: ignore[method-assign, assignment]


def main() -> None:
    """Try the mutants of one module."""
    options = argparse.ArgumentParser(description="Whether the tests of a module notice faults in it.")
    options.add_argument("module", nargs="?", choices=sorted(TESTS))
    options.add_argument("--only", metavar="REGEX", type=re.compile, default=re.compile(""))
    options.add_argument("--list", action="store_true")
    given = options.parse_args()
    if given.list or not given.module:
        print("\n".join(sorted(TESTS)))
        return
    for name in LIBRARIES:
        __import__(name)
    source = (ROOT / given.module).read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as place:
        keeps, began = Keeps(Path(place)), time.monotonic()
        if not passes(given.module, source, keeps, 600):
            sys.exit("the tests fail without any fault: nothing can be said")
        limit = 10 + 4 * (time.monotonic() - began)
        total, survived = 0, 0
        for mutant in mutants(source):
            if not given.only.match(f"{mutant.operator} {mutant.occurrence}"):
                continue
            total += 1
            if passes(given.module, mutant.code, keeps, limit):
                survived += 1
                changed = difflib.unified_diff(source.splitlines(), mutant.code.splitlines(), lineterm="", n=0)
                lines = [line for line in changed if not line.startswith(("---", "+++"))]
                print("\n".join([f"{mutant.operator} {mutant.occurrence}", *lines]), flush=True)
        print(f"{given.module}: {total} mutants, {total - survived} killed, {survived} survive", flush=True)


if __name__ == "__main__":
    main()
