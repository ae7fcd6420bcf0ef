"""trk-calibrate: teaches a bundle how sure its scores are, on annotated video."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from .. import __version__
from ..bench.calibration import Fitted, calibrate, observe
from ..bench.datasets.layouts import LAYOUTS, open_dataset
from ..bench.store import write_bytes
from ..engine.bundle import Bundle
from ..engine.tracker import Tracker
from ..errors import UsageError
from ..export.write import check_target, write_bundle
from .command import run, traceback_option
from .eval import read_sequences
from .tables import console, progress_bar, say

EPILOG = """\b
Example:
  trk-calibrate tracker.trk validation
"""


@click.command("trk-calibrate", epilog=EPILOG)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Write the calibrated bundle here. Default: over BUNDLE.")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="Draw how reliable it is (.png).")
@click.option("--preset", help="The bundle's set of hyper-parameters to track with.")
@click.option("--layout", type=click.Choice([row.name for row in LAYOUTS]), help="How FOLDER is laid out.")
@click.option("--subset", help="Part of the data set, as for trk-eval.")
@click.option("--only", multiple=True, metavar="PATTERN", help="Sequences by name, such as 'car*'.")
@click.option("--threads", type=click.IntRange(min=1), help="Threads of the runtime. Default: the runtime's choice.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
@traceback_option
@click.version_option(__version__)
def command(bundle: Path, folder: Path, **options: Any) -> int:
    """Fit the probability that the box is on the target to the sequences in FOLDER, and write it into BUNDLE.

    With it, results have a confidence that means the same in every bundle, tell when the target is lost, and --on-lost
    can do something about it.
    """
    draw = _plotter() if options["plot"] else None
    out: Path = options["out"] or bundle
    check_target(out)
    data = open_dataset(folder, options["layout"], options["subset"])
    sequences, left_out = read_sequences(data, options["only"])
    for name, error in left_out.items():
        click.echo(f"trk-calibrate: left out {name}: {error}", err=True)
    opened = Bundle(bundle)
    manifest = opened.manifest
    tracker = Tracker(opened, threads=options["threads"], preset=options["preset"], on_lost="follow")
    files = {file.name: opened.read(file.name) for file in manifest.files}
    opened.close()
    runs = []
    with progress_bar(not options["quiet"]) as progress:
        task = progress.add_task("runs", total=2 * len(sequences))
        for sequence in sequences:
            for covered in (False, True):
                runs.append(observe(tracker, sequence, covered=covered))
                progress.update(task, advance=1, description=sequence.name)
    about = f"{len(sequences)} sequences of {folder.name}, as they are and with the target covered"
    fitted = calibrate(runs, about)
    write_bundle(out, manifest.model_copy(update={"calibration": fitted.calibration}), files)
    if draw:
        write_bytes(options["plot"], draw(fitted))
    if not options["quiet"]:
        _report(fitted, out)
    return 0


def _plotter() -> Callable[[Fitted], bytes]:
    """Return what draws the plot; whether it can is known before any work is done."""
    try:
        from ..bench.plots import draw_reliability
    except ModuleNotFoundError as error:
        raise UsageError(f"--plot needs {error.name}: pip install 'trk-engine[eval]'") from None
    return draw_reliability


def _report(fitted: Fitted, out: Path) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("probability", "on the target", "frames"):
        table.add_column(column, justify="right")
    for one in fitted.reliability():
        table.add_row(f"{one.probability:.2f}", f"{one.on_target:.2f}", str(one.frames))
    console.print(table)
    measured = fitted.calibration.measured
    say(
        f"sequences left out of the fit: area under the ROC {measured['roc_area']:.3f}, "
        f"on the target against gone {measured.get('roc_area_gone', float('nan')):.3f}, Brier score "
        f"{measured['brier']:.3f} ({measured['on_target'] * (1 - measured['on_target']):.3f} without the score)"
    )
    say(f"written to {out}")


def main() -> None:
    """Console entry point."""
    sys.exit(run(command))


if __name__ == "__main__":
    main()
