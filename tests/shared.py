"""Where material that is not in this repository lies: golden numbers, sequences, published weights.

It is looked for in `../shared` beside the checkout, or where the environment variable TRK_SHARED says.
"""

import importlib.util
import os
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

SHARED = Path(os.environ.get("TRK_SHARED") or Path(__file__).resolve().parents[2] / "shared")


def shared_path(*parts: str) -> Path:
    """Return the path of shared material; skip the test where it is missing."""
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"shared material {'/'.join(parts)} is not beside the checkout (TRK_SHARED names its folder)")
    return path


@cache
def shared_module(*parts: str) -> ModuleType:
    """Return a Python file of the shared material as a module (the goldens' loader, for one)."""
    path = shared_path(*parts)
    spec = importlib.util.spec_from_file_location(f"shared_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
