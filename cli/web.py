"""`trk-run --web`: the page in place of --init."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from ..engine.tracker import Tracker
from ..errors import UsageError
from ..video.formats import open_format
from ..video.partial import PartialFile
from ..video.source import Position
from ..video.writer import CONTAINERS
from .tables import say


def run_web(
    video: str, tracker: Tracker, start: Position, end: Position | None, options: dict[str, Any], outputs: list[Path]
) -> int:
    """Serve the page until Ctrl-C, then write `outputs`. Raises TrkError."""
    try:
        from ..web.results import write_result
        from ..web.server import address, bind, make_server, new_token
        from ..web.session import Session
    except ImportError as error:
        raise UsageError(f"--web needs {error.name}: pip install trk-engine[web]") from None
    for path in outputs:  # told now, and not when everything is done
        if path.suffix.lower() not in CONTAINERS:
            open_format(path, several=True)
        PartialFile(path).discard()
    host, token = options["host"], new_token()
    listener = bind(host, options["port"])
    with listener:
        session = Session(video, tracker, start, end, options["raw"])
        try:
            click.echo(address(listener, host, token))
            say("draw the target on this page; Ctrl-C ends")
            with suppress(KeyboardInterrupt):
                make_server(session, token, host).run(sockets=[listener])
            if session.records():
                for path in outputs:
                    say(f"wrote {write_result(session, path)}")
        finally:
            session.close()
    return 0
