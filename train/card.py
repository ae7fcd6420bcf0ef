"""Minutes of training on one GPU, from a package (package.py) and nothing else; the same on a CPU, to rehearse it.

    python -m trk.train.card piece-1 piece-2 piece-3 --minutes 8 --out out
    python -m trk.train.card piece-1 piece-2 piece-3 --minutes 11 --resume out/latest.pt --out more
    python -m trk.train.card piece-1 piece-2 piece-3 --device cpu --small --batch 8 --minutes 1 --out rehearsal

All pictures are decoded once, on all cores, and lie on the device; pairs are cut there (device_pairs.py). The rate
follows the clock: warm-up and cosine over the minutes of training, in which reading does not count. A checkpoint is
written every minute and at the end, and then the averaged weights as float16, which `trk-train --init` and `trk-export`
read. It needs no installation: a checkout that can be imported as `trk` is enough.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from math import inf
from pathlib import Path
from time import perf_counter

import torch

from ..bench.store import make_folder
from ..engine.geometry import Geometry
from ..errors import TrkError, UsageError
from ..models.registry import find
from ..models.row import Row
from .checkpoint import LATEST
from .device_pairs import DevicePairBatches
from .distil import FeatureLoss, WholeLoss
from .lessons import lessons
from .loop import Loss, Run, Settings
from .parts import OWN, load_parts, write_weights
from .pictures import ZIP, read_pictures
from .pieces import STUDENT, Package
from .schedule import schedule_for
from .taught import SAMPLE
from .teacher import Featured, Teacher, read_teacher
from .tracks import Track

WEIGHTS = "weights.safetensors"
STAGES = ("whole", "both", "trunk")
BATCH = 256
SMALL = 4
"""Clips of a rehearsal."""
EVERY = 15.0
"""Seconds between lines about how it goes."""


def prepare(options: argparse.Namespace) -> tuple[Run, Row]:
    """Return the run that the options ask for, at its first step or where its checkpoint was, and its student's row.

    Raises UsageError, SourceError and CheckpointError.
    """
    _check(options)
    device = torch.device(options.device)
    torch.manual_seed(options.seed)
    torch.backends.cudnn.benchmark = True
    package = Package(options.pieces)
    row = find(package.manifest.model, package.manifest.variant)
    tracks = limited(package.tracks(), SMALL if options.small else options.clips_limit)
    frames = [frame for track in tracks for frame in track.frames]
    started = perf_counter()
    pictures, numbers = read_pictures(frames, device, _told, options.threads)
    gigabytes = 4 * len(pictures.pixels) / 1e9
    print(f"{len(numbers)} pictures, {gigabytes:.1f} GB, of {len(tracks)} tracks in {perf_counter() - started:.0f} s")
    batches = DevicePairBatches(
        tracks,
        pictures,
        numbers,
        Geometry.model_validate(row.geometry),
        row.searches[0].size,
        options.batch,
        lessons(tracks),
        options.seed,
    )
    net = row.build()
    load_parts(net, str(package.path(STUDENT)))
    if not isinstance(net, Featured):
        raise UsageError(f"{row.name} has no features of its own to teach: package a model that has")
    teacher = read_teacher(str(package.path(package.manifest.teacher)), row).to(device)
    net = net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    schedule = schedule_for(row.model, row.variant)
    if options.rate:
        schedule = schedule.scaled(options.rate)
    settings = Settings(
        sys.maxsize,
        60 * options.minutes,
        ema=options.ema,
        checkpoint_every=sys.maxsize,
        checkpoint_seconds=60.0,
        device=options.device,
        amp=True,
        half=torch.bfloat16,
    )
    run = Run(net, batches, _loss(options.stage, teacher, row, batches), schedule, settings, options.out)
    if options.resume:
        run.resume(options.resume)
    return run, row


def limited(tracks: Sequence[Track], clips: int | None) -> list[Track]:
    """Return the tracks of the first `clips` clips, and as many of every other source; None: all."""
    if clips is None:
        return list(tracks)
    named = sorted({frame.path for track in tracks for frame in track.frames if frame.path.suffix != ZIP})[:clips]
    kept, counts = [], Counter[str]()
    for track in tracks:
        in_clip = track.frames[0].path.suffix != ZIP
        counts[track.source] += not in_clip
        if track.frames[0].path in named if in_clip else counts[track.source] <= clips:
            kept.append(track)
    return kept


def _check(options: argparse.Namespace) -> None:
    if options.device == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda, but PyTorch sees no CUDA device here: --device cpu --small rehearses")
    if not options.minutes > 0:
        raise UsageError(f"--minutes {options.minutes:g}: more than 0 are wanted")
    if options.batch < 2:
        raise UsageError(f"--batch {options.batch}: 2 pairs at least")
    if (options.out / LATEST).exists() and not options.resume:
        raise UsageError(f"{options.out} holds a run already: --resume {options.out / LATEST}, or name another folder")
    make_folder(options.out)


def _loss(stage: str, teacher: Teacher, row: Row, batches: DevicePairBatches) -> Loss:
    features = FeatureLoss(teacher, batches.make(SAMPLE))
    return features if stage == "trunk" else WholeLoss(teacher, row, features, apart=stage == "both")


def _progress(run: Run, batch: int) -> Callable[[int, dict[str, float]], None]:
    """Return what prints how it goes, now and then."""
    before = [run.step, run.seconds]

    def told(step: int, means: dict[str, float]) -> None:
        steps, seconds = step - before[0], run.seconds - before[1]
        if seconds < EVERY and run.done < 1:
            return
        before[:] = [step, run.seconds]
        parts = ", ".join(f"{name} {value:.4f}" for name, value in means.items())
        print(
            f"step {step}, {run.seconds / 60:.1f} min: {parts}; {batch * steps / seconds:.0f} pairs a second",
            flush=True,
        )

    return told


def _told(done: int, total: int) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\rdecoding: {done} of {total}" + ("\n" if done == total else ""))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m trk.train.card", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pieces", nargs="+", type=Path, metavar="PIECE", help="All pieces of the package.")
    parser.add_argument("--out", type=Path, required=True, help="Folder of the run.")
    parser.add_argument(
        "--minutes", type=float, default=8.0, help="Of training, over which the rate falls. Default: 8."
    )
    parser.add_argument("--stop", type=float, help="Pause after so many of them, to go on with --resume.")
    parser.add_argument("--resume", type=Path, help="A run's latest.pt to go on from: --minutes are those of both.")
    parser.add_argument("--batch", type=int, default=BATCH, help=f"Pairs a batch. Default: {BATCH}.")
    parser.add_argument("--rate", type=float, help="Highest learning rate. Default: the model's.")
    parser.add_argument("--ema", type=float, default=0.998, help="Decay of the averaged weights. Default: 0.998.")
    parser.add_argument("--stage", choices=STAGES, default="whole", help="As trk-train's. Default: whole.")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--threads", type=int, help="That decode. Default: one a core.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--clips-limit", type=int, help="Only so many clips, and tracks of every other source.")
    parser.add_argument("--small", action="store_true", help=f"--clips-limit {SMALL}: to rehearse.")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Train; 2 where that can't be done."""
    options = _parser().parse_args(arguments)
    try:
        run, row = prepare(options)
        run.train(progress=_progress(run, options.batch), until=60 * options.stop if options.stop else inf)
        about = {"model": row.name, "licence": OWN}
        write_weights(run.out / WEIGHTS, run.average.state_dict(), about=about)
    except TrkError as error:
        print(f"card: {error}", file=sys.stderr)
        return 2
    if options.device == "cuda":
        print(f"{torch.cuda.get_device_name()}: {torch.cuda.max_memory_allocated() / 1e9:.1f} GB at most")
    print(f"{run.step} steps in {run.seconds:.0f} s of training: {options.out / WEIGHTS}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
