"""The search branch for several targets at once: one more graph for each number of them, compared target by target."""

from collections.abc import Mapping

import numpy as np
import onnx
import torch
from torch import Tensor

from .graphs import SearchGraph
from .onnx_graph import MAP_PREFIX, to_onnx
from .verify import HALF_SHARE, MAP_SHARE, Agreement, arrays, compare_step, run

APART = 3
"""Pixels that the crops of neighbouring targets are turned by, so that none can be taken for another."""


def for_targets(
    targets: int,
    module: SearchGraph,
    inputs: Mapping[str, Tensor],
    single: onnx.ModelProto,
    agreement: Agreement,
    *,
    half: bool = False,
) -> onnx.ModelProto:
    """Return the graph of `module` for `targets` at once; `inputs` are those of one, `single` is its graph.

    The first axis of crop, size and kernels is that of the targets. How far maps are from those of single runs, and the
    step from PyTorch's on the same maps, goes into `agreement`; `half`: layers are FP16.
    """
    each = [_turned(inputs, number) for number in range(targets)]
    together = {
        name: values if name == "params" else torch.cat([one[name] for one in each]) for name, values in inputs.items()
    }
    names = [value.name for value in single.graph.output]
    model = to_onnx(module, tuple(together.values()), list(together), names)
    found = run(model, arrays(together))
    alone = [run(single, arrays(one)) for one in each]
    label = f"@{targets} targets"
    maps = [name for name in names if name.startswith(MAP_PREFIX)]
    for name in maps:
        expected = np.concatenate([one[name] for one in alone])
        share = HALF_SHARE if half else MAP_SHARE
        agreement.compare(name + label, found[name], expected, share * max(float(np.abs(expected).max()), 1e-6))
    compare_step(agreement, module.step, [found[n] for n in maps], found, together["size"], together["params"], label)
    return model


def _turned(inputs: Mapping[str, Tensor], number: int) -> dict[str, Tensor]:
    return {**inputs, "crop": inputs["crop"].roll(number * APART, 1), "size": inputs["size"] * (1 + 0.01 * number)}
