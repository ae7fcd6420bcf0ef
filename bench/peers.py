"""Trackers by what the user calls them: bundles, OpenCV's own, programs that speak TraX, results that lie ready.

A `Spec` is small and goes to other processes; the tracker itself is made there by `open_peer`.
"""

import hashlib
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..engine.bundle import Bundle
from ..engine.params import choose_params
from ..engine.result import Box, Result
from ..engine.tracker import Tracker
from ..errors import UsageError
from ..video.source import Image
from .ope import OnePass
from .peers_opencv import open_opencv, opencv_identity

KINDS = {
    "opencv": "opencv:mil, opencv:kcf, opencv:csrt, opencv:nano:BACKBONE,HEAD, opencv:vit:FILE",
    "command": "command:PROGRAM that speaks TraX",
    "results": "results:FOLDER of result files",
    "stay": "stay (the first box again and again)",
}


@dataclass(frozen=True)
class Spec:
    """A tracker to evaluate, before it is opened."""

    label: str
    """What tables and folders call it."""
    kind: str
    """`bundle`, or one of KINDS."""
    target: str = ""
    """The bundle's path, OpenCV's name with its files, the command, the folder of results."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """What `Tracker` is given besides."""

    @property
    def is_ready(self) -> bool:
        """There is nothing to run: its boxes lie in files."""
        return self.kind == "results"

    def identity(self) -> dict[str, Any]:
        """Return what its boxes and times depend on. Raises what opening it would where it is not there."""
        return _IDENTITIES[self.kind](self)


def bundle_spec(path: Path, label: str | None = None, **options: Any) -> Spec:
    """Return the spec of a bundle; `options` go to `Tracker`: backend, device, threads, preset, params."""
    return Spec(label or path.name.removesuffix(".trk"), "bundle", str(path), options)


def peer_spec(text: str) -> Spec:
    """Return the spec of a peer: one of KINDS. Raises UsageError."""
    kind, _, target = text.partition(":")
    if kind not in KINDS or (kind != "stay" and not target):
        raise UsageError(f"no tracker {text!r}: there are {'; '.join(KINDS.values())}; bundles go to --bundle")
    if kind == "stay":
        return Spec("stay", kind)
    if kind == "opencv":
        return Spec(f"opencv-{target.partition(':')[0]}", kind, target)
    if kind == "results":
        return Spec(Path(target).name or target, kind, target)
    words = shlex.split(target)
    return Spec(Path(words[0]).name if words else "command", kind, target)


def open_peer(spec: Spec) -> OnePass:
    """Return the tracker that `spec` names, ready for `init`."""
    return _OPENERS[spec.kind](spec)


class Stay:
    """The target never moves: the least that a tracker has to beat."""

    def init(self, frame: Image, box: Box) -> None:
        """Remember `box`."""
        del frame
        self._box = box

    def update(self, frame: Image) -> Result:
        """Return the first box."""
        del frame
        return Result(self._box, 0.0, False, 0, 0.0)


def _open_bundle(spec: Spec) -> OnePass:
    return Tracker(spec.target, **spec.options)


def _bundle_identity(spec: Spec) -> dict[str, Any]:
    bundle = Bundle(spec.target)
    manifest = bundle.manifest
    bundle.close()
    options = dict(spec.options)
    params = choose_params(manifest, options.pop("preset", None), options.pop("params", None))
    files = {file.name: file.sha256 for file in manifest.files}
    # The manifest holds more than the files: sizes, crop rules, limits.
    geometry = hashlib.sha256(manifest.model_dump_json(exclude={"parity"}).encode()).hexdigest()
    return {
        "kind": "bundle",
        "files": files,
        "manifest": geometry,
        "params": params,
        **options,
        "weights": manifest.weights.origin,
    }


def _open_command(spec: Spec) -> OnePass:
    from .peers_trax import TraxPeer

    return TraxPeer(shlex.split(spec.target))


_OPENERS: dict[str, Callable[[Spec], OnePass]] = {
    "bundle": _open_bundle,
    "opencv": lambda spec: open_opencv(spec.target),
    "command": _open_command,
    "stay": lambda spec: Stay(),
}
_IDENTITIES: dict[str, Callable[[Spec], dict[str, Any]]] = {
    "bundle": _bundle_identity,
    "opencv": lambda spec: opencv_identity(spec.target),
    "command": lambda spec: {"kind": "command", "command": spec.target},
    "results": lambda spec: {"kind": "results", "folder": spec.target},
    "stay": lambda spec: {"kind": "stay"},
}
