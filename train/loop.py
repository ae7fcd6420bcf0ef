"""The loop: batches in, parameters out; killed at any moment, it goes on as if nothing had happened."""

import copy
import csv
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from math import inf
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..bench.store import write_text
from ..errors import CheckpointError, TrkError
from .checkpoint import LATEST, load, random_state, restore_random, save
from .gradients import forward_gradients, quick_on_cpu
from .schedule import Schedule, set_learning

METRICS = "metrics.csv"
CLIP = 10.0
"""Largest norm of the gradient. Source: STVIR/pysot, researchmm/SiamDW."""


class Batches(Protocol):
    """Whatever gives batches, and can go on from where it was."""

    def next(self) -> Any:
        """Return the next batch."""

    def state(self) -> dict[str, Any]:
        """Return what `restore` takes."""

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""


Loss = Callable[[Any, Any], dict[str, Tensor]]
"""Network and batch to the parts of the loss; the one to minimise is "loss"."""


class Judge(Protocol):
    """Whoever judges the averaged parameters while the run goes on (validate.py)."""

    def submit(self, step: int, net: nn.Module) -> None:
        """Begin to judge `net` as it is now."""

    def collect(self, *, wait: bool = False) -> None:
        """Take in what has been judged."""


@dataclass(frozen=True)
class Settings:
    """How long and how. `ema`: decay of the averaged parameters, which are the ones that are validated and kept.

    It ends after `steps` or `seconds` of training, whichever come first; the rate follows that.
    `checkpoint_every`, `validate_every`, `log_every`: steps; `checkpoint_seconds`: as well after so many.
    `amp`: in `half`; None: bfloat16 on the CPU, float16 on CUDA.
    """

    steps: int
    seconds: float = inf
    ema: float = 0.998
    checkpoint_every: int = 200
    checkpoint_seconds: float = inf
    validate_every: int = 0
    log_every: int = 20
    device: str = "cpu"
    amp: bool = False
    half: torch.dtype | None = None

    @property
    def reduced(self) -> torch.dtype:
        """The type that `amp` computes in."""
        return self.half or (torch.float16 if self.device == "cuda" else torch.bfloat16)


class Run:
    """One run in the folder `out`."""

    def __init__(self, net: nn.Module, batches: Batches, loss: Loss, schedule: Schedule, settings: Settings, out: Path):
        self.net = net.to(settings.device)
        self.batches, self.loss, self.settings, self.out = batches, loss, settings, out
        self.schedule = schedule.resolved(net)
        self.fixed = [name for name, parameter in net.named_parameters() if not parameter.requires_grad]
        self.average = copy.deepcopy(net).eval().requires_grad_(False)
        if settings.amp and settings.device == "cpu":
            quick_on_cpu(self.net)
        self.optimiser = _optimiser(net, self.schedule, set(self.fixed))
        scaled = settings.amp and settings.device == "cuda" and settings.reduced == torch.float16
        self.scaler = torch.amp.GradScaler(settings.device, enabled=scaled)
        self.step, self.seconds, self.saved = 0, 0.0, 0.0

    @property
    def done(self) -> float:
        """How much of the run is done, 0 to 1."""
        steps, seconds = self.settings.steps, self.settings.seconds
        return 1.0 if self.step >= steps or self.seconds >= seconds else max(self.step / steps, self.seconds / seconds)

    def resume(self, path: Path | None = None) -> None:
        """Go on from a checkpoint, without `path` from the newest one in the folder. Raises CheckpointError."""
        path = path or self.out / LATEST
        state = load(path, self.settings.device)
        try:
            self.net.load_state_dict(state["net"])
            self.average.load_state_dict(state["average"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.scaler.load_state_dict(state["scaler"])
        except (KeyError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"{path} does not fit this model: {error}") from None
        self.batches.restore(state["batches"])
        restore_random(state["random"])
        self.step, self.seconds = state["step"], state["seconds"]
        self.saved = self.seconds
        _truncate(self.out / METRICS, self.step)

    def train(
        self,
        judge: Judge | None = None,
        progress: Callable[[int, dict[str, float]], None] | None = None,
        until: float = inf,
    ) -> None:
        """Run to the end, or pause at a checkpoint after `until` seconds of training.

        Raises TrkError if the loss is no longer finite; the last checkpoint is kept then.
        """
        self.out.mkdir(parents=True, exist_ok=True)
        sums: dict[str, float] = {}
        since = 0
        with forward_gradients():
            while self.done < 1 and self.seconds < until:
                started = perf_counter()
                parts = self._advance()
                self.seconds += perf_counter() - started
                since += 1
                for name, value in parts.items():
                    sums[name] = sums.get(name, 0.0) + value
                every = self.settings.log_every
                last = self.done >= 1 or self.seconds >= until
                if self.step % every == 0 or last:
                    means = {name: value / since for name, value in sums.items()}
                    self._log({**means, "rate": self._rate(), "seconds": self.seconds})
                    sums, since = {}, 0
                    if judge:
                        judge.collect()
                    if progress:
                        progress(self.step, means)
                every = self.settings.validate_every
                if judge and every and (self.step % every == 0 or last):
                    judge.submit(self.step, self.average)
                due = self.seconds - self.saved >= self.settings.checkpoint_seconds
                if self.step % self.settings.checkpoint_every == 0 or due or last:
                    self.checkpoint()
        if judge:
            judge.collect(wait=True)

    def checkpoint(self) -> None:
        """Write all that going on needs."""
        save(
            self.out / LATEST,
            {
                "net": self.net.state_dict(),
                "average": self.average.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "scaler": self.scaler.state_dict(),
                "batches": self.batches.state(),
                "random": random_state(),
                "step": self.step,
                "seconds": self.seconds,
            },
        )
        self.saved = self.seconds

    def _advance(self) -> dict[str, float]:
        settings, net = self.settings, self.net
        progress = self.done
        net.train()
        set_learning(net, self.schedule, progress, self.fixed)
        for group in self.optimiser.param_groups:
            group["lr"] = self.schedule.at(progress) * group["factor"]
        with torch.autocast(settings.device, settings.reduced) if settings.amp else nullcontext():
            parts = self.loss(net, self.batches.next())
        loss = parts["loss"]
        if not torch.isfinite(loss):
            raise TrkError(f"the loss is {float(loss.detach())} at step {self.step}: lower the rate and --resume")
        self.optimiser.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.unscale_(self.optimiser)
        nn.utils.clip_grad_norm_([p for p in net.parameters() if p.grad is not None], CLIP)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.step += 1
        self._average()
        return {name: float(value.detach()) for name, value in parts.items()}

    @torch.no_grad()
    def _average(self) -> None:
        # Early parameters are worth little: the decay grows to its value.
        decay = min(self.settings.ema, (1 + self.step) / (10 + self.step))
        ours, theirs = self.average.state_dict(), self.net.state_dict()
        for name, value in ours.items():
            if value.is_floating_point():
                value.lerp_(theirs[name], 1 - decay)
            else:
                value.copy_(theirs[name])

    def _rate(self) -> float:
        return float(self.optimiser.param_groups[0]["lr"])

    def _log(self, values: dict[str, float]) -> None:
        path = self.out / METRICS
        new = not path.exists()
        with path.open("a", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            if new:
                writer.writerow(["step", *values])
            writer.writerow([self.step, *(f"{value:.6g}" for value in values.values())])


def _optimiser(net: nn.Module, schedule: Schedule, fixed: set[str]) -> torch.optim.Optimizer:
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in net.named_parameters():
        if name not in fixed:
            late = not schedule.learning(name.rpartition(".")[0], 0.0)
            groups.setdefault(schedule.late_rate if late else 1.0, []).append(parameter)
    listed = [{"params": found, "factor": factor} for factor, found in sorted(groups.items(), reverse=True)]
    if schedule.optimiser == "adamw":
        return torch.optim.AdamW(listed, schedule.rate, weight_decay=schedule.decay)
    return torch.optim.SGD(listed, schedule.rate, momentum=0.9, weight_decay=schedule.decay)


def _truncate(path: Path, step: int) -> None:
    """Drop the rows that a killed run wrote after its last checkpoint."""
    if not path.exists():
        return
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = lines[:1] + [line for line in lines[1:] if int(line.split(",")[0]) <= step]
    write_text(path, "".join(kept))
