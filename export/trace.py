"""Both branches of a network become ONNX graphs that were compared with PyTorch on a real crop."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ..models.network import SiameseNet
from ..models.row import Row
from .graphs import SearchGraph, TemplateGraph, image
from .many import for_targets
from .onnx_graph import MAP_PREFIX, to_onnx, without_outputs
from .reference import Crops
from .verify import Agreement, Array, arrays, compare_step, run
from .widen import widened
from .winograd import by_winograd

Report = Callable[[str], None]


@dataclass
class Traced:
    """The graphs of one bundle and what was measured of them."""

    template: onnx.ModelProto
    searches: list[onnx.ModelProto]
    batches: list[dict[int, onnx.ModelProto]]
    """For each search graph those for several targets at once, by their number."""
    agreement: Agreement
    template_flop: float
    search_flop: float


@dataclass
class Written:
    """A network as it is exported."""

    net: SiameseNet
    """Fused, correlations in their form, layers in their types."""
    single: SiameseNet
    """The same in FP32: `net` itself unless it is FP16."""
    twin: SiameseNet
    """The same in the types of `net`, to be run in PyTorch: `net` itself unless it is FP16."""

    @property
    def half(self) -> bool:
        """Whether it is FP16."""
        return self.net is not self.single


def trace(
    net: SiameseNet,
    written: Written,
    row: Row,
    crops: Crops,
    params: Tensor,
    maps: bool,
    report: Report,
    targets: Sequence[int] = (),
    winograd: bool = False,
) -> Traced:
    """Return the graphs of `written`, compared with `net`, the plain network in FP32.

    Raises ExportError where they disagree. `maps` leaves the raw maps among the outputs. `targets`: numbers of targets
    to make search graphs for besides those for one. `winograd`: large convolutions of the search graph for one target
    are written in that form.
    """
    agreement = Agreement()
    with torch.no_grad():
        report(f"tracing the template branch of {row.name}")
        template_inputs = {"crop": crops.template} | ({"size": crops.size} if net.template_takes_size else {})
        template = _traced(TemplateGraph(written.net, row.channels).eval(), template_inputs, written.net.kernel_names)
        template_flop = _flop(TemplateGraph(written.single, row.channels), template_inputs)
        kernels = run(template, arrays(template_inputs))
        expected, twins = (
            TemplateGraph(network, row.channels)(*template_inputs.values())
            for network in (written.single, written.twin)
        )
        for name, values, twin in zip(written.net.kernel_names, expected, twins, strict=True):
            _compare(agreement, written, name, kernels[name], values, twin)

        plain_kernels = TemplateGraph(net, row.channels)(*template_inputs.values())
        kernel_inputs = {name: torch.from_numpy(np.array(kernels[name])) for name in written.net.kernel_names}
        map_names = [MAP_PREFIX + name for name in written.net.map_names]
        graphs: list[onnx.ModelProto] = []
        batches: list[dict[int, onnx.ModelProto]] = []
        search_flop = 0.0
        for crop, size in crops.searches:
            report(f"tracing the search branch at {crop.shape[1]} px")
            plain_maps = net.search(image(crop, row.channels), *plain_kernels)
            step = row.step(plain_maps[0].shape[-1], crop.shape[1]).eval()
            module = SearchGraph(written.net, step, row.channels).eval()
            inputs = {"crop": crop, "size": size, "params": params, **kernel_inputs}
            model = _traced(module, inputs, ["box", "score", "best", *map_names])
            if winograd:
                direct, model = model, by_winograd(model)
                if model is direct:
                    report(f"no convolution of {row.name} at {crop.shape[1]} px gains by Winograd's form")
            single = SearchGraph(written.single, step, row.channels).eval()
            search_flop = search_flop or _flop(single, {**inputs, **dict(zip(kernel_inputs, expected, strict=True))})
            outputs = run(model, arrays(inputs))
            twin_maps = (
                written.twin.search(image(crop, row.channels), *kernel_inputs.values()) if written.half else plain_maps
            )
            for name, plain, twin in zip(map_names, plain_maps, twin_maps, strict=True):
                label = name if len(crops.searches) == 1 else f"{name}@{crop.shape[1]}"
                _compare(agreement, written, label, outputs[name], plain, twin)
            compare_step(agreement, step, [outputs[name] for name in map_names], outputs, size, params)
            graphs.append(model if maps else without_outputs(model, map_names))
            batches.append({})
            for number in targets:
                report(f"tracing the search branch at {crop.shape[1]} px for {number} targets")
                together = for_targets(number, module, inputs, model, agreement, half=written.half)
                batches[-1][number] = without_outputs(together, map_names)
    agreement.require()
    return Traced(template, graphs, batches, agreement, template_flop, search_flop)


def _compare(agreement: Agreement, written: Written, name: str, ours: Array, plain: Tensor, twin: Tensor) -> None:
    if written.half:
        agreement.compare_half(name, ours, plain.numpy(), twin.float().numpy())
    else:
        agreement.compare_scaled(name, ours, plain.numpy())


def _traced(module: nn.Module, inputs: dict[str, Tensor], outputs: Sequence[str]) -> onnx.ModelProto:
    return widened(to_onnx(module, tuple(inputs.values()), list(inputs), outputs))


def _flop(module: nn.Module, inputs: dict[str, Tensor]) -> float:
    with FlopCounterMode(display=False) as counter:
        module(*inputs.values())
    return float(counter.get_total_flops())
