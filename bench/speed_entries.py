"""What a speed measurement compares: bundles in runtimes, the same networks run by others, and other trackers."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from ..engine.bundle import Bundle
from ..engine.result import Box, Result, StageTimes
from ..engine.tracker import Tracker
from ..errors import BackendError, UsageError
from ..video.source import Image
from .crowd import Crowd
from .device import torch_with_gpu
from .peers import open_peer, peer_spec
from .peers_opencv import KINDS, is_there
from .speed import Entry
from .speed_against import against
from .speed_report import about_bundle
from .timed import Timed

ALL_OPENCV = "opencv:all"
"""Stands for every tracker of this OpenCV that needs no files."""
TIMEABLE = ("opencv", "stay")
HOST, DEVICE = "host", "device"
"""Where frames lie before they are tracked."""


@dataclass(frozen=True)
class Wanted:
    """What is to be compared."""

    bundles: Mapping[str, Bundle]
    """By what tables call them."""
    backends: Sequence[str]
    device: str | None
    threads: Sequence[int]
    peers: Sequence[str]
    against: Sequence[str]
    weights: Sequence[Path]
    """Checkpoints that the bundles were exported from."""
    folder: Path
    """For files that others read their networks from; it has to stay until all is measured."""
    targets: Sequence[int] = (1,)
    """How many targets a bundle follows at once. Others follow one."""
    frames_on: Sequence[str] = (HOST,)
    """Where the frames that a bundle is given lie. Others are given the host's."""


class NotOpened:
    """Stands in a measurement for a tracker that could not be opened, and says why."""

    def __init__(self, error: BackendError):
        self.error = error
        self.stages = StageTimes(0.0, 0.0, 0.0)

    def init(self, frame: Image, box: Box) -> None:
        """Raise what opening it raised."""
        raise self.error

    def update(self, frame: Image) -> Result:
        """Raise what opening it raised."""
        raise self.error


def entries(wanted: Wanted) -> list[Entry]:
    """Return an entry for each bundle, runtime and number of threads, for who else runs it, and for each peer.

    A runtime that can't be had fails alone, where others can. Raises BackendError where none can, or no other way to
    run a bundle; UsageError, SourceError or CheckpointError.
    """
    if DEVICE in wanted.frames_on:
        if wanted.device != "cuda":
            raise UsageError("--frames-on device: frames lie on a GPU there, so --device cuda goes with it")
        torch_with_gpu()
    found: list[Entry] = []
    for label, bundle in wanted.bundles.items():
        about = about_bundle(bundle)
        for backend, count in product(wanted.backends, wanted.threads):
            found += _bundle_entries(label, bundle, backend, count, wanted, about)
        if wanted.against:
            place = wanted.weights, wanted.device, wanted.folder
            found += against(label, bundle, wanted.against, wanted.threads, *place, about)
    own = [entry for entry in found if entry.how not in wanted.against]
    closed = [entry.runner for entry in own if isinstance(entry.runner, NotOpened)]
    if closed and len(closed) == len(own):
        raise closed[0].error
    for target in _peers(wanted.peers):
        spec = peer_spec(target)
        for count in wanted.threads:
            recipe = {"kind": "peer", "target": target, "threads": count}
            found.append(Entry(spec.label, spec.kind, count, Timed(open_peer(spec)), has_parts=False, recipe=recipe))
    return found


def choose_baseline(
    found: Sequence[Entry], name: str | None, against: Sequence[str] = ()
) -> tuple[Entry | None, list[str]]:
    """Return the entry that all are compared with, or ways to run: others of the same bundle are compared with those.

    `name` is a bundle or peer (its first entry is the one), or a way to run. None: the ways of `against`; else the
    first runtime of several; else the first entry of several. Raises UsageError.
    """
    hows = list(dict.fromkeys(entry.how for entry in found))
    if name is None:
        if against:
            return None, list(against)
        shared = [how for how in hows if len({entry.how for entry in found if entry.label in _labels(found, how)}) > 1]
        if shared:
            return None, shared[:1]
        return (found[0] if len(found) > 1 else None), []
    for entry in found:
        if name == entry.label:
            return entry, list(against)
    if name in hows:
        return None, [*against, *([] if name in against else [name])]
    names = dict.fromkeys(name for entry in found for name in (entry.label, entry.how))
    raise UsageError(f"--baseline {name} is nothing that is measured: there are {', '.join(names)}")


def _labels(found: Sequence[Entry], how: str) -> set[str]:
    return {entry.label for entry in found if entry.how == how}


def _bundle_entries(
    label: str, bundle: Bundle, backend: str, threads: int, wanted: Wanted, about: Mapping[str, Any]
) -> Iterator[Entry]:
    for targets, place in product(wanted.targets, wanted.frames_on):
        try:
            # Several targets are shared out to the cores, one thread each.
            tracker = Tracker(bundle, backend, wanted.device, threads if targets == 1 else 1)
        except BackendError as error:
            yield Entry(label, backend, threads, NotOpened(error), {**about, "frames_on": place}, targets=targets)
            continue
        recipe: dict[str, Any] | None = {
            "kind": "bundle",
            "path": str(bundle.path.resolve()),
            "backend": backend,
            "device": wanted.device,
            "threads": threads,
            "targets": targets,
        }
        device = tracker.backend.device
        yield Entry(
            label,
            tracker.backend.name + (", frames on the device" if place == DEVICE else ""),
            threads,
            tracker if targets == 1 else Crowd(tracker, targets, threads),
            {**about, "device": device, "frames_on": place},
            # On a device boxes differ by more than is allowed here: how far is told, and bench.gpu_numerics judges it.
            same_boxes=device == "cpu",
            recipe=None if place == DEVICE else recipe,  # the other process is given frames of the host
            targets=targets,
            on_device=place == DEVICE,
        )


def _peers(texts: Sequence[str]) -> list[str]:
    """Return the peers to time, once each. Raises UsageError for those whose time says nothing."""
    found: list[str] = []
    for text in texts:
        if text == ALL_OPENCV:
            found += [f"opencv:{name}" for name, kind in KINDS.items() if not kind.files and is_there(name)]
        elif text.partition(":")[0] in TIMEABLE:
            found.append(text)
        else:
            raise UsageError(
                f"--tracker {text} can't be timed beside bundles: name {ALL_OPENCV}, opencv:NAME or stay "
                "(trk-eval takes the others, too)"
            )
    return list(dict.fromkeys(found))
