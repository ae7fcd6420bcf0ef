"""Both branches of a network become ONNX graphs that were compared with PyTorch on a real crop."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ..models.correlation import GROUPED
from ..models.network import SiameseNet
from ..models.row import Row
from .forms import in_form
from .graphs import SearchGraph, TemplateGraph, image
from .onnx_graph import to_onnx, without_outputs
from .reference import Crops
from .verify import Agreement, arrays, compare_step, run

Report = Callable[[str], None]
MAP_PREFIX = "map_"


@dataclass
class Traced:
    """The graphs of one bundle and what was measured of them."""

    template: onnx.ModelProto
    searches: list[onnx.ModelProto]
    agreement: Agreement
    template_flop: float
    search_flop: float


def trace(
    net: SiameseNet, row: Row, crops: Crops, params: Tensor, maps: bool, report: Report, form: str = GROUPED
) -> Traced:
    """Return the graphs of `net`, batch norms folded and branches fused.

    Raises ExportError where they disagree with `net`. `maps` leaves the raw maps among the outputs; `form` is
    how correlations are written.
    """
    fused = in_form(net.fused().eval(), form, crops, row.channels)
    agreement = Agreement()
    with torch.no_grad():
        report(f"tracing the template branch of {row.name}")
        template_inputs = {"crop": crops.template} | ({"size": crops.size} if net.template_takes_size else {})
        module: nn.Module = TemplateGraph(fused, row.channels).eval()
        template = _traced(module, template_inputs, fused.kernel_names)
        template_flop = _flop(module, template_inputs)
        kernels = run(template, arrays(template_inputs))
        expected = module(*template_inputs.values())
        for name, values in zip(fused.kernel_names, expected, strict=True):
            agreement.compare_scaled(name, kernels[name], values.numpy())

        plain_kernels = TemplateGraph(net, row.channels)(*template_inputs.values())
        kernel_inputs = {name: torch.from_numpy(np.array(kernels[name])) for name in fused.kernel_names}
        map_names = [MAP_PREFIX + name for name in fused.map_names]
        graphs, search_flop = [], 0.0
        for crop, size in crops.searches:
            report(f"tracing the search branch at {crop.shape[1]} px")
            plain_maps = net.search(image(crop, row.channels), *plain_kernels)
            step = row.step(plain_maps[0].shape[-1], crop.shape[1]).eval()
            module = SearchGraph(fused, step, row.channels).eval()
            inputs = {"crop": crop, "size": size, "params": params, **kernel_inputs}
            model = _traced(module, inputs, ["box", "score", "best", *map_names])
            search_flop = search_flop or _flop(module, inputs)
            outputs = run(model, arrays(inputs))
            for name, plain in zip(map_names, plain_maps, strict=True):
                label = name if len(crops.searches) == 1 else f"{name}@{crop.shape[1]}"
                agreement.compare_scaled(label, outputs[name], plain.numpy())
            compare_step(agreement, step, [outputs[name] for name in map_names], outputs, size, params)
            graphs.append(model if maps else without_outputs(model, map_names))
    agreement.require()
    return Traced(template, graphs, agreement, template_flop, search_flop)


def _traced(module: nn.Module, inputs: dict[str, Tensor], outputs: Sequence[str]) -> onnx.ModelProto:
    return to_onnx(module, tuple(inputs.values()), list(inputs), outputs)


def _flop(module: nn.Module, inputs: dict[str, Tensor]) -> float:
    with FlopCounterMode(display=False) as counter:
        module(*inputs.values())
    return float(counter.get_total_flops())
