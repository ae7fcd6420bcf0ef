"""trk-eval: how accurate trackers are on a data set, counted as its benchmark counts."""

import json
import sys
from collections.abc import Sequence as Many
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import click

from .. import __version__
from ..bench.accuracy import OnSet, accuracy_report, gather
from ..bench.conventions import CONVENTIONS, convention
from ..bench.datasets.layouts import LAYOUTS, DataSet, open_dataset
from ..bench.datasets.sequence import Sequence
from ..bench.evaluate import Done, Protocol, evaluate, plan
from ..bench.ope import Run
from ..bench.peers import KINDS, Spec, bundle_spec, peer_spec
from ..bench.results import format_of, write_results
from ..bench.store import Store, write_text
from ..engine.policy import POLICIES
from ..errors import SourceError, UsageError
from ..weights.shipped import default_bundle
from .command import EXIT_ERROR, EXIT_INTERRUPTED, run, traceback_option
from .eval_tables import ahead_table, notes, published_table, sequence_table, summary_table
from .tables import console, print_data, progress_bar, say
from .values import BundlePath, parse_params

EPILOG = """\b
Examples:
  trk-eval sequences
  trk-eval OTB100 --subset otb2015 --bundle a.trk --bundle b.trk --tracker opencv:mil --jobs 4 --plots --html
  trk-eval sequences --realtime 30
  trk-eval sequences --runs 4
"""


runs_option = click.option(
    "--runs",
    type=click.IntRange(1, 1000),
    default=1,
    show_default=True,
    help="Runs of each sequence: every second one backwards, from the third on with the first box moved by up to a "
    "pixel. One run tells a tracker's luck as much as its worth.",
)


@click.command("trk-eval", epilog=EPILOG)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--bundle",
    "bundles",
    type=BundlePath(path_type=Path),
    multiple=True,
    help="Bundle to evaluate, or default, int8: those that ship; may be given more than once. Default, where no "
    "--tracker is named: default.",
)
@click.option("--tracker", "peers", multiple=True, help=f"Another tracker: {'; '.join(KINDS.values())}.")
@click.option(
    "--layout", type=click.Choice([row.name for row in LAYOUTS]), help="How FOLDER is laid out. Default: found out."
)
@click.option("--subset", help="Part of the data set: otb2013, tb50, UAV20L, 30 (NFS), val, test, TRAIN_0, ...")
@click.option("--only", multiple=True, metavar="PATTERN", help="Sequences by name, such as 'car*'.")
@click.option(
    "--convention",
    "rule",
    type=click.Choice([row.name for row in CONVENTIONS]),
    help="Whose way to count. Default: the benchmark's.",
)
@click.option(
    "--realtime",
    type=click.FloatRange(min=0, min_open=True),
    metavar="FPS",
    help="Frames arrive at this rate, and a late answer counts as the old box.",
)
@runs_option
@click.option("--preset", help="One of the bundles' sets of hyper-parameters, or a file that trk-tune wrote.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Override one hyper-parameter.")
@click.option(
    "--on-lost",
    type=click.Choice(list(POLICIES)),
    help="What the bundles do while their target is lost. Default: as each one says.",
)
@click.option(
    "--update-template",
    "template_rate",
    type=click.FloatRange(0, 1),
    metavar="RATE",
    help="Let the template follow the target's appearance by this share at a time; 0: never. Default: the bundle's.",
)
@click.option("--backend", default="auto", show_default=True, help="Runtime of the bundles.")
@click.option("--device", help="cpu or cuda. Default: cpu.")
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Threads of a tracker.")
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Processes side by side.")
@click.option("--ray", metavar="ADDRESS", help="Do the work on a Ray cluster: host:port, auto, or local.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("trk-eval"),
    show_default=True,
    help="Folder of runs, result files and reports. Runs in it are not made again.",
)
@click.option("--plots", is_flag=True, help="Draw success and precision, attributes and confidence into --out.")
@click.option("--html", is_flag=True, help="Write a page with everything, worst sequences first, into --out.")
@click.option("--json", "as_json", is_flag=True, help="Print all figures as JSON instead of the table.")
@click.option("--sequences", "each", is_flag=True, help="Print a table of sequences for each tracker, too.")
@click.option(
    "--reproduce", metavar="MODEL", help="Print what was published of a model (or model:variant) beside ours."
)
@click.option("--quiet", is_flag=True, help="Print nothing but errors, and JSON where it was asked for.")
@traceback_option
@click.version_option(__version__)
def command(folder: Path, **options: Any) -> int:
    """Evaluate trackers on the sequences in FOLDER: OTB, UAV123, NFS, LaSOT, GOT-10k, TrackingNet, or any folder of
    folders of images with a groundtruth.txt each.
    """
    if options["realtime"] and (options["jobs"] > 1 or options["ray"]):
        raise UsageError("--realtime measures time: leave --jobs at 1 and --ray out")
    data = open_dataset(folder, options["layout"], options["subset"])
    specs = _specs(options)
    rows = _rows(options["reproduce"])
    if options["runs"] > 1 and any(spec.is_ready for spec in specs):
        raise UsageError("results that lie ready are of one run each: leave --runs out, or --tracker results:...")
    sequences, left_out = read_sequences(data, options["only"])
    rule = convention(options["rule"] or data.layout.convention)
    protocol = Protocol(options["realtime"], data.layout.first_pixel, options["runs"])
    out: Path = options["out"]
    loud = not options["quiet"]
    store = Store(out / "runs")
    jobs = plan(specs, sequences, protocol)
    done: list[Done] = []
    with progress_bar(loud) as progress:
        task = progress.add_task("runs", total=len(jobs))
        try:
            for one in evaluate(jobs, store, protocol, options["jobs"], options["ray"]):
                done.append(one)
                progress.update(task, advance=1, description=f"{one.job.spec.label} {one.job.sequence.name}")
        except KeyboardInterrupt:
            kept = sum(1 for one in done if one.run is not None)
            click.echo(
                f"trk-eval: interrupted; {kept} of {len(jobs)} runs are in {store.folder}: the same command goes on "
                "from there",
                err=True,
            )
            return EXIT_INTERRUPTED
    sets = gather(specs, done, rule)
    report = accuracy_report(sets, data, rule, protocol, left_out)
    written = _write(sets, data, protocol, out, report)
    if options["plots"] or options["html"]:
        written += _pictures(sets, report, out, options)
    _print(sets, report, options, list(notes(sets, rule, protocol, bool(options["ray"]) or options["jobs"] > 1)))
    if rows and loud:
        _print_published(rows, sets, data, options["subset"])
    if loud:
        for path in written:
            say(f"wrote {path}")
    return _failures(sets, left_out)


def _specs(options: dict[str, Any]) -> list[Spec]:
    """Return what is to be evaluated, each under a name of its own."""
    bundles = options["bundles"] or ([] if options["peers"] else [default_bundle()])
    shared = {name: options[name] for name in ("backend", "device", "threads", "on_lost", "template_rate")}
    shared |= parse_params(options["preset"], options["settings"])
    specs = [bundle_spec(path, **shared) for path in dict.fromkeys(bundles)]
    specs += [peer_spec(text) for text in dict.fromkeys(options["peers"])]
    labels = [spec.label for spec in specs]
    return [
        replace(spec, label=f"{spec.label}-{number}") if labels.count(spec.label) > 1 else spec
        for number, spec in enumerate(specs, 1)
    ]


def read_sequences(data: DataSet, only: Many[str]) -> tuple[list[Sequence], dict[str, str]]:
    """Return the sequences that can be read, and why the others can't."""
    found = [one for one in data.found if not only or any(fnmatch(one.name, pattern) for pattern in only)]
    if not found:
        names = ", ".join(one.name for one in data.found[:8])
        raise UsageError(f"--only {' '.join(only)} matches none of {len(data.found)} sequences: {names}, ...")
    sequences, left_out = [], {}
    for one in found:
        try:
            sequence = one.read()
            sequence.fingerprint()
            sequences.append(sequence)
        except SourceError as error:
            left_out[one.name] = str(error)
    if not sequences:
        raise SourceError(f"none of {len(found)} sequences can be read; the first: {next(iter(left_out.values()))}")
    return sequences, left_out


def _write(sets: Many[OnSet], data: DataSet, protocol: Protocol, out: Path, report: dict[str, Any]) -> list[Path]:
    written = []
    suffix = f"-realtime{protocol.realtime:g}" if protocol.realtime else ""
    suffix += f"-runs{protocol.runs}" if protocol.runs > 1 else ""
    for one in sets:
        runs: list[Run] = [found.run for found in one.found]
        if one.spec.is_ready or not runs:
            continue
        place = out / "results" / data.layout.name / f"{_file_name(one.spec.label)}{suffix}"
        complete = len(runs) == len(data.found)
        form = format_of(data.layout.results)
        written.append(write_results(place, form, runs, data.layout.first_pixel, complete=complete))
    path = out / "report.json"
    write_text(path, json.dumps(report, indent=1) + "\n")
    return [*written, path]


def _file_name(label: str) -> str:
    return "".join(sign if sign.isalnum() or sign in "-_." else "_" for sign in label).lstrip(".") or "tracker"


def _pictures(sets: Many[OnSet], report: dict[str, Any], out: Path, options: dict[str, Any]) -> list[Path]:
    try:
        from ..bench.plots import draw_plots
    except ImportError as error:
        raise UsageError(
            f"--plots and --html need {error.name}: pip install 'trk-engine[eval]'; the runs are kept in {out}"
        ) from None
    plots = draw_plots(sets)
    written = []
    if options["plots"]:
        from ..bench.store import write_bytes

        for name, picture in plots.items():
            write_bytes(out / f"{name}.png", picture)
            written.append(out / f"{name}.png")
    if options["html"]:
        from ..bench.page import page

        write_text(out / "report.html", page(sets, report, plots))
        written.append(out / "report.html")
    return written


def _print(sets: Many[OnSet], report: dict[str, Any], options: dict[str, Any], lines: Many[str]) -> None:
    if options["as_json"]:
        click.echo(json.dumps(report, indent=2))
    if options["quiet"]:
        return
    if not options["as_json"]:
        tables = [summary_table(sets), *([ahead_table(sets)] if len(sets) > 1 else [])]
        for table in [*tables, *(sequence_table(one) for one in sets if options["each"])]:
            print_data(table, in_parts=True)
    for line in lines:
        console.print(line, markup=False, soft_wrap=not console.is_terminal)


def _rows(model: str | None) -> list[Any]:
    """Return the registry's rows of `model` or `model:variant`. Raises ModelError."""
    if model is None:
        return []
    try:
        from ..models import registry
    except ImportError as error:
        raise UsageError(f"--reproduce needs {error.name}: pip install 'trk-engine[export]'") from None
    name, _, variant = model.partition(":")
    return [registry.find(name, variant)] if variant else registry.variants(name)


def _print_published(rows: list[Any], sets: Many[OnSet], data: DataSet, subset: str | None) -> None:
    from ..bench.machine import machine, versions
    from ..bench.published import compare_published, differences

    found = compare_published(rows, sets, data, subset)
    if not found:
        console.print("Nothing was published of it that the registry knows")
        return
    print_data(published_table(found))
    about = {**machine(), **versions()}
    console.print(f"Ours on {', '.join(f'{name} {value}' for name, value in about.items() if value)}", markup=False)
    for line in differences(found, sets):
        console.print(line, markup=False, soft_wrap=not console.is_terminal)


def _failures(sets: Many[OnSet], left_out: dict[str, str]) -> int:
    """Tell in one line each what is not among the figures."""
    for name, error in left_out.items():
        click.echo(f"trk-eval: left out {name}: {error}", err=True)
    for one in sets:
        for name, error in one.failed.items():
            click.echo(f"trk-eval: {one.spec.label} failed on {name}: {error}", err=True)
    return EXIT_ERROR if left_out or any(one.failed for one in sets) else 0


def main() -> None:
    """Entry point of trk-eval."""
    sys.exit(run(command))
