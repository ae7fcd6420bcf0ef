"""A PyTorch module becomes one checked ONNX graph."""

import contextlib
import io
import logging
import warnings
from collections.abc import Sequence
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from ..errors import ExportError
from .operators import kept_operators

OPSET = 18
MAP_PREFIX = "map_"
"""Of the raw maps among a search graph's outputs."""


def to_onnx(
    module: nn.Module,
    args: tuple[Tensor, ...],
    inputs: Sequence[str],
    outputs: Sequence[str],
    open_axes: Any = None,
) -> onnx.ModelProto:
    """Return `module` as an ONNX model, run once through onnx.checker. Raises ExportError.

    Shapes are fixed but for `open_axes`, as torch.export takes them (`dynamic_shapes`). Batch norms are folded and
    constants computed by the exporter's own optimiser.
    """
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.no_grad(), kept_operators():
        warnings.simplefilter("ignore")
        try:
            # PyTorch's exporter to ONNX takes no open axes of a module with *args: what it is given is traced before.
            traced = torch.export.export(module, args, dynamic_shapes=open_axes) if open_axes else None
            program = torch.onnx.export(
                traced or module,
                () if traced else args,
                input_names=list(inputs),
                output_names=list(outputs),
                opset_version=OPSET,
                dynamo=True,
                optimize=True,
                verbose=False,
            )
        except (torch.onnx.OnnxExporterError, torch._dynamo.exc.UserError) as error:
            raise ExportError(f"PyTorch can't export the network: {str(error).strip().splitlines()[0]}") from error
    assert program is not None
    model = program.model_proto
    used = {name for node in model.graph.node for name in node.input}
    unused = set(inputs) - used
    if unused:
        raise ExportError(f"input {sorted(unused)[0]!r} has no effect on the graph")
    model.producer_name = "trk"
    if open_axes:
        _name_axes(model, open_axes)
    _without_traces(model)
    check(model)
    return model


def _name_axes(model: onnx.ModelProto, open_axes: Sequence[Any]) -> None:
    """Give open axes of the inputs the names they were asked for under; the exporter has names of its own."""
    names: dict[str, str] = {}
    for value, axes in zip(model.graph.input, open_axes, strict=False):
        for at, axis in axes.items() if isinstance(axes, dict) else ():
            names[value.type.tensor_type.shape.dim[at].dim_param] = axis.__name__
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in names:
                dim.dim_param = names[dim.dim_param]


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
