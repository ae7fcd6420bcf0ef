"""TensorRT 8.6, 10, 11 and TensorRT-RTX behind one face: what differs between them, and their way to fail.

Every call of TensorRT that fails returns None or False and says why to its logger only; `Library.need` turns that into
an error with the logger's words. Which names each version has was read from its Python binding.
"""

from __future__ import annotations

from collections import deque
from functools import cache
from importlib import import_module
from typing import Any, TypeVar

from ...errors import BackendError
from ..runtime_errors import advised

T = TypeVar("T")

MODULES = {"tensorrt": "tensorrt", "rtx": "tensorrt_rtx"}
"""Flavour: the module to import. The first that is there is taken."""
INSTALL = "pip install 'trk-engine[rtx]' (RTX cards from Turing on; builds on any machine), or 'trk-engine[tensorrt]'"
OLDEST = (8, 6)
KEPT_LINES = 50


class Library:
    """One flavour of TensorRT, loaded.

    `module` is its Python module, `flavour` a key of MODULES.
    """

    def __init__(self, flavour: str, module: Any):
        self.flavour = flavour
        self.module = module
        self.version: str = module.__version__
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self.logger = _logger(module, self._lines)
        if self.flavour == "tensorrt" and self.numbers[:2] < OLDEST:
            raise BackendError(f"TensorRT {self.version} is too old: trk needs {OLDEST[0]}.{OLDEST[1]}, or 10 or newer")

    @property
    def numbers(self) -> tuple[int, ...]:
        """The version as numbers: 11, 4, 0, 106."""
        return tuple(int(part) for part in self.version.split(".") if part.isdigit())

    @property
    def title(self) -> str:
        """As a reader knows it: TensorRT-RTX 1.7.1.116."""
        return f"{'TensorRT-RTX' if self.flavour == 'rtx' else 'TensorRT'} {self.version}"

    @property
    def strongly_typed(self) -> bool:
        """Whether a network can have the types of its ONNX graph; else (8.6) builder flags choose."""
        return self.flavour == "rtx" or hasattr(self.module.NetworkDefinitionCreationFlag, "STRONGLY_TYPED")

    def need(self, value: T | None, what: str, advice: str = "") -> T:
        """Return `value` unless it is None or False; then raise BackendError with the logger's last words."""
        if value is None or value is False:
            raise BackendError(advised(f"{self.title} can't {what}: {self.last_words()}") + advice)
        return value

    def make(self, kind: str, what: str, *arguments: Any) -> Any:
        """Return a new object of the class `kind`, made with `arguments` and the logger; raises BackendError.

        TensorRT's constructors can't return None: where its library gives them nothing, they raise a TypeError that
        says nothing of why.
        """
        try:
            return getattr(self.module, kind)(*arguments, self.logger)
        except TypeError as error:
            raise BackendError(advised(f"{self.title} can't {what}: {self.last_words()}")) from error

    def last_words(self) -> str:
        """Return the newest error that was logged, in one line."""
        return " ".join(self._lines[-1].split()) if self._lines else "it gave no reason"

    def forget(self) -> None:
        """Forget what was logged so far: it belongs to something else."""
        self._lines.clear()

    def network_flags(self) -> int:
        """Return the flags of `create_network`: 8.6 wants an explicit batch, 10 a flag for strong typing."""
        flags, kinds = 0, self.module.NetworkDefinitionCreationFlag
        if self.strongly_typed and hasattr(kinds, "STRONGLY_TYPED"):
            flags |= 1 << int(kinds.STRONGLY_TYPED)
        elif hasattr(kinds, "EXPLICIT_BATCH"):
            flags |= 1 << int(kinds.EXPLICIT_BATCH)
        return flags

    def has_timing_cache(self) -> bool:
        """Whether timings are kept; setting such a cache makes RTX ask for a GPU that it may not have."""
        return self.flavour != "rtx"


def load(flavour: str | None = None) -> Library:
    """Return `flavour` of TensorRT, or the first that is installed. Raises BackendError with what to install."""
    if flavour is not None:
        return _loaded(flavour, MODULES[flavour])
    for name in MODULES:
        try:
            return _loaded(name, MODULES[name])
        except BackendError as error:
            if not isinstance(error.__cause__, ModuleNotFoundError):
                raise
    raise BackendError(f"TensorRT is not installed: {INSTALL}")


@cache
def _loaded(flavour: str, module: str) -> Library:
    try:
        return Library(flavour, import_module(module))
    except ModuleNotFoundError as error:
        raise BackendError(f"{module} is not installed: {INSTALL}") from error
    except ImportError as error:
        reason = " ".join(str(error).split())
        raise BackendError(f"{module} is installed and can't be loaded ({reason}): reinstall it whole") from error


def _logger(module: Any, lines: deque[str]) -> Any:
    class Logger(module.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            module.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity in (module.ILogger.ERROR, module.ILogger.INTERNAL_ERROR):
                lines.append(message)

    return Logger()
