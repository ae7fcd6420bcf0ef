"""Two names swap what they stand for in one step of the file system, where it can do that."""

import ctypes
import os
import sys
from pathlib import Path

_HERE = -100
"""AT_FDCWD: paths count from the working directory."""
_EXCHANGE = 2
"""RENAME_EXCHANGE of Linux and RENAME_SWAP of macOS."""


def exchange(one: Path, other: Path) -> bool:
    """Swap two files or folders of one file system; False where the system can't, and nothing has changed then.

    Source: rename(2) of Linux, renamex_np(2) of macOS.
    """
    paths = os.fsencode(one), os.fsencode(other)
    try:
        library = ctypes.CDLL(None, use_errno=True)
        if sys.platform == "darwin":
            return bool(library.renamex_np(*paths, _EXCHANGE) == 0)
        return bool(library.renameat2(_HERE, paths[0], _HERE, paths[1], _EXCHANGE) == 0)
    except (AttributeError, OSError, TypeError):  # an older C library, or Windows
        return False
