"""Which layers of a network go into FP16 and which stay in FP32: by their ranges, then by what boxes do."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ..engine.manifest import HalfPrecision
from ..errors import ExportError
from ..models.correlation import Correlation, Depthwise, Full, Pixelwise
from ..models.network import SiameseNet
from .bisect import guilty
from .graphs import image
from .ranges import HEADROOM, largest, too_large
from .reference import Crops
from .typed import ALWAYS_WIDE, LARGEST, folded, forward, half_layers, layers, typed

Report = Callable[[str], None]
Steps = Sequence[nn.Module]
"""The family's step of each search graph."""

BOX_DRIFT = 0.005
"""Mean change, over the crops, of the box's overlap with the target, from which layers are pinned."""


@dataclass
class Plan:
    """A network folded for FP16, and which of its layers stay in FP32."""

    net: SiameseNet
    """Folded, still FP32."""
    wide: dict[str, str] = field(default_factory=dict)
    """Layers pinned to FP32, and why."""
    ranges: dict[str, float] = field(default_factory=dict)
    """Largest absolute value at each layer on the crops, in FP32."""
    box_drift: float = 0.0
    map_drift: float = 0.0
    """Largest, over the maps, of the root mean square difference from FP32 by the map's standard deviation."""
    wide_share: float = 0.0
    """Share of the search branch's multiply-adds that stay in FP32."""

    def record(self) -> HalfPrecision:
        """Return what the manifest keeps of this."""
        return HalfPrecision(
            wide=self.wide,
            wide_share=self.wide_share,
            ranges={name: float(f"{value:.4g}") for name, value in self.ranges.items()},
            box_drift=self.box_drift,
            map_drift=self.map_drift,
        )

    def typed(self) -> SiameseNet:
        """Return the network in its types, for export."""
        return typed(self.net, self.wide)

    def emulated(self) -> SiameseNet:
        """Return the same to be run here."""
        return typed(self.net, self.wide, emulated=True)


def plan(
    net: SiameseNet,
    steps: Steps,
    samples: Sequence[Crops],
    params: Tensor,
    channels: str,
    *,
    trained: bool,
    report: Report = lambda _: None,
) -> Plan:
    """Decide the types of `net` (fused, FP32) on `samples`.

    Layers whose values come near the end of FP16 stay in FP32. If boxes still drift by more than BOX_DRIFT, layers are
    bisected and the guilty ones pinned too; not where the network is not `trained`, since its boxes mean nothing.
    Raises ExportError where nothing helps.
    """
    made = Plan(folded(net, samples[0], channels))
    made.ranges = largest(made.net, samples, channels)
    half = [name for name in half_layers(made.net) if name in made.ranges]
    for name in too_large(made.ranges):
        if name in half:
            made.wide[name] = (
                f"values up to {made.ranges[name]:.3g}, FP16 ends at {LARGEST:.0f}, {HEADROOM:.0f}x kept free"
            )
    expected = [forward(made.net, crops, channels)[1] for crops in samples]

    def drift(pinned: Sequence[str]) -> tuple[float, float]:
        network = typed(made.net, {*made.wide, *pinned}, emulated=True)
        return differences(network, steps, samples, params, channels, expected)

    made.box_drift, made.map_drift = drift([])
    if trained and made.box_drift > BOX_DRIFT:
        report(f"boxes drift by {made.box_drift:.4f}, {BOX_DRIFT} is allowed: looking for the layers that do it")
        free = [name for name in half if name not in made.wide]
        found = guilty(free, lambda pinned: drift(pinned)[0] <= BOX_DRIFT)
        if found is None:
            raise ExportError(
                f"in FP16 the boxes drift by {made.box_drift:.3g} and no layer in FP32 helps: export --precision fp32"
            )
        made.wide |= dict.fromkeys(found, f"boxes drift by {made.box_drift:.2g} without it")
        made.box_drift, made.map_drift = drift([])
    made.wide_share = _share(made, samples[0], channels)
    for name, why in made.wide.items():
        report(f"{name} stays in FP32: {why}")
    if made.wide:
        report(f"{len(made.wide)} of {len(half)} layers pinned; {made.wide_share:.1%} of the multiply-adds are in FP32")
    return made


@torch.no_grad()
def differences(
    net: SiameseNet,
    steps: Steps,
    samples: Sequence[Crops],
    params: Tensor,
    channels: str,
    expected: Sequence[list[tuple[Tensor, ...]]],
) -> tuple[float, float]:
    """Return how far `net` is from the `expected` maps of each sample: in overlap with the target, and in maps.

    A box counts by its overlap with the true one: where two places are judged alike, either may be chosen.
    """
    lost, worst = [], 0.0
    for crops, references in zip(samples, expected, strict=True):
        _, found = forward(net, crops, channels)
        for step, (_, size), truth, maps, reference in zip(
            steps, crops.searches, crops.targets, found, references, strict=True
        ):
            maps = tuple(values.float() for values in maps)
            for ours, theirs in zip(maps, reference, strict=True):
                error = float((ours - theirs).square().mean().sqrt() / theirs.std().clamp_min(1e-12))
                worst = max(worst, error if error == error else float("inf"))
            overlaps = [_overlap(step(*values, size, params)[0], truth) for values in (maps, reference)]
            lost.append(abs(overlaps[0] - overlaps[1]))
    return sum(lost) / len(lost), worst


def _overlap(a: Tensor, b: Tensor) -> float:
    """Intersection over union of two boxes [1, 4]: centre x, y, w, h. Zero where one is not finite."""
    sides = [
        (torch.minimum(a[0, i] + a[0, i + 2] / 2, b[0, i] + b[0, i + 2] / 2))
        - torch.maximum(a[0, i] - a[0, i + 2] / 2, b[0, i] - b[0, i + 2] / 2)
        for i in (0, 1)
    ]
    inside = float(sides[0].clamp_min(0) * sides[1].clamp_min(0))
    overlap = inside / float(a[0, 2] * a[0, 3] + b[0, 2] * b[0, 3] - inside)
    return overlap if overlap == overlap else 0.0


@torch.no_grad()
def _share(made: Plan, crops: Crops, channels: str) -> float:
    """Multiply-adds of the search branch in FP32 layers, as a share of those in all layers."""
    net = made.net
    kernels, _ = forward(net, crops._replace(searches=[]), channels)
    cost: dict[str, int] = {}
    names = {module: name for name, module in layers(net)}

    def ran(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        cost[names[module]] = cost.get(names[module], 0) + output.numel() * _terms(module, inputs)

    hooks = [module.register_forward_hook(ran) for module in names]
    try:
        net.search(image(crops.searches[0][0], channels), *kernels)
    finally:
        for hook in hooks:
            hook.remove()
    always = {name for name, module in layers(net) if isinstance(module, ALWAYS_WIDE)}
    return sum(cost.get(name, 0) for name in {*made.wide, *always}) / max(sum(cost.values()), 1)


def _terms(module: nn.Module, inputs: tuple[Tensor, ...]) -> int:
    """How many products one output of a layer sums."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        return module.weight[0].numel()
    if isinstance(module, Correlation):
        kernel = inputs[1]
        taken = {Full: kernel.shape[2:], Depthwise: kernel.shape[2:], Pixelwise: kernel.shape[1:2]}[type(module)]
        return int(torch.tensor(taken).prod())
    return 1
