"""OpenCV's own trackers behind `init` and `update`.

KCF and CSRT are in OpenCV's contrib modules only; Nano and Vit need their ONNX files.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from ..engine.result import Box, Result
from ..errors import BackendError, SourceError, UsageError
from ..video.images import SILENT, set_log_level
from ..video.source import Image


class _Kind(NamedTuple):
    class_name: str
    files: tuple[str, ...] = ()
    """Names in the parameters of the files it needs."""


KINDS = {
    "mil": _Kind("TrackerMIL"),
    "kcf": _Kind("TrackerKCF"),
    "csrt": _Kind("TrackerCSRT"),
    "nano": _Kind("TrackerNano", ("backbone", "neckhead")),
    "vit": _Kind("TrackerVit", ("net",)),
}


def _parse(target: str) -> tuple[str, list[Path]]:
    name, _, files = target.partition(":")
    paths = [Path(file) for file in files.split(",") if file]
    if name not in KINDS:
        raise UsageError(f"OpenCV has no tracker {name!r} here: there are {', '.join(KINDS)}")
    wanted = KINDS[name].files
    if len(paths) != len(wanted):
        raise UsageError(
            f"opencv:{name} needs {len(wanted)} files: --tracker opencv:{name}:{','.join(wanted).upper()}"
            if wanted
            else f"opencv:{name} takes no files"
        )
    for path in paths:
        if not path.is_file():
            raise SourceError(f"opencv:{name}: no file {path}")
    return name, paths


def opencv_identity(target: str) -> dict[str, Any]:
    """Return what the boxes of an OpenCV tracker depend on. Raises as opening it would."""
    name, paths = _parse(target)
    _create(name, paths)
    hashes = [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    return {"kind": "opencv", "name": name, "version": cv2.__version__, "files": hashes}


def is_there(name: str) -> bool:
    """Whether this OpenCV has the tracker `name`, one of KINDS."""
    return hasattr(cv2, f"{KINDS[name].class_name}_create")


def open_opencv(target: str) -> "OpenCVPeer":
    """Return the tracker that `NAME` or `NAME:FILE,FILE` names. Raises UsageError, SourceError, BackendError."""
    name, paths = _parse(target)
    return OpenCVPeer(lambda: _create(name, paths))


def _create(name: str, paths: list[Path]) -> Any:
    kind = KINDS[name]
    create = getattr(cv2, f"{kind.class_name}_create", None)
    if create is None:
        raise BackendError(
            f"opencv:{name} is not in this OpenCV ({cv2.__version__}): it is in the contrib modules of OpenCV 4: "
            "pip install opencv-contrib-python-headless in place of opencv-python-headless"
        )
    if not kind.files:
        return create()
    params = getattr(cv2, f"{kind.class_name}_Params")()
    for attribute, path in zip(kind.files, paths, strict=True):
        setattr(params, attribute, str(path))
    level = set_log_level(SILENT)  # OpenCV 5 warns that its networks know no targets, each time
    try:
        return create(params)
    except cv2.error as error:
        raise BackendError(f"opencv:{name}: OpenCV can't read its files: {str(error).splitlines()[0]}") from None
    finally:
        set_log_level(level)


class OpenCVPeer:
    """A tracker of OpenCV; it takes whole pixels, and where it says lost the last box stays."""

    def __init__(self, create: Callable[[], Any]):
        self._create = create
        self._tracker: Any = None
        self._box: Box = (0.0, 0.0, 0.0, 0.0)

    def init(self, frame: Image, box: Box) -> None:
        """Start anew at `box`: OpenCV's trackers are made once a target."""
        self._tracker = self._create()
        self._box = box
        x, y, w, h = (round(value) for value in box)
        try:
            self._tracker.init(frame, (x, y, max(w, 1), max(h, 1)))
        except cv2.error as error:
            raise _refused(error) from None

    def update(self, frame: Image) -> Result:
        """Return the box; the score is OpenCV's where it has one, otherwise 1 or 0 for found or not."""
        try:
            found, box = self._tracker.update(np.ascontiguousarray(frame))
        except cv2.error as error:
            raise _refused(error) from None
        if found:
            x, y, w, h = (float(value) for value in box)
            self._box = (x, y, w, h)
        has_score = hasattr(self._tracker, "getTrackingScore")
        score = float(self._tracker.getTrackingScore()) if has_score else float(found)
        return Result(self._box, score, not found, 0, 0.0)


def _refused(error: cv2.error) -> BackendError:
    return BackendError(f"OpenCV's tracker gave up: {str(error).splitlines()[0]}")
