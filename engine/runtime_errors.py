"""Errors of runtimes in one line each, with what to do where a device's memory is full."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..errors import BackendError

MARKS = ("out of memory", "outofmemory", "failed to allocate", "cudaerrormemoryallocation")
"""In an error of CUDA, TensorRT, ONNX Runtime or PyTorch, small letters: there was no memory left."""
ADVICE = "its memory is full: take a smaller model, track fewer targets or videos at once, or end what else uses it"


def is_full(reason: str) -> bool:
    """Whether `reason` says that there was no memory left."""
    return any(mark in reason.lower() for mark in MARKS)


def advised(reason: str) -> str:
    """Return `reason`, with what to do behind it where there was no memory left."""
    return f"{reason.rstrip(': .')}: {ADVICE}" if is_full(reason) else reason


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, or its type."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def last_line(error: BaseException) -> str:
    """Return the last line, which holds the cause where those above it name a runtime's own source files."""
    return next((line.strip() for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)


@contextmanager
def translated(
    runtime: str,
    what: str,
    kinds: type[Exception] | tuple[type[Exception], ...] = Exception,
    line: Callable[[BaseException], str] = first_line,
) -> Iterator[None]:
    """Turn an error of `runtime` while `what` (memory, a device that went away) into a BackendError of one `line`."""
    try:
        yield
    except BackendError:
        raise
    except kinds as error:
        raise BackendError(advised(f"{runtime} failed while {what}: {line(error)}")) from error
