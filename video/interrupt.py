"""Ctrl-C and SIGTERM held back while a step that must not be cut in two is under way."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

HELD_BACK = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """A block that neither Ctrl-C nor SIGTERM splits: they arrive when the block has ended.

    Only the main thread receives signals; elsewhere this does nothing, and nothing is done about a signal that is not
    handled in Python: SIGTERM then ends the process at once, as the system has it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pending: list[tuple[int, FrameType | None]] = []
    handlers = {number: handler for number in HELD_BACK if callable(handler := signal.getsignal(number))}
    for number in handlers:
        signal.signal(number, lambda number, frame: pending.append((number, frame)))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if pending:
            handlers[signal.Signals(pending[-1][0])](*pending[-1])
