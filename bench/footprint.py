"""What one way to track needs besides time per frame: start-up, memory, bytes copied; measured in a process of its own.

The process is a fresh Python that opens the tracker, takes the target and tracks a few frames. Its work is told as JSON
on standard input, what it found comes back on standard output.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter, time
from typing import Any

import numpy as np

from ..engine.result import Box
from ..errors import BackendError
from ..video.source import Image
from .device import gpus

FRAMES = 20
"""Frames that are tracked before memory is read."""
SECONDS = 300.0
"""A child that takes longer hangs."""
STATUS = Path("/proc/self/status")


def measure_footprint(recipe: Mapping[str, Any], frames: Sequence[Image], box: Box) -> dict[str, float | None]:
    """Return what opening a tracker by `recipe` and tracking `frames` from `box` took, in a process of its own.

    `start_s`: from the command to the first box, of which `import_s`, `load_s` and `first_s`: taking the target
    (`init_s`) and one frame (`frame_1_s`); `frame_2_s` is the one after it. `memory_mib`: resident when all is tracked,
    `peak_mib`: at most, `bare_mib`: before anything was opened, with Python, NumPy and OpenCV loaded; `device_mib`:
    what the GPUs' memory in use grew by; `copied_bytes`: mean per frame, None where nobody can tell. Raises
    BackendError where the process fails.
    """
    with tempfile.TemporaryDirectory(prefix="trk-bench-") as folder:
        clip = Path(folder) / "frames.npy"
        np.save(clip, np.stack(frames[: FRAMES + 1]))
        told = {"recipe": dict(recipe), "frames": str(clip), "box": list(box), "began": time()}
        try:
            done = subprocess.run(
                [sys.executable, "-m", "trk.bench.footprint"],
                input=json.dumps(told),
                capture_output=True,
                text=True,
                timeout=SECONDS,
                check=False,
                env={**os.environ, "OMP_NUM_THREADS": str(recipe.get("threads") or 1)},
            )
        except subprocess.TimeoutExpired:
            raise BackendError(f"a tracker opened in a process of its own was not ready in {SECONDS:g} s") from None
    if done.returncode or not done.stdout.strip():
        reason = (done.stderr.strip().splitlines() or ["it died without a word"])[-1]
        raise BackendError(f"a tracker could not be opened in a process of its own: {reason}")
    found: dict[str, float | None] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Do the work that stands on standard input."""
    told = json.loads(sys.stdin.read())
    import cv2

    bare = resident_mib()
    frames = np.load(told["frames"], mmap_mode="r")
    recipe, box = told["recipe"], tuple(told["box"])
    on_device = recipe.get("device") == "cuda"
    asked = perf_counter()
    device_before = _device_mib() if on_device else None
    began = perf_counter()
    _import(recipe["kind"])
    imported = perf_counter()
    if recipe.get("threads"):
        cv2.setNumThreads(recipe["threads"])
    tracker = open_recipe(recipe)
    loaded = perf_counter()
    tracker.init(np.array(frames[0]), box)
    taken = perf_counter()
    tracker.update(np.array(frames[1]))
    first = perf_counter()
    started = time() - told["began"] - (began - asked)
    again = perf_counter()
    tracker.update(np.array(frames[2]))
    second = perf_counter()
    each = [_copied(tracker, np.array(frame)) for frame in frames[2:]]
    copied = [value for value in each if value is not None]
    device_after = _device_mib() if on_device else None
    found = {
        "start_s": round(started, 4),
        "import_s": round(imported - began, 4),
        "load_s": round(loaded - imported, 4),
        "first_s": round(first - loaded, 4),
        "init_s": round(taken - loaded, 5),
        "frame_1_s": round(first - taken, 5),
        "frame_2_s": round(second - again, 5),
        "memory_mib": resident_mib(),
        "peak_mib": _figure_mib("VmHWM"),
        "bare_mib": bare,
        "device_mib": None if device_before is None or device_after is None else device_after - device_before,
        "copied_bytes": round(sum(copied) / len(copied)) if copied else None,
    }
    print(json.dumps(found))


def open_recipe(recipe: Mapping[str, Any]) -> Any:
    """Return the tracker that `recipe` tells of."""
    if recipe["kind"] == "upstream":
        from .speed_against import open_upstream

        return open_upstream(recipe)
    if recipe["kind"] == "peer":
        from .peers import open_peer, peer_spec

        return open_peer(peer_spec(recipe["target"]))
    from ..engine.tracker import Tracker

    targets, threads = recipe["targets"], recipe["threads"]
    one = threads if targets == 1 else 1
    tracker = Tracker(recipe["path"], recipe["backend"], recipe["device"], one)
    if targets == 1:
        return tracker
    from .crowd import Crowd

    return Crowd(tracker, targets, threads)


def _import(kind: str) -> None:
    """Import what a tracker of this kind needs, so that it is no part of opening it."""
    if kind == "bundle":
        from ..engine.tracker import Tracker  # noqa: F401
    elif kind == "upstream":
        from .upstream_style import upstream_style  # noqa: F401
    else:
        from .peers import open_peer  # noqa: F401


def _device_mib() -> float | None:
    """Return the memory in use on all GPUs, whoever uses it; None where nobody tells."""
    used = [one["memory_used_mib"] for one in gpus()]
    return None if not used or None in used else float(sum(used))


def _copied(tracker: Any, frame: Image) -> int | None:
    """Track `frame`; return the bytes the host wrote for it: visible pixels of a crop over the border, crop, answer."""
    state = getattr(tracker, "state", None)
    if state is None:
        tracker.update(frame)
        return None
    from ..engine.target import Motion

    target, manifest = state.target, tracker.manifest
    motion = Motion(manifest.geometry, manifest.searches)
    graph = motion.graph_for(target)
    crops = tracker.backend.search_crops[graph]
    wide, tall, to_left, to_top = motion.search_extent(target, graph)
    height, width = frame.shape[:2]
    left, top = target.cx - to_left, target.cy - to_top
    seen_w = max(0.0, min(left + wide, width) - max(left, 0.0))
    seen_h = max(0.0, min(top + tall, height) - max(top, 0.0))
    inside = seen_w >= wide - 1 and seen_h >= tall - 1
    tracker.update(frame)
    outputs = [tensor for tensor in manifest.searches[graph].outputs if not tensor.name.startswith("map_")]
    answer = sum(np.dtype(tensor.dtype).itemsize * int(np.prod(tensor.shape)) for tensor in outputs)
    numbers = 4 * (2 + len(manifest.params)) * manifest.batch
    canvas = 0 if inside else round(seen_w * seen_h * 3) * len(manifest.geometry.search_steps)
    return int(crops.nbytes + canvas + numbers + answer)


def resident_mib() -> float | None:
    """Return the resident memory of this process in MiB; None where the system won't say (other than Linux)."""
    return _figure_mib("VmRSS")


def _figure_mib(key: str) -> float | None:
    try:
        lines = STATUS.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    value = next((line.split()[1] for line in lines if line.startswith(f"{key}:")), None)
    return None if value is None else round(int(value) / 1024, 1)


if __name__ == "__main__":
    main()
