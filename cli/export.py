"""trk-export: a model and weights become a bundle."""

import sys
from pathlib import Path
from typing import Literal

import click

from .. import __version__
from ..engine.manifest import Manifest
from ..errors import BackendError, UsageError
from .build import check_engine, export_for_engine
from .command import run, traceback_option
from .tables import console, half_line, model_table, parity_table, print_data, range_table, say
from .values import parse_settings

EPILOG = """\b
Examples:
  trk-export --model nanotrack --weights nanotrackv3.pth --out nanotrack.trk
  trk-export --model siamrpnpp --variant mobilenetv2 --random --out speed/
"""

NO_BUNDLE = (".onnx", ".pth", ".pt", ".engine", ".zip")
"""Suffixes of what some expect to be written."""


@click.command("trk-export", epilog=EPILOG)
@click.option("--model", help="Model to export; --list shows all.")
@click.option("--variant", help="Variant of the model. Default: its first.")
@click.option(
    "--weights", type=click.Path(path_type=Path), help="Checkpoint; its keys tell the model where none is named."
)
@click.option("--random", "randomly", is_flag=True, help="Seeded random weights, for speed tests: they track nothing.")
@click.option("--seed", default=0, show_default=True, help="Seed of --random.")
@click.option(
    "--preset", help="Set of hyper-parameters to make the bundle's default, published or tuned here, such as vot2017."
)
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Override one hyper-parameter.")
@click.option(
    "--recentre",
    is_flag=True,
    help="Add to each box what rounding moved its crop by: nearer by half a pixel, no longer upstream's to the digit.",
)
@click.option("--maps", is_flag=True, help="Keep the raw score and box maps among the search graph's outputs.")
@click.option(
    "--precision",
    type=click.Choice(["fp32", "fp16"]),
    default="fp32",
    show_default=True,
    help="Type of the layers; FP16 leaves in FP32 what needs it.",
)
@click.option("--ranges", is_flag=True, help="With --precision fp16: print the largest value at every layer.")
@click.option(
    "--correlation",
    metavar="FORM",
    help="How correlations are written in the graphs: grouped, shift, gather or toeplitz. Default: what the runtime "
    "takes best.",
)
@click.option(
    "--targets",
    type=click.IntRange(2, 1024),
    multiple=True,
    metavar="N",
    help="Also write search graphs for N targets at once, for a GPU. May be given more than once.",
)
@click.option(
    "--winograd",
    is_flag=True,
    help="Write large 3x3 convolutions in a form that ONNX Runtime on a CPU runs faster; not for GPUs.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder or .trk file to write. Default: bundles/MODEL-VARIANT."
)
@click.option(
    "--safetensors",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write the weights as safetensors, under upstream's keys: no pickle any more.",
)
@click.option(
    "--engine", type=click.Choice(["tensorrt"]), help="Also build plans into the bundle's folder, for this engine."
)
@click.option(
    "--cc",
    "capabilities",
    multiple=True,
    metavar="N.N",
    help="With --engine: compute capability to build for, such as 8.6, or current: the GPU at hand (TensorRT-RTX). May "
    "be given more than once.",
)
@click.option("--list", "listing", is_flag=True, help="List the models and stop.")
@traceback_option
@click.version_option(__version__)
def command(
    model: str | None,
    variant: str | None,
    weights: Path | None,
    randomly: bool,
    seed: int,
    preset: str | None,
    settings: tuple[str, ...],
    recentre: bool,
    maps: bool,
    precision: Literal["fp32", "fp16"],
    ranges: bool,
    correlation: str | None,
    targets: tuple[int, ...],
    winograd: bool,
    out: Path | None,
    safetensors: Path | None,
    engine: str | None,
    capabilities: tuple[str, ...],
    listing: bool,
) -> int:
    """Write a bundle: the template branch and the search branch as ONNX graphs, checked against PyTorch."""
    _require_torch()
    from ..models.cost import cost
    from ..models.registry import ROWS, find, variants

    if listing:
        print_data(model_table([(row, cost(row)) for row in (variants(model) if model else ROWS)]))
        return 0
    from ..export.bundle import export_bundle
    from ..export.weights import choose
    from ..models.correlation_forms import RUNTIME_FORMS
    from ..weights.checkpoint import write_safetensors

    if randomly and weights:
        raise UsageError("--random and --weights exclude each other")
    if not model and not weights:
        raise UsageError("no model: name one as --model (trk-export --list shows all), or give --weights")
    if winograd and (precision != "fp32" or engine):
        raise UsageError("--winograd is for ONNX Runtime on a CPU, in FP32: leave --precision and --engine out")
    if out and out.suffix.lower() in NO_BUNDLE:
        raise UsageError(
            f"--out {out} is to be a folder or a .trk file: a bundle is two graphs and what belongs to them"
        )
    check_engine(engine, capabilities, out)
    if ranges and precision != "fp16":
        raise UsageError("--ranges says what FP16 has to hold: it goes with --precision fp16")
    if randomly and safetensors:
        raise UsageError("--safetensors keeps the weights of a checkpoint: --random has none")
    if variant and not model:
        raise UsageError(f"--variant {variant} of which model? Name it as --model")
    if randomly:
        row, net, provenance = find(model or "", variant), None, None
    else:
        row, net, provenance = choose(model, variant, weights)
        if safetensors:
            write_safetensors(safetensors, net.state_dict(), {"model": row.name, "licence": provenance.licence})
    row = row.recentred() if recentre else row
    target = out or Path("bundles") / f"{row.model}-{row.variant}"
    forms = (correlation,) if correlation else RUNTIME_FORMS[engine or "onnxruntime"]

    def write(form: str) -> Manifest:
        return export_bundle(
            row,
            target,
            net,
            provenance,
            preset=preset,
            params=parse_settings(settings),
            maps=maps,
            correlation=form,
            precision=precision,
            targets=targets,
            winograd=winograd,
            seed=seed,
            report=lambda line: say(line, "dim"),
        )

    manifest = export_for_engine(write, forms, target, capabilities) if engine else write(forms[0])
    console.print(parity_table(manifest))
    if manifest.half:
        if ranges:
            print_data(range_table(manifest.half))
        say(half_line(manifest.half))
    say(f"{manifest.title}: {manifest.cost['search_gflop']:.2f} GFLOP a frame, weights {manifest.weights.origin}")
    if manifest.weights.notice or manifest.weights.licence:
        say(f"licence of the weights: {manifest.weights.licence}")
    click.echo(str(target))
    return 0


def _require_torch() -> None:
    try:
        import onnx  # noqa: F401
        import torch  # noqa: F401
    except ImportError as error:
        raise BackendError(
            f"exporting needs PyTorch and onnx ({error.name} is missing): pip install 'trk-engine[export]'"
        ) from None


def main() -> None:
    """Entry point of trk-export."""
    sys.exit(run(command))
