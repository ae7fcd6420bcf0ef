"""trk-train: image pairs become the weights of a model."""

import sys
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from .. import __version__
from ..errors import BackendError, UsageError
from .command import run
from .tables import console, progress_bar

EPILOG = """\b
Examples:
  trk-train --model siamrpnpp --variant light --data shards:trainset --val validation --out runs/light
  trk-train --model siamfc --data got10k:GOT-10k/train --steps 50000 --batch 8 --device cuda --amp --out runs/fc
  trk-train --resume --out runs/light
"""


@click.command("trk-train", epilog=EPILOG)
@click.option("--model", help="Model to train; trk-export --list shows all.")
@click.option("--variant", help="Variant of the model. Default: its first.")
@click.option(
    "--data",
    multiple=True,
    metavar="LAYOUT:PATH",
    help="Training data: got10k, lasot, trackingnet, coco, vid, ytbb, csv, shards, images. Repeatable.",
)
@click.option("--use", "uses", multiple=True, help="Uses that a source of shards may state. Default: permissive, web.")
@click.option("--val", type=click.Path(path_type=Path), help="Folder of clips with ground truth to choose by.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the run.")
@click.option(
    "--init",
    multiple=True,
    metavar="[PART=]FILE",
    help="Weights or a run's checkpoint to start from; parts may be missing. trunk=FILE takes a part. Repeatable.",
)
@click.option(
    "--teacher",
    metavar="BUNDLE|WEIGHTS|ROW",
    help="A tracker whose maps the model is to learn: a bundle with its maps, weights, or a model that ships its own.",
)
@click.option(
    "--stage",
    type=click.Choice(["trunk", "heads", "both", "whole"]),
    default="whole",
    show_default=True,
    help="With --teacher, what learns: trunk, heads (on features that --cache keeps), both apart, or the whole.",
)
@click.option("--steps", default=20000, show_default=True, help="Batches to learn from.")
@click.option("--batch", default=32, show_default=True, help="Pairs a batch.")
@click.option("--shift", default=64.0, show_default=True, help="Largest shift of search crops, in their pixels.")
@click.option("--rate", type=float, help="Learning rate. Default: the family's.")
@click.option("--val-every", default=2000, show_default=True, help="Steps between validations.")
@click.option("--val-runs", default=2, show_default=True, help="Runs of each clip in a validation.")
@click.option("--seed", default=0, show_default=True, help="Seed of sampling and of new parameters.")
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda.")
@click.option("--amp", is_flag=True, help="Mixed precision: bfloat16 on a CPU, float16 on CUDA.")
@click.option("--cache", type=click.Path(path_type=Path), help="Keep the features of a frozen trunk in this folder.")
@click.option("--pairs", default=20000, show_default=True, help="With --stage heads: pairs that --cache keeps.")
@click.option("--rounds", default=2, show_default=True, help="With --cache: times that every track is cut anew.")
@click.option("--resume", is_flag=True, help="Go on with the run in --out, with the options that it was started with.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
@click.version_option(__version__)
def command(out: Path, resume: bool, quiet: bool, **options: Any) -> int:
    """Train a model of the registry; kill it whenever you like, --resume goes on exactly."""
    _require_torch()
    from ..train.session import WEIGHTS, Session, read_options, write_options

    if resume:
        _refuse_others(options)
        # Options that came after a run was begun have their defaults in it.
        options |= read_options(out)
    elif not options["model"]:
        raise UsageError("no model: name one as --model (trk-export --list shows all)")
    elif not options["data"]:
        raise UsageError("no data: name a folder as --data, such as --data got10k:GOT-10k/train")
    session = Session(out, options, resume=resume)
    validation = session.validation()
    with progress_bar(not quiet) as progress:
        task = progress.add_task("reading", total=None)
        training = session.prepare(lambda done, total: progress.update(task, completed=done, total=total))
        if not resume:
            write_options(out, options)
        if resume:
            training.resume()
        progress.update(task, description="training", completed=training.step, total=training.settings.steps)

        def told(step: int, means: dict[str, float]) -> None:
            progress.update(task, completed=step, description=f"loss {means['loss']:.3f}")

        training.train(validation, told)
    session.finish(training, validation)
    if not quiet:
        best = f", best accuracy {max(validation.best.values()):.4f}" if validation and validation.best else ""
        console.print(f"{training.step} steps in {training.seconds:.0f} s of training{best}")
        console.print(f"a bundle of it: trk-export --weights {out / WEIGHTS} --out tracker.trk", soft_wrap=True)
    click.echo(str(out))
    return 0


def _refuse_others(options: dict[str, Any]) -> None:
    """Raise UsageError where an option was given that a run has from its start."""
    context = click.get_current_context()
    given = [name for name in options if context.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    if given:
        words = next(parameter.opts[0] for parameter in context.command.params if parameter.name == given[0])
        raise UsageError(
            f"--resume goes on with the options of the run's start: leave {words} out, or begin another run"
        )


def _require_torch() -> None:
    try:
        import torch  # noqa: F401
    except ImportError:
        raise BackendError("training needs PyTorch: pip install 'trk-engine[train]'") from None


def main() -> None:
    """Entry point of trk-train."""
    sys.exit(run(command))
