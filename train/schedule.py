"""Learning rates over a run, and which layers learn when, as the papers have it. Progress runs from 0 to 1."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import cos, exp, log, pi
from typing import Literal

from torch import nn

from ..errors import ModelError

NEVER = 2.0
"""A progress that no run reaches."""


@dataclass(frozen=True)
class Schedule:
    """`curve` from `rate` to `last`, after a warm-up that begins at `first`; "step" falls at `drop`, at once.

    `unfreeze`: names of modules that begin to learn, by the progress from which they do; at `late_rate` times the
    rate. What is not named learns from the start, what is named before its time is frozen, its batch norms too.
    `units`, a pattern of module names, with `unit_times`: those modules begin to learn one after the other, the last
    of the network first.
    """

    rate: float
    last: float
    curve: Literal["log", "cosine", "step"] = "log"
    warm_up: float = 0.0
    first: float = 0.0
    drop: float = 1.0
    late_rate: float = 1.0
    unfreeze: Mapping[str, float] = field(default_factory=dict)
    units: str = ""
    unit_times: tuple[float, ...] = ()
    decay: float = 1e-4
    optimiser: Literal["sgd", "adamw"] = "sgd"

    def at(self, progress: float) -> float:
        """Return the learning rate."""
        if progress < self.warm_up:
            return self.first + (self.rate - self.first) * progress / self.warm_up
        if self.curve == "step":
            return self.rate if progress < self.drop else self.last
        share = min(1.0, (progress - self.warm_up) / max(1e-9, 1.0 - self.warm_up))
        if self.curve == "cosine":
            return self.last + (self.rate - self.last) * (1 + cos(pi * share)) / 2
        return exp(log(self.rate) + share * (log(self.last) - log(self.rate)))

    def learning(self, module: str, progress: float) -> bool:
        """Return whether parameters of the module of this dotted name learn: the longest name that holds it decides."""
        held = [name for name in self.unfreeze if module == name or module.startswith(f"{name}.")]
        return not held or progress >= self.unfreeze[max(held, key=len)]

    def scaled(self, rate: float) -> "Schedule":
        """Return the same with another highest rate, all others in proportion."""
        factor = rate / self.rate
        return replace(self, rate=rate, last=self.last * factor, first=self.first * factor)

    def resolved(self, net: nn.Module) -> "Schedule":
        """Return the same with the units of `net` named. Raises ModelError where the pattern fits none."""
        if not self.units:
            return self
        found = [name for name, _ in net.named_modules() if re.fullmatch(self.units, name)]
        if not found:
            raise ModelError(f"no part of the network is named like {self.units!r}: this schedule is for another model")
        times = {
            name: self.unit_times[number] if number < len(self.unit_times) else NEVER
            for number, name in enumerate(reversed(found))
        }
        return replace(self, unfreeze={**self.unfreeze, **times})


_PYSOT = Schedule(
    5e-3,
    5e-4,
    "log",
    0.25,
    1e-3,
    late_rate=0.1,
    unfreeze={"backbone": NEVER} | {f"backbone.layer{n}": 0.5 for n in (2, 3, 4)},
)
_ALEXNET = Schedule(
    1e-2,
    5e-4,
    "log",
    0.1,
    5e-3,
    unfreeze={"backbone": NEVER} | {f"backbone.features.{n}": 0.2 for n in (11, 12, 14, 15)},
)

_LIGHT = Schedule(1e-3, 1e-5, "cosine", 0.02, 1e-4, optimiser="adamw")
_SASIAM = Schedule(1e-2, 1e-3, "step", drop=25 / 30, decay=5e-4)

SCHEDULES: dict[str, Schedule] = {
    "siamrpnpp/light": _LIGHT,
    "siamrpnpp/small": _LIGHT,
    # Source: STVIR/pysot (20 epochs, 5 of warm-up, layer2-4 from the tenth at a tenth of the rate; AlexNet: 50 epochs,
    # conv4 and conv5 from the tenth at the full rate).
    "siamrpnpp": _PYSOT,
    "siamrpnpp/mobilenetv2": replace(
        _PYSOT, unfreeze={"backbone": NEVER} | {f"backbone.layer{n}": 0.5 for n in (3, 4, 5, 6, 7)}
    ),
    "siamrpnpp/alexnet": _ALEXNET,
    "siamrpnpp/alexnet_layers": replace(
        _ALEXNET, unfreeze={"backbone": NEVER, "backbone.layer4": 0.2, "backbone.layer5": 0.2}
    ),
    # Source: SiamRPN sec. 4.1 (1e-2 to 1e-6; conv1 to conv3 fixed).
    "siamrpn": replace(_ALEXNET, warm_up=0.0, last=1e-6, unfreeze={f"backbone.features.{n}": NEVER for n in range(10)}),
    "dasiamrpn": Schedule(1e-2, 1e-6, "log", unfreeze={f"featureExtract.{n}": NEVER for n in range(10)}),
    # Source: HonglinChu/SiamTrackers:NanoTrack (50 epochs, 5 of warm-up, the backbone from the tenth at a tenth).
    "nanotrack": Schedule(5e-3, 5e-4, "log", 0.1, 1e-3, late_rate=0.1, unfreeze={"backbone": 0.2}),
    # Source: huanglianghua/siamfc-pytorch.
    "siamfc": Schedule(1e-2, 1e-5, "log", decay=5e-4),
    # Source: researchmm/SiamDW (conv1 fixed; units from the back at these shares of the run).
    "siamdw": Schedule(
        1e-2,
        1e-5,
        "log",
        unfreeze={"features.features": NEVER},
        units=r"features\.features\.layer\d+\.\d+",
        unit_times=(0.0, 0.1, 0.2, 0.3, 0.5, 0.6, 0.7),
    ),
    # Source: LiYunfengLYF/LightFC:experiments (400 epochs, a tenth from the 160th, the backbone at a tenth throughout).
    "lightfc": Schedule(
        1e-3, 1e-4, "step", drop=0.4, late_rate=0.1, unfreeze={"backbone": 0.0}, decay=1e-4, optimiser="adamw"
    ),
    # Source: PinataFarms/FEARTracker (Adam, 1e-4, halved whenever it stops getting better: here it falls steadily).
    "fear": Schedule(1e-4, 1e-6, "log", decay=0.0, optimiser="adamw"),
    # Chosen here (train/LOG.md).
    "slimfc": Schedule(8e-4, 1.6e-5, "cosine", 0.005, 1e-5, decay=0.0, optimiser="adamw"),
    # Source: SA-Siam sec. 4.1 (0.01, then 0.001 after 25 of 30 epochs; the semantic features are fixed).
    "sasiam": _SASIAM,
    "sasiam/full": replace(_SASIAM, unfreeze={"semantic": NEVER}),
    "sasiam/semantic": replace(_SASIAM, unfreeze={"semantic": NEVER}),
}
"""By model/variant, by model, or by what the model's name begins with."""


def schedule_for(model: str, variant: str) -> Schedule:
    """Return the schedule of the closest name. Raises ModelError where there is none."""
    for name in (f"{model}/{variant}", model, model.partition("_")[0]):
        if name in SCHEDULES:
            return SCHEDULES[name]
    raise ModelError(f"no schedule is known for {model}/{variant}: there are those of {', '.join(SCHEDULES)}")


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
