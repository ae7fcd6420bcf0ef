"""Every way to run a bundle on a device against ONNX Runtime on the CPU: boxes frame by frame, before any speed counts.

    python -m trk.bench.gpu_numerics --bundle model.trk --device cuda --backend torch --json numerics.json

Before each frame the device's tracker is given the target as the CPU's has it: what is compared is one frame's work,
and no difference grows. Crop, template, network and step are the device's own.
"""

import argparse
import json
import os
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..engine.bundle import Bundle
from ..engine.result import Box
from ..engine.target import Target
from ..engine.tracker import Tracker
from ..errors import TrkError
from .device import gpus, to_gpu
from .machine import machine, versions
from .metrics import overlap
from .speed import SAME_BOX
from .speed_clip import Clip, sample_clip
from .speed_entries import DEVICE, HOST
from .store import write_bytes

FRAMES = 20
LEAST_OVERLAP = {"fp32": 0.999, "fp16": 0.99, "int8": 0.97}
"""Mean overlap below which a way to run a bundle is called different, by the bundle's precision."""
GATE_OVERLAP = 0.5
"""What lets a session go on: less is no rounding."""


@dataclass(frozen=True)
class Reference:
    """What ONNX Runtime on the CPU finds, frame by frame."""

    targets: list[Target]
    """The target as each frame found it."""
    boxes: list[Box]
    scores: list[float]

    @classmethod
    def of(cls, bundle: Bundle, clip: Clip) -> "Reference":
        """Track the clip. Raises what tracking raises."""
        cpu = Tracker(bundle, "onnxruntime", "cpu")
        cpu.init(clip.frames[0], clip.box)
        assert cpu.state is not None
        found = cls([], [], [])
        for frame in clip.frames[1:]:
            found.targets.append(replace(cpu.state.target))
            result = cpu.update(frame)
            found.boxes.append(result.box)
            found.scores.append(result.score)
        return found


def compare(bundle: Bundle, clip: Clip, backend: str, device: str, places: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield how far the boxes of `bundle` in `backend` on `device` lie from those of ONNX Runtime on the CPU.

    A row for each of `places`, HOST or DEVICE: where the frames lie. Raises BackendError where that can't be run.
    """
    other = Tracker(bundle, backend, device)  # before the CPU's: a runtime that is missing costs nothing
    reference = Reference.of(bundle, clip)
    for place in places:
        frames: Sequence[Any] = to_gpu(clip.frames) if place == DEVICE else clip.frames
        other.init(frames[0], clip.box)
        assert other.state is not None
        boxes, scores = [], []
        for frame, target in zip(frames[1:], reference.targets, strict=True):
            other.state.target = replace(target)
            result = other.update(frame)
            boxes.append(result.box)
            scores.append(result.score)
        yield {**_about(bundle, backend, other, place), **_apart(reference, boxes, scores, _least(bundle))}


def _about(bundle: Bundle, backend: str, tracker: Tracker, place: str) -> dict[str, Any]:
    manifest = bundle.manifest
    return {
        "bundle": bundle.path.name,
        "model": f"{manifest.model}/{manifest.variant}",
        "weights": manifest.weights.origin,
        "precision": manifest.precision,
        "fp16_drift": None if manifest.half is None else manifest.half.box_drift,
        "backend": backend,
        "device": tracker.backend.device,
        "frames_on": place,
    }


def _least(bundle: Bundle) -> float:
    return LEAST_OVERLAP.get(bundle.manifest.precision, LEAST_OVERLAP["fp16"])


def _apart(reference: Reference, boxes: list[Box], scores: list[float], least: float) -> dict[str, Any]:
    apart = np.abs(np.subtract(reference.boxes, boxes)).max(axis=1)
    same = overlap(np.array(reference.boxes, float), np.array(boxes, float))
    mean = float(np.nanmean(same)) if np.isfinite(apart).all() else 0.0
    return {
        "frames": len(apart),
        "median_px": float(np.median(apart)),
        "largest_px": float(apart.max()),
        "frames_within": int((apart <= SAME_BOX).sum()),
        "within_px": SAME_BOX,
        "score_difference": float(np.abs(np.subtract(reference.scores, scores)).max()),
        "mean_overlap": mean,
        "least_overlap": least,
        "same": bool(mean >= least),
    }


def line(row: Mapping[str, Any]) -> str:
    """Return a comparison in a line."""
    random = " (random weights)" if row.get("weights") == "random" else ""
    name = f"{row['bundle']}{random}, {row['backend']} on {row['device']}, frames on the {row['frames_on']}"
    if "why" in row:
        return f"{name}: not run: {row['why']}"
    drift = row.get("fp16_drift")
    drift = "" if drift is None else f" (FP16 itself moves overlaps by {drift:.4f}, by its export)"
    verdict = "as on the CPU" if row["same"] else "DIFFERENT"
    return (
        f"{name}: {verdict}: largest {row['largest_px']:.3g} px, median {row['median_px']:.2g}, "
        f"{row['frames_within']} of {row['frames']} frames within {row['within_px']:g}, "
        f"overlap {row['mean_overlap']:.4f}, score {row['score_difference']:.2g} apart{drift}"
    )


class Rows:
    """The rows of a run, on disk as soon as they are known."""

    def __init__(self, path: Path | None, go_on: bool):
        self._path = path
        self._told: dict[str, Any] = {"machine": machine(), "gpus": gpus(), "versions": versions(), "numerics": []}
        if go_on and path is not None:
            self._told = json.loads(path.read_text(encoding="utf-8"))

    @property
    def all(self) -> list[dict[str, Any]]:
        """What is known so far."""
        rows: list[dict[str, Any]] = self._told["numerics"]
        return rows

    def add(self, row: dict[str, Any]) -> None:
        """Print and keep a row."""
        print(line(row), flush=True)
        self.all.append(row)
        self.keep()

    def keep(self, unfinished: Sequence[dict[str, Any]] = ()) -> None:
        """Write what is known, and what would be true if the process died now."""
        if self._path is not None:
            told = {**self._told, "numerics": [*self.all, *unfinished]}
            write_bytes(self._path, (json.dumps(told, indent=1) + "\n").encode())


def compare_one(path: Path, clip: Clip, backend: str, device: str, places: Sequence[str], rows: Rows) -> bool:
    """Add the rows of one bundle and backend; return whether this process can do more.

    A device that has failed fails everything after it in the same process.
    """
    asked = {"bundle": path.name, "backend": backend, "device": device, "same": False}
    left = list(places)
    rows.keep(
        [{**asked, "frames_on": place, "why": "its process died or was stopped", "crashed": True} for place in left]
    )
    try:
        bundle = Bundle(path)
        try:
            for row in compare(bundle, clip, backend, device, places):
                rows.add(row)
                left.remove(row["frames_on"])
        finally:
            bundle.close()
    except Exception as error:
        crashed = not isinstance(error, TrkError)
        why = f"{type(error).__name__}: {error}" if crashed else str(error)
        for place in left:
            rows.add({**asked, "frames_on": place, "why": " ".join(why.split())[:500], "crashed": crashed})
        if crashed or error.__cause__ is not None:
            traceback.print_exc()
        return _device_lives()
    return True


def _device_lives() -> bool:
    torch = sys.modules.get("torch")
    try:
        if torch is not None and torch.cuda.is_initialized():
            torch.cuda.synchronize()
    except RuntimeError:
        return False
    return True


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, print a line for each way, write the JSON. 1 where a way that ran differs, or crashed."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = _parser().parse_args(given)
    pairs = [(path, backend) for path in options.bundle for backend in options.backend]
    places = list(dict.fromkeys(options.frames_on or [HOST]))
    try:
        clip = sample_clip(options.frames)
        if options.gate:
            return _gate(Bundle(options.bundle[0]), clip, options.backend[0], options.device)
        rows = Rows(options.json, options.go_on)
        for number, (path, backend) in enumerate(pairs[options.go_on :], options.go_on + 1):
            if not compare_one(path, clip, backend, options.device, places, rows) and number < len(pairs):
                sys.stdout.flush()
                again = [word for word in given if not word.startswith("--go-on")]
                os.execv(
                    sys.executable, [sys.executable, "-m", f"{__package__}.gpu_numerics", *again, f"--go-on={number}"]
                )
    except TrkError as error:
        print(f"gpu_numerics: {error}", file=sys.stderr)
        return 2
    bad = [row for row in rows.all if (row["crashed"] if "why" in row else not row["same"])]
    print(f"{len(bad)} of {len(rows.all)} ways differ from the CPU or crashed")
    return 1 if bad else 0


def _gate(bundle: Bundle, clip: Clip, backend: str, device: str) -> int:
    """Compare one bundle; 0 where it tracks, 1 with the traceback of whatever it raises."""
    try:
        (row,) = compare(bundle, clip, backend, device, [HOST])
    except Exception:
        traceback.print_exc()
        return 1
    print(line(row))
    return 0 if row["mean_overlap"] >= GATE_OVERLAP else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m trk.bench.gpu_numerics", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--bundle", type=Path, action="append", required=True)
    parser.add_argument("--backend", action="append", required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--frames-on", choices=(HOST, DEVICE), action="append", help="Default: host.")
    parser.add_argument("--frames", type=int, default=FRAMES)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--gate", action="store_true", help="The first alone: end with its traceback where it fails.")
    parser.add_argument("--go-on", type=int, default=0, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
