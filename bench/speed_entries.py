"""What a speed measurement compares: bundles in runtimes, the same networks run by others, and other trackers."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from ..engine.bundle import Bundle
from ..engine.result import Box, Result, StageTimes
from ..engine.tracker import Tracker
from ..errors import BackendError, UsageError
from ..video.source import Image
from .ope import OnePass
from .peers import open_peer, peer_spec
from .peers_opencv import KINDS, is_there, open_opencv
from .speed import Entry
from .speed_report import about_bundle

AGAINST: Mapping[str, bool | None] = {"upstream-style": None, "upstream-no-grad": False, "opencv-nano": None}
"""Who else runs a bundle's network; of PyTorch, whether gradients are recorded (None: as its upstream does)."""
ALL_OPENCV = "opencv:all"
"""Stands for every tracker of this OpenCV that needs no files."""
TIMEABLE = ("opencv", "stay")


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


class Timed:
    """A tracker that doesn't say where its time goes: all of it counts as search."""

    def __init__(self, tracker: OnePass):
        self._tracker = tracker
        self.stages = StageTimes(0.0, 0.0, 0.0)

    def init(self, frame: Image, box: Box) -> None:
        """Take the target."""
        self._tracker.init(frame, box)

    def update(self, frame: Image) -> Result:
        """Return where the target is."""
        began = perf_counter()
        result = self._tracker.update(frame)
        self.stages = StageTimes(0.0, perf_counter() - began, 0.0)
        return result


def entries(wanted: Wanted) -> list[Entry]:
    """Return an entry for each bundle, runtime and number of threads, for who else runs it, and for each peer.

    Raises BackendError, UsageError, SourceError or CheckpointError where one can't be had.
    """
    found: list[Entry] = []
    for label, bundle in wanted.bundles.items():
        about = about_bundle(bundle)
        for backend in wanted.backends:
            for count in wanted.threads:
                found.append(_bundle_entry(label, bundle, backend, count, wanted.device, about))
        if wanted.against:
            found += _against(label, bundle, wanted, about)
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


def _bundle_entry(
    label: str, bundle: Bundle, backend: str, threads: int, device: str | None, about: Mapping[str, Any]
) -> Entry:
    tracker = Tracker(bundle, backend, device, threads)
    recipe = {
        "kind": "bundle",
        "path": str(bundle.path.resolve()),
        "backend": backend,
        "device": device,
        "threads": threads,
    }
    about = {**about, "device": tracker.backend.device}
    return Entry(label, tracker.backend.name, threads, tracker, about, recipe=recipe)


def _against(label: str, bundle: Bundle, wanted: Wanted, about: Mapping[str, Any]) -> Iterator[Entry]:
    try:
        from .upstream_style import network_of, upstream_style
    except ImportError as error:
        raise BackendError(
            f"--against needs PyTorch ({error.name} is missing): pip install 'trk-engine[export]', or leave it out"
        ) from None
    net = network_of(bundle, wanted.weights)
    for how in wanted.against:
        for count in wanted.threads:
            if how == "opencv-nano":
                yield _opencv_nano(label, net, count, wanted.folder / label.replace("/", "_"))
                continue
            tracker = upstream_style(bundle, net, gradients=AGAINST[how])
            yield Entry(label, how, count, tracker, dict(about), tracker.is_close_call)


def _opencv_nano(label: str, net: Any, threads: int, folder: Path) -> Entry:
    from ..models.nanotrack import NanoTrack
    from .opencv_nano import FILES, write_opencv_nano

    if not isinstance(net, NanoTrack):
        raise UsageError(f"--against opencv-nano: {label} is no NanoTrack, and OpenCV's TrackerNano runs nothing else")
    if not folder.exists():
        folder.mkdir(parents=True)
        write_opencv_nano(net, folder)
    target = "nano:" + ",".join(str(folder / name) for name in FILES)
    recipe = {"kind": "peer", "target": f"opencv:{target}", "threads": threads}
    runner = Timed(open_opencv(target))
    return Entry(label, "opencv-nano", threads, runner, {}, has_parts=False, same_boxes=False, recipe=recipe)


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
