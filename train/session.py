"""From the options of a command to a run: data, network, loss, schedule; and what the run leaves behind."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ..bench.store import write_text
from ..engine.geometry import Geometry
from ..errors import CheckpointError, SourceError, UsageError
from ..models.light import LightNet
from ..models.network import SiameseNet
from ..models.registry import find
from ..weights.shipped import shipped_weights
from .batches import FeatureBatches
from .cutouts import cut_outs
from .families import family_loss
from .features import Rounds, write_round
from .layouts import read_data
from .lessons import lessons
from .light import light_loss
from .loop import Batches, Loss, Run, Settings
from .pairs import PairBatches, Sampling, sampling_for
from .parts import IMAGENET, OWN, load_parts, write_weights
from .plot import plot
from .samples import Plan
from .schedule import schedule_for
from .taught import start, taught
from .teacher import read_teacher
from .tracks import Track
from .validate import Validation

OPTIONS = "options.json"
WEIGHTS = "weights.safetensors"


def write_options(out: Path, options: dict[str, Any]) -> None:
    """Keep the options of a run in its folder."""
    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(options, indent=2, default=str)
    write_text(out / OPTIONS, text + "\n")


def read_options(out: Path) -> dict[str, Any]:
    """Return the options that a run was started with."""
    try:
        options: dict[str, Any] = json.loads((out / OPTIONS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise CheckpointError(f"{out} holds no run of trk-train to go on with: start without --resume") from None
    for name in ("val", "cache"):
        options[name] = Path(options[name]) if options[name] else None
    if not isinstance(options["init"], list):  # before --init could be given more than once
        options["init"] = [options["init"]] if options["init"] else []
    return options


class Session:
    """One run of trk-train."""

    def __init__(self, out: Path, options: dict[str, Any], *, resume: bool = False):
        self.out, self.options, self.resume = out, options, resume
        self.row = find(options["model"], options["variant"])
        if not resume and (out / OPTIONS).exists():
            raise UsageError(f"{out} holds a run already: go on with --resume, or name another folder")
        if options["device"] == "cuda" and not torch.cuda.is_available():
            raise UsageError("--device cuda, but PyTorch sees no CUDA device here: leave it out to train on the CPU")
        if options["stage"] != "whole" and not options["teacher"]:
            raise UsageError(f"--stage {options['stage']} is learned from a teacher: name one as --teacher")
        if options["cache"] and not options["teacher"] and self.row.build is not LightNet:
            raise UsageError(f"--cache needs a model with a frozen trunk, which {self.row.name} has not: leave it out")

    def prepare(self, report: Callable[[int, int], None]) -> Run:
        """Return the run, at its first step."""
        options = self.options
        torch.manual_seed(options["seed"])
        net = self._network()
        tracks = read_data(options["data"], options["uses"])
        schedule = schedule_for(self.row.model, self.row.variant)
        if options["rate"]:
            schedule = schedule.scaled(options["rate"])
        settings = Settings(
            options["steps"], validate_every=options["val_every"], device=options["device"], amp=options["amp"]
        )
        if options["teacher"]:
            net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            batches, loss = self._taught(net, tracks, report)
        elif options["cache"]:
            batches, loss = self._cached(net, tracks, report)
        else:
            batches, loss = self._pairs(tracks)
        return Run(net, batches, loss, schedule, settings, self.out)

    def validation(self) -> Validation | None:
        """Return how the run is validated, None without clips. Raises SourceError where they hold no sequence."""
        if not self.options["val"]:
            return None
        return Validation(self.out, self.row, self.options["val"], self.options["val_runs"])

    def finish(self, run: Run, validation: Validation | None) -> None:
        """Write the weights, those of the best validation or else the last averaged ones, and the plot."""
        state = (validation and validation.best_state()) or run.average.state_dict()
        write_weights(self.out / WEIGHTS, state, about={"model": self.row.name, "licence": OWN})
        plot(self.out)

    def _network(self) -> SiameseNet:
        net = self.row.build()
        if isinstance(net, LightNet):
            load_parts(net, str(shipped_weights(IMAGENET).path))
        for named in self.options["init"]:
            load_parts(net, named)
        return net

    def _pairs(self, tracks: list[Track]) -> tuple[Batches, Loss]:
        return self._batches(tracks, sampling_for(self.options["shift"])), family_loss(self.row)

    def _batches(self, tracks: list[Track], sampling: Sampling) -> PairBatches:
        options = self.options
        return PairBatches(
            tracks,
            Geometry.model_validate(self.row.geometry),
            self.row.searches[0].size,
            options["batch"],
            options["seed"],
            sampling,
        )

    def _taught(self, net: SiameseNet, tracks: list[Track], report: Callable[[int, int], None]) -> tuple[Batches, Loss]:
        options = self.options
        teacher = read_teacher(options["teacher"], self.row).to(options["device"])
        batches = self._batches(tracks, lessons(tracks))
        if not (options["init"] or self.resume or options["stage"] == "heads"):
            start(net, teacher, batches, report)
        return taught(self.row, net.to(options["device"]), teacher, batches, options, report)

    def _cached(self, net: SiameseNet, tracks: list[Track], report: Callable[[int, int], None]) -> tuple[Batches, Loss]:
        assert isinstance(net, LightNet)
        boxed = [track for track in tracks if all(frame.box for frame in track.frames)]
        if not boxed:
            raise SourceError("--cache needs tracks with boxes: pictures without any train without --cache")
        paths = [self.options["cache"] / f"round-{number:03d}" for number in range(self.options["rounds"])]
        missing = [(number, path) for number, path in enumerate(paths) if not path.exists()]
        objects = cut_outs(boxed) if missing else []
        for number, path in missing:
            write_round(path, net, boxed, number + 1000 * self.options["seed"], Plan(), report, objects)
        rounds = Rounds(self.options["cache"], self.options["rounds"])
        return FeatureBatches(rounds, self.options["batch"], self.options["seed"]), light_loss
