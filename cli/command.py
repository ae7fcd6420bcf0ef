"""What all commands share: one line for an error, the exit codes, and `--traceback`."""

import sys
import traceback
from collections.abc import Sequence

import click

from ..errors import TrkError

EXIT_ERROR = 2
EXIT_INTERRUPTED = 130


def run(command: click.Command, args: Sequence[str] | None = None) -> int:
    """Run `command` and return its exit code: 0, 2 after an error told in one line, 130 after Ctrl-C.

    `--traceback` anywhere among the arguments shows where an error came from, too.
    """
    arguments = list(sys.argv[1:] if args is None else args)
    show_traceback = "--traceback" in arguments
    arguments = [argument for argument in arguments if argument != "--traceback"]
    name = command.name or "trk"
    try:
        result = command.main(arguments, prog_name=name, standalone_mode=False)
        return result if isinstance(result, int) else 0
    except TrkError as error:
        return _fail(name, str(error), show_traceback)
    except click.ClickException as error:
        hint = f" (try {name} --help)" if isinstance(error, click.UsageError) else ""
        return _fail(name, error.format_message().rstrip(".") + hint, show_traceback)
    except (KeyboardInterrupt, click.Abort):
        click.echo(f"{name}: interrupted", err=True)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return EXIT_ERROR


def _fail(name: str, message: str, show_traceback: bool) -> int:
    if show_traceback:
        traceback.print_exc()
    click.echo(f"{name}: {' '.join(message.split())}", err=True)
    return EXIT_ERROR
