"""Learning rates over a run, and which layers learn when, as the papers have it. Progress runs from 0 to 1."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import cos, exp, log, pi
from typing import Literal

from torch import nn


@dataclass(frozen=True)
class Schedule:
    """`curve` from `rate` to `last`, after a warm-up that begins at `first`.

    `unfreeze`: names of modules that begin to learn, by the progress from which they do; at `backbone_rate` times the
    rate. What is not named learns from the start, what is named before its time is frozen, its batch norms too.
    """

    rate: float
    last: float
    curve: Literal["log", "cosine"] = "log"
    warm_up: float = 0.0
    first: float = 0.0
    backbone_rate: float = 1.0
    unfreeze: Mapping[str, float] = field(default_factory=dict)
    decay: float = 1e-4
    optimiser: Literal["sgd", "adamw"] = "sgd"

    def at(self, progress: float) -> float:
        """Return the learning rate."""
        if progress < self.warm_up:
            return self.first + (self.rate - self.first) * progress / self.warm_up
        share = min(1.0, (progress - self.warm_up) / max(1e-9, 1.0 - self.warm_up))
        if self.curve == "cosine":
            return self.last + (self.rate - self.last) * (1 + cos(pi * share)) / 2
        return exp(log(self.rate) + share * (log(self.last) - log(self.rate)))

    def learning(self, module: str, progress: float) -> bool:
        """Return whether parameters of the module of this dotted name learn."""
        times = [time for name, time in self.unfreeze.items() if module == name or module.startswith(f"{name}.")]
        return not times or progress >= min(times)


SCHEDULES: dict[str, Schedule] = {
    "light": Schedule(1e-3, 1e-5, "cosine", 0.02, 1e-4, optimiser="adamw"),
    # Source: STVIR/pysot experiments (20 epochs, backbone from the tenth, at a tenth of the rate).
    "siamrpnpp": Schedule(
        5e-3,
        5e-4,
        "log",
        0.25,
        1e-3,
        0.1,
        {
            "backbone.layer2": 0.5,
            "backbone.layer3": 0.5,
            "backbone.layer4": 0.5,
            "backbone.layer0": 2.0,
            "backbone.layer1": 2.0,
            "backbone.conv1": 2.0,
            "backbone.bn1": 2.0,
        },
    ),
    "siamrpn": Schedule(1e-2, 5e-4, "log", 0.1, 5e-3, 1.0, {"backbone": 0.2}),
    "nanotrack": Schedule(5e-3, 5e-4, "log", 0.1, 1e-3, 0.1, {"backbone": 0.2}),
    "siamfc": Schedule(1e-2, 1e-5, "log", decay=5e-4),
    # Source: researchmm/SiamDW (50 epochs; conv1 frozen; units unfrozen from the back).
    "siamdw": Schedule(1e-2, 1e-5, "log"),
    # Source: SA-Siam sec. 4.1 (0.01, then 0.001 after 25 of 30 epochs): the log curve is close to it.
    "sasiam": Schedule(1e-2, 1e-3, "log"),
}
"""By family of the registry. Figures: reference of each upstream's configuration."""


def set_learning(net: nn.Module, schedule: Schedule, progress: float, fixed: Iterable[str]) -> None:
    """Freeze what does not learn yet and thaw what does. `fixed` names parameters that never learn.

    Frozen batch norms use their running statistics, as upstream does.
    """
    never = set(fixed)
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(name not in never and schedule.learning(name.rpartition(".")[0], progress))
    for name, module in net.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.train(net.training and schedule.learning(name, progress))


Report = Callable[[str], None]
