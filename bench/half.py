"""Where a network loses precision in FP16: part by part, by what is stored and by how sums are made.

    python -m trk.bench.half --model siamrpnpp --variant resnet50
    python -m trk.bench.half --weights nanotrackv2.pth

For each part of the network, the root mean square error of the maps, by their standard deviation, when that part alone
is FP16, when all but it is, and when it alone is and its convolutions add up in FP16 as well, sixteen products at a
time, as half-precision accumulators of tensor cores do. What runtimes do lies between the first and the last. Runs in
PyTorch on the CPU, on the picture that exports are checked on.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..engine.geometry import Geometry
from ..export.bundle import searches_of
from ..export.random_weights import randomise
from ..export.ranges import largest
from ..export.reference import Crops, reference_crops
from ..export.typed import folded, forward, half_layers, typed
from ..export.weights import choose
from ..models.network import SiameseNet
from ..models.registry import find
from ..models.row import Row

BLOCK = 16
"""Products that are summed exactly before the sum is rounded: one step of a tensor core."""

Maps = tuple[Tensor, ...]


def half_sums(net: SiameseNet, chosen: Callable[[str], bool]) -> SiameseNet:
    """Return `net`, emulated FP16, with the convolutions that `chosen` names adding up in FP16."""
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d) and module.groups == 1 and chosen(name):
            module.forward = _Summed(module)  # type: ignore[assignment]
    return net


class _Summed:
    """A convolution whose running sum is rounded to FP16 after every BLOCK products."""

    def __init__(self, conv: nn.Conv2d) -> None:
        self.conv = conv

    def __call__(self, x: Tensor) -> Tensor:
        conv = self.conv
        down, across = (int(side) for side in conv.padding)
        (tall, wide), (rows, columns) = conv.stride, conv.dilation
        x = F.pad(x, (across, across, down, down))
        outputs, inputs, h, w = conv.weight.shape
        height = (x.shape[2] - rows * (h - 1) - 1) // tall + 1
        width = (x.shape[3] - columns * (w - 1) - 1) // wide + 1
        total = x.new_zeros(x.shape[0], outputs, height * width)
        for i in range(h):
            for j in range(w):
                taken = x[:, :, i * rows :: tall, j * columns :: wide][:, :, :height, :width].flatten(2)
                for start in range(0, inputs, BLOCK):
                    block = slice(start, start + BLOCK)
                    total = (total + conv.weight[:, block, i, j] @ taken[:, block]).half().float()
        if conv.bias is not None:
            total = (total + conv.bias[:, None]).half().float()
        return total.reshape(x.shape[0], outputs, height, width)


def parts(names: Sequence[str]) -> list[str]:
    """Return the parts of a network, the first two words of its layers' names, in order."""
    return list(dict.fromkeys(".".join(name.split(".")[:2]) for name in names))


def error(maps: Maps, expected: Maps) -> float:
    """Return the largest error of a map: root mean square, by the map's standard deviation."""
    pairs = zip(maps, expected, strict=True)
    return max(float((ours.float() - theirs).square().mean().sqrt() / theirs.std()) for ours, theirs in pairs)


def table(net: SiameseNet, crops: Crops, channels: str) -> list[str]:
    """Return the table of `net` (fused, FP32) as Markdown."""
    single = folded(net, crops, channels)
    ranges = largest(single, [crops], channels)
    layers = [name for name in half_layers(single) if name in ranges]
    expected = forward(single, crops, channels)[1][0]

    def measured(half: Callable[[str], bool], summed: Callable[[str], bool] = lambda _: False) -> str:
        wide = [name for name in layers if not half(name)]
        made = half_sums(typed(single, wide, emulated=True), summed)
        return f"{error(forward(made, crops, channels)[1][0], expected):.5f}"

    rows = ["| part | largest value | FP16 | all but it | FP16, sums too |", "|---|---|---|---|---|"]
    rows.append(
        f"| everything | {max(ranges.values()):.4g} | {measured(lambda _: True)} | - | "
        f"{measured(lambda _: True, lambda _: True)} |"
    )
    for part in parts(layers):

        def inside(name: str, part: str = part) -> bool:
            return name == part or name.startswith(part + ".")

        def outside(name: str, part: str = part) -> bool:
            return not (name == part or name.startswith(part + "."))

        highest = max(value for name, value in ranges.items() if inside(name))
        rows.append(
            f"| `{part}` | {highest:.4g} | {measured(inside)} | {measured(outside)} | {measured(inside, inside)} |"
        )
    return rows


def network(model: str | None, variant: str | None, weights: Path | None, seed: int) -> tuple[Row, SiameseNet, Crops]:
    """Return the row, its network with the weights asked for (random without any), and the reference crops."""
    row, net = (find(model or "", variant), None) if weights is None else choose(model, variant, weights)[:2]
    geometry = Geometry.model_validate(row.geometry_for(row.preset))
    crops = reference_crops(geometry, searches_of(row, row.preset), row.params.get("scale_step", 1.0))
    if net is None:
        net = row.build()
        randomise(net, seed, crops, row.channels)
    return row, net.eval(), crops


def main(arguments: list[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m trk.bench.half", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model")
    parser.add_argument("--variant")
    parser.add_argument("--weights", type=Path, help="Checkpoint. Default: random weights.")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    row, net, crops = network(options.model, options.variant, options.weights, options.seed)
    print(row.name, *table(net.fused().eval(), crops, row.channels), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
