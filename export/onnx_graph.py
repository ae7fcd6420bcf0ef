"""A PyTorch module becomes one checked ONNX graph."""

import contextlib
import io
import logging
import warnings
from collections.abc import Sequence

import onnx
import torch
from torch import Tensor, nn

from ..errors import ExportError
from .operators import kept_operators

OPSET = 18
MAP_PREFIX = "map_"
"""Of the raw maps among a search graph's outputs."""


def to_onnx(
    module: nn.Module, args: tuple[Tensor, ...], inputs: Sequence[str], outputs: Sequence[str]
) -> onnx.ModelProto:
    """Return `module` as an ONNX model with fixed shapes, run once through onnx.checker. Raises ExportError.

    Batch norms are folded and constants computed by the exporter's own optimiser.
    """
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.no_grad(), kept_operators():
        warnings.simplefilter("ignore")
        try:
            program = torch.onnx.export(
                module,
                args,
                input_names=list(inputs),
                output_names=list(outputs),
                opset_version=OPSET,
                dynamo=True,
                optimize=True,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            raise ExportError(f"PyTorch can't export the network: {str(error).strip().splitlines()[0]}") from error
    assert program is not None
    model = program.model_proto
    used = {name for node in model.graph.node for name in node.input}
    unused = set(inputs) - used
    if unused:
        raise ExportError(f"input {sorted(unused)[0]!r} has no effect on the graph")
    model.producer_name = "trk"
    _without_traces(model)
    check(model)
    return model


def check(model: onnx.ModelProto) -> None:
    """Raise ExportError unless onnx.checker accepts `model`, shapes inferred."""
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"onnx.checker refuses the graph: {str(error).splitlines()[0]}") from None


def without_outputs(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """Return a copy of `model` that no longer gives out `names`; they stay inside, as intermediate values."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    kept = [value for value in copy.graph.output if value.name not in names]
    del copy.graph.output[:]
    copy.graph.output.extend(kept)
    return copy


def _without_traces(model: onnx.ModelProto) -> None:
    """Drop the exporter's notes on Python source lines: they name paths of the machine and are most of the text."""
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output, *model.graph.initializer):
        del value.metadata_props[:]
