"""`trk-run --web`: the page in place of --init."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from ..engine.tracker import Tracker
from ..errors import UsageError
from ..video.source import Position
from .tables import say


def run_web(
    video: str, tracker: Tracker, start: Position, end: Position | None, options: dict[str, Any], outputs: list[Path]
) -> int:
    """Serve the page until Ctrl-C; `outputs` are written along. Raises TrkError."""
    try:
        from ..web.server import address, bind, make_server, new_token
        from ..web.session import Session
    except ImportError as error:
        raise UsageError(f"--web needs {error.name}: pip install 'trk-engine[web]'") from None
    host, token = options["host"], new_token()
    listener = bind(host, options["port"])
    with listener:
        session = Session(video, tracker, start, end, options["raw"], outputs)
        try:
            click.echo(address(listener, host, token))
            say("draw the target on this page; Ctrl-C ends")
            with suppress(KeyboardInterrupt):
                make_server(session, token, host).run(sockets=[listener])
            for path in session.finish():
                say(f"wrote {path}")
        finally:
            session.close()
    return 0
