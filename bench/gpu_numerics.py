"""Every way to run a bundle on a device against ONNX Runtime on the CPU: boxes frame by frame, before any speed counts.

    python -m trk.bench.gpu_numerics --bundle model.trk --device cuda --backend torch --json numerics.json

Before each frame the device's tracker is given the target as the CPU's has it: what is compared is one frame's work,
and no difference grows. Template, network and step are the device's own, and the crop where it is cut there.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..engine.bundle import Bundle
from ..errors import TrkError
from ..weights.clips import sample
from .device import gpus
from .machine import machine, versions
from .metrics import overlap
from .speed import SAME_BOX, Clip, read_clip
from .store import write_bytes
from .whole import CROPS, DEVICE, HOST, cuts_on_device, open_tracker

FRAMES = 20
LEAST_OVERLAP = {"fp32": 0.999, "fp16": 0.99, "int8": 0.97}
"""Mean overlap below which a way to run a bundle is called different, by the bundle's precision."""
LEAST_BY_FRAME = 0.98
"""The same where the crop is cut on the device, where a pixel that lies between two grey levels may fall to either."""


def compare(bundle: Bundle, clip: Clip, backend: str, device: str, crop: str | None) -> dict[str, Any]:
    """Return how far the boxes of `bundle` in `backend` on `device` lie from those of ONNX Runtime on the CPU.

    Raises BackendError where that can't be run.
    """
    # Cut in the same place: a crop that is one grey level off in a tenth of its pixels moves the boxes of random
    # weights by many pixels, and says nothing of the device.
    cpu = open_tracker(bundle, "onnxruntime", "cpu", None, crop)
    other = open_tracker(bundle, backend, device, None, crop)
    for tracker in (cpu, other):
        tracker.init(clip.frames[0], clip.box)
    assert cpu.state is not None
    assert other.state is not None
    boxes: list[list[Any]] = [[], []]
    scores: list[list[float]] = [[], []]
    for frame in clip.frames[1:]:
        other.state.target = replace(cpu.state.target)
        for number, tracker in enumerate((cpu, other)):
            result = tracker.update(frame)
            boxes[number].append(result.box)
            scores[number].append(result.score)
    apart = np.abs(np.subtract(boxes[0], boxes[1])).max(axis=1)
    same = overlap(np.array(boxes[0], float), np.array(boxes[1], float))
    mean = float(np.nanmean(same)) if np.isfinite(apart).all() else 0.0
    precision = bundle.manifest.precision
    least = min(LEAST_OVERLAP.get(precision, LEAST_OVERLAP["fp16"]), LEAST_BY_FRAME if cuts_on_device(other) else 1.0)
    return {
        "bundle": bundle.path.name,
        "model": f"{bundle.manifest.model}/{bundle.manifest.variant}",
        "precision": precision,
        "backend": other.backend.name,
        "device": other.backend.device,
        "whole_frame": cuts_on_device(other),
        "frames": len(apart),
        "median_px": float(np.median(apart)),
        "largest_px": float(apart.max()),
        "frames_within": int((apart <= SAME_BOX).sum()),
        "within_px": SAME_BOX,
        "score_difference": float(np.abs(np.subtract(scores[0], scores[1])).max()),
        "mean_overlap": mean,
        "least_overlap": least,
        "same": bool(mean >= least),
    }


def compare_all(
    paths: Sequence[Path], clip: Clip, backends: Sequence[str], device: str, crops: Sequence[str | None]
) -> Iterator[dict[str, Any]]:
    """Yield `compare` of every bundle, backend and place of the crop; what can't be run says why."""
    for path in paths:
        for backend in backends:
            for crop in crops:
                try:
                    bundle = Bundle(path)
                    try:
                        yield compare(bundle, clip, backend, device, crop)
                    finally:
                        bundle.close()
                except TrkError as error:
                    asked = {"bundle": path.name, "backend": backend, "device": device, "whole_frame": crop == DEVICE}
                    yield {**asked, "same": False, "why": str(error)}


def sample_clip(frames: int) -> Clip:
    """Return the first `frames` frames of the sample after its box."""
    shipped = sample()
    return read_clip(shipped.video, shipped.init_box, start=shipped.init_frame, frames=frames)


def line(row: dict[str, Any]) -> str:
    """Return a comparison in a line."""
    crop = "crop on the device" if row["whole_frame"] else "crop on the host"
    name = f"{row['bundle']}, {row['backend']} on {row['device']}, {crop}"
    if "why" in row:
        return f"{name}: not run: {row['why']}"
    verdict = "as on the CPU" if row["same"] else "DIFFERENT"
    return (
        f"{name}: {verdict}: largest {row['largest_px']:.3g} px, median {row['median_px']:.2g}, "
        f"{row['frames_within']} of {row['frames']} frames within {row['within_px']:g}, "
        f"overlap {row['mean_overlap']:.4f}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, print a line for each way, write the JSON. 1 where a way that ran differs."""
    parser = argparse.ArgumentParser(
        prog="python -m trk.bench.gpu_numerics", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--bundle", type=Path, action="append", required=True)
    parser.add_argument("--backend", action="append", required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--crop", choices=CROPS, action="append", help="Default: host.")
    parser.add_argument("--frames", type=int, default=FRAMES)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    crops = list(dict.fromkeys(options.crop or [HOST]))
    try:
        rows: list[dict[str, Any]] = []
        told = {"machine": machine(), "gpus": gpus(), "versions": versions(), "numerics": rows}
        clip = sample_clip(options.frames)
        for row in compare_all(options.bundle, clip, options.backend, options.device, crops):
            print(line(row), flush=True)
            rows.append(row)
            if options.json:  # after each: one that ends the process leaves those before it
                write_bytes(options.json, (json.dumps(told, indent=1) + "\n").encode())
    except TrkError as error:
        print(f"gpu_numerics: {error}", file=sys.stderr)
        return 2
    return 1 if any(not row["same"] and "why" not in row for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
