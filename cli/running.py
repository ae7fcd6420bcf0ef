"""What runs of trk-run have in common, over one video or over many: the tracker, what is written, what is told."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from glob import glob
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from ..bench.stages import StageTimes
from ..engine.tracker import Tracker
from ..errors import UsageError
from ..tracking import Followed
from ..video.seeds import Seed
from ..video.source import IMAGE_SUFFIXES, public_name
from .values import parse_params


class Tally:
    """Frames of a run, and the seconds of their stages."""

    def __init__(self) -> None:
        self.times = StageTimes()
        self._began = perf_counter()
        self._seconds = 0.0

    def add(self, one: Followed, drawn: Mapping[str, float], written: Mapping[str, float]) -> None:
        """Count a frame with the seconds of its drawing and its writing."""
        stages = one.stages
        # The template branch runs once and would only blur the search branch's times.
        if all(result.frame_index for result in one.results.values()):
            self.times.add({"crop": stages.crop, "search": stages.network, "host": stages.host})
        self.times.add({"decode": one.decode, **drawn, **written})

    @property
    def frames(self) -> int:
        """How many were counted."""
        return len(self.times.seconds["decode"])

    def stop(self) -> None:
        """All is read, drawn and written."""
        self._seconds = perf_counter() - self._began

    def line(self) -> str:
        """Return in a line how many there were and how fast."""
        search = self.times.seconds["search"]
        median = np.median(np.asarray(search)) * 1e3 if search else 0.0
        return (
            f"{self.frames} frames · {self.times.tracking_fps():.1f} FPS tracking · {self.frames / self._seconds:.1f} "
            f"FPS with reading, drawing and writing · search {median:.1f} ms"
        )


def open_tracker(options: Mapping[str, Any], *, several: bool) -> Tracker:
    """Return the tracker that the options of trk-run ask for; `several`: it is to lend its network to many targets."""
    return Tracker(
        options["bundle"],
        options["backend"],
        options["device"],
        1 if several else options["threads"],  # targets are shared out to the cores instead
        **parse_params(options["preset"], options["settings"]),
        on_lost=options["on_lost"],
        template_rate=options["update_template"],
    )


def has_several(seeds: Sequence[Seed]) -> bool:
    """Whether they are of more than one target."""
    return len({seed.target for seed in seeds}) > 1


def describe(video: str, seeds: Sequence[Seed], tracker: Tracker) -> dict[str, object]:
    """Return what files of boxes say of their run."""
    manifest = tracker.manifest
    return {
        "video": public_name(video),
        "init": list(seeds[0].numbers) if len(seeds) == 1 else [asdict(seed) for seed in seeds],
        "model": manifest.model,
        "variant": manifest.variant,
        "weights": manifest.weights.origin,
        "params": dict(tracker.params),
        "backend": tracker.backend.name,
        "device": tracker.backend.device,
    }


def corners_hint(seeds: Sequence[Seed], size_wh: tuple[int, int]) -> str | None:
    """Return a line where x,y,w,h of `seeds` reach far out of the frame, and would fit it as two corners."""
    width, height = size_wh
    for seed in seeds:
        x, y, w, h = seed.numbers
        is_far_out = x + w > 1.1 * width or y + h > 1.1 * height
        if is_far_out and x < w <= width and y < h <= height:
            shown = ",".join(f"{value:g}" for value in seed.numbers)
            return f"box {shown} reaches out of the frame {width}x{height}: are these corners? Then --init-format xyxy"
    return None


@contextmanager
def hushed(quiet: bool) -> Iterator[None]:
    """Meanwhile trk's log tells errors only, if `quiet`."""
    log = logging.getLogger("trk")
    level = log.level
    if quiet:
        log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


def check_outputs(video: str, outputs: Sequence[Path]) -> None:
    """Raise UsageError where an output is named twice, or would replace what is to be tracked."""
    for number, path in enumerate(outputs):
        if path.resolve() in (other.resolve() for other in outputs[:number]):
            raise UsageError(f"{path} is named twice as an output")
        if path.exists() and any(path.samefile(read) for read in _read_from(video)):
            raise UsageError(f"{path} belongs to the video that is to be tracked: name another output")


def _read_from(video: str) -> Iterator[Path]:
    """Yield the files that tracking `video` may read: itself, or the images of a folder or a glob."""
    path = Path(video)
    found = list(path.iterdir()) if path.is_dir() else [Path(match) for match in glob(video)]  # noqa: PTH207
    for file in (path, *(file for file in found if file.suffix.lower() in IMAGE_SUFFIXES)):
        if file.exists():
            yield file
