"""trk-tune: better hyper-parameters for a bundle on a data set, reported on clips that were held out."""

import json
import sys
from collections.abc import Callable, Mapping
from collections.abc import Sequence as Many
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from .. import __version__
from ..bench.conventions import CONVENTIONS, convention
from ..bench.datasets.layouts import LAYOUTS, open_dataset
from ..bench.datasets.varied import varied
from ..bench.folds import CrossValidated, cross_validate, fold_clips
from ..bench.machine import versions
from ..bench.metrics import FIGURES
from ..bench.tuning import Measured, Trial, Tuned, clips, measure, search_space, split, tune
from ..engine.bundle import Bundle
from ..engine.params import choose_params
from ..errors import UsageError
from ..video.partial import PartialFile
from ..weights.shipped import default_bundle
from .command import EXIT_INTERRUPTED, run, traceback_option
from .eval import read_sequences, runs_option
from .eval_tables import TITLES
from .tables import console, progress_bar
from .values import BundlePath, parse_params

EPILOG = """\b
Examples:
  trk-tune sequences --bundle tracker.trk --trials 50 --out tuned.json
  trk-tune OTB100 --bundle tracker.trk --param penalty_k --param window_influence --hold-out 0.3
  trk-tune clips --bundle tracker.trk --runs 4 --folds 5
"""


HELD_OUT = 0.5


@click.command("trk-tune", epilog=EPILOG)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--bundle",
    type=BundlePath(path_type=Path),
    help="Bundle to tune: a folder, a .trk file, or int8, the default in INT8. Default: the one shipped.",
)
@click.option("--preset", help="The bundle's set of hyper-parameters to start from, or a file of trk-tune.")
@click.option("--param", "wanted", multiple=True, help="Parameter to search. Default: all of which a range is known.")
@click.option("--trials", type=click.IntRange(min=2), default=50, show_default=True, help="Sets of values to try.")
@click.option(
    "--hold-out",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    show_default=str(HELD_OUT),
    help="Share of the clips that are not tuned on, and that the result is reported on.",
)
@click.option(
    "--folds",
    type=click.IntRange(min=2),
    help="Instead of --hold-out, where clips are few: tune on all of them and report on all, each with values that "
    "were chosen without its fold.",
)
@click.option(
    "--figure",
    type=click.Choice(FIGURES),
    default="auc",
    show_default=True,
    help="What is to become as large as can be.",
)
@runs_option
@click.option("--seed", type=int, default=0, show_default=True, help="Of the search.")
@click.option("--layout", type=click.Choice([row.name for row in LAYOUTS]), help="How FOLDER is laid out.")
@click.option("--subset", help="Part of the data set, as for trk-eval.")
@click.option("--only", multiple=True, metavar="PATTERN", help="Sequences by name, such as 'car*'.")
@click.option("--convention", "rule", type=click.Choice([row.name for row in CONVENTIONS]), help="Whose way to count.")
@click.option("--backend", default="auto", show_default=True, help="Runtime.")
@click.option("--device", help="cpu or cuda. Default: cpu.")
@click.option("--threads", type=click.IntRange(min=1), help="Threads of the runtime. Default: the runtime's choice.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the values and how they were found (.json).")
@click.option("--quiet", is_flag=True, help="Print the --set options and nothing else.")
@traceback_option
@click.version_option(__version__)
def command(folder: Path, **options: Any) -> int:
    """Search for the hyper-parameters with which a bundle is most accurate on the sequences in FOLDER.

    The clips are split: values are chosen on one part, and what they bring is reported on the other. Prints the options
    that trk-run, trk-eval and trk-trax take.
    """
    if options["folds"] and options["hold_out"]:
        raise UsageError("--folds and --hold-out exclude each other: each fold is held out once")
    if not options["folds"] and find_spec("optuna") is None:
        raise UsageError("trk-tune needs optuna: pip install 'trk-engine[eval]'")
    bundle = Bundle(options["bundle"] or default_bundle())
    given = parse_params(options["preset"], [])
    start = choose_params(bundle.manifest, given["preset"], given["params"])
    space = search_space(start, options["wanted"])
    data = open_dataset(folder, options["layout"], options["subset"])
    sequences, left_out = read_sequences(data, options["only"])
    for name, error in left_out.items():
        click.echo(f"trk-tune: left out {name}: {error}", err=True)
    runs = {
        name: [run for one in clip for run in varied(one, options["runs"])] for name, clip in clips(sequences).items()
    }
    rule = convention(options["rule"] or data.layout.convention)
    runtime = {name: options[name] for name in ("backend", "device", "threads")}
    loud, figure, count = not options["quiet"], options["figure"], options["trials"]
    search: Callable[..., Tuned]
    if options["folds"]:
        folds = fold_clips([*runs], options["folds"])
        search, steps = partial(cross_validate, folds=folds), count * len(runs)
        reported: dict[str, Any] = {"folds": folds}
        title = f"on {len(runs)} clips, each held out once"
    else:
        tuned_on, held_out = split([*runs], options["hold_out"] or HELD_OUT)
        search, steps = partial(tune, tuned_on=tuned_on, held_out=held_out), count * len(tuned_on) + 2 * len(held_out)
        reported = {"tuned_on": tuned_on, "reported_on": held_out}
        title = f"on {len(held_out)} clips held out"
    out = PartialFile(options["out"]) if options["out"] else None
    trials: list[Trial] = []
    try:
        with progress_bar(loud) as progress:
            task = progress.add_task("trials", total=steps)

            def evaluate(params: Mapping[str, float], names: Many[str]) -> Measured:
                found = measure(bundle, {**start, **params}, {name: runs[name] for name in names}, rule, runtime)
                progress.advance(task, len(names))
                return found

            found = search(
                evaluate,
                start=start,
                space=space,
                trials=count,
                figure=figure,
                seed=options["seed"],
                tell=trials.append,
            )
        if out:
            about = _about(found, trials, start, bundle, options) | {"convention": rule.name, **reported}
            out.temporary.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
            out.publish()
    except KeyboardInterrupt:
        best = max(trials, key=lambda trial: trial.mean().figures[figure], default=None)
        best_so_far = f"; the best so far, not checked on clips held out: {settings(best.params)}" if best else ""
        click.echo(f"trk-tune: interrupted after {len(trials)} trials{best_so_far}", err=True)
        return EXIT_INTERRUPTED
    finally:
        if out:
            out.discard()
    if loud:
        _report(found, trials, title, figure)
    click.echo(settings(found.params))
    return 0


def settings(params: Mapping[str, float]) -> str:
    """Return values as the options that commands take."""
    return " ".join(f"--set {name}={value:g}" for name, value in params.items())


def _about(
    found: Tuned, trials: list[Trial], start: Mapping[str, float], bundle: Bundle, options: dict[str, Any]
) -> dict[str, Any]:
    manifest, figure = bundle.manifest, options["figure"]
    about = {
        "params": {**start, **found.params},
        "searched": sorted(found.params),
        "bundle": {"path": str(bundle.path), "model": manifest.model, "variant": manifest.variant},
        "figure": figure,
        "before": found.before.figures,
        "after": found.after.figures,
        "runs": options["runs"],
        "seed": options["seed"],
        "trials": [
            {
                "params": trial.params,
                "value": trial.mean().figures[figure],
                "clips": {name: one.figures[figure] for name, one in trial.clips.items()},
            }
            for trial in trials
        ],
        "versions": versions(),
    }
    if isinstance(found, CrossValidated):
        about["gain_interval_95"] = found.gain
        about["chosen_without_fold"] = [fold.chosen.params for fold in found.folds]
    return about


def _report(found: Tuned, trials: list[Trial], title: str, figure: str) -> None:
    before, after = found.before.figures[figure], found.after.figures[figure]
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(title)
    for name in FIGURES:
        table.add_column(TITLES[name], justify="right")
    for name, score in (("the bundle's values", found.before), ("the values found", found.after)):
        table.add_row(name, *(f"{100 * score.figures[key]:.1f}" for key in FIGURES))
    console.print(table)
    if isinstance(found, CrossValidated):
        low, high = found.gain
        console.print(
            f"{TITLES[figure]}: {100 * (after - before):+.1f}, 95 % interval {100 * low:+.1f} to {100 * high:+.1f}"
        )
    values = [trial.mean().figures[figure] for trial in trials]
    tuned_on = f"{TITLES[figure]} on the {len(trials[0].clips)} clips for tuning"
    console.print(f"{tuned_on}: {100 * values[0]:.1f} -> {100 * max(values):.1f}")
    if after <= before:
        console.print("On the clips held out that brings nothing: keep the bundle's values", style="yellow")


def main() -> None:
    """Entry point of trk-tune."""
    sys.exit(run(command))
