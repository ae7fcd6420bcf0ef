"""What all commands share: one line for an error, the exit codes, and `--traceback`."""

import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import click

from ..errors import TrkError

EXIT_ERROR = 2
EXIT_INTERRUPTED = 130
EXTRA_NUMBERS = re.compile(r"unexpected extra arguments? \([\d.\s-]+\)")

traceback_option = click.option(
    "--traceback", is_flag=True, expose_value=False, help="Show where an error came from, too."
)
"""For the help of every command; `run` acts on it."""


def run(command: click.Command, args: Sequence[str] | None = None) -> int:
    """Run `command` and return its exit code: 0, 2 after an error told in one line, 130 after Ctrl-C or SIGTERM.

    `--traceback` anywhere among the arguments shows where an error came from, too.
    """
    arguments = list(sys.argv[1:] if args is None else args)
    show_traceback = "--traceback" in arguments
    arguments = [argument for argument in arguments if argument != "--traceback"]
    name = command.name or "trk"
    try:
        with _termination_interrupts():
            result = command.main(arguments, prog_name=name, standalone_mode=False)
        return result if isinstance(result, int) else 0
    except TrkError as error:
        return _fail(name, str(error), show_traceback)
    except click.ClickException as error:
        hint = f" (try {name} --help)" if isinstance(error, click.UsageError) else ""
        if EXTRA_NUMBERS.search(error.format_message()):
            hint = ": the numbers of a box belong together, --init 120,80,60,40"
        return _fail(name, error.format_message().rstrip(".") + hint, show_traceback)
    except (KeyboardInterrupt, click.Abort):
        click.echo(f"{name}: interrupted", err=True)
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # whoever read the output has left, and what is still buffered has nowhere to go
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_ERROR
    except OSError as error:
        return _fail(name, f"{error.filename or 'the system'}: {error.strerror or error}", show_traceback)


def _fail(name: str, message: str, show_traceback: bool) -> int:
    if show_traceback:
        traceback.print_exc()
    click.echo(f"{name}: {' '.join(message.split())}", err=True)
    return EXIT_ERROR


@contextmanager
def _termination_interrupts() -> Iterator[None]:
    """SIGTERM (kill, timeout, a container that stops) ends a command as Ctrl-C does: what was written is kept."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
