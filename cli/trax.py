"""trk-trax: a bundle behind the TraX protocol, for the VOT toolkit and whatever else speaks it."""

import sys
from typing import Any

import click

from .. import __version__
from ..bench.trax_server import serve
from ..engine.tracker import Tracker
from .command import run, traceback_option
from .values import BundlePath, parse_params

EPILOG = """\b
In the trackers.ini of a VOT workspace:
  [trk]
  label = trk
  protocol = trax
  command = trk-trax --bundle /path/to/bundle.trk
"""


@click.command("trk-trax", epilog=EPILOG)
@click.option(
    "--bundle",
    type=BundlePath(),
    help="Bundle to track with: a folder, a .trk file, or int8, the default in INT8. Default: the one shipped.",
)
@click.option("--preset", help="One of the bundle's sets of hyper-parameters, or a file of trk-tune.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Override one hyper-parameter.")
@click.option("--backend", default="auto", show_default=True, help="Runtime.")
@click.option("--device", help="cpu or cuda. Default: cpu.")
@click.option("--threads", type=click.IntRange(min=1), help="Threads of the runtime. Default: the runtime's choice.")
@traceback_option
@click.version_option(__version__)
def command(**options: Any) -> int:
    """Answer a TraX client over standard input and output, or over the socket that TRAX_SOCKET names.

    A client starts this command; by hand it waits for one. Each frame is answered with a box and the score as
    `confidence`.
    """
    tracker = Tracker(
        options["bundle"],
        options["backend"],
        options["device"],
        options["threads"],
        **parse_params(options["preset"], options["settings"]),
    )
    serve(tracker, "trk", f"{tracker.manifest.title}, {tracker.manifest.weights.origin} weights")
    return 0


def main() -> None:
    """Entry point of trk-trax."""
    sys.exit(run(command))
