"""A stateless step, for hosts that keep the state themselves: labelling tools, functions behind a queue, many machines.

What goes in and comes out is JSON: numbers, lists and one picture (the template, as PNG in base64). No pickle, no
kernels: those are computed again from the template, and kept as long as there is room. The need: cvat-ai/cvat#1988.
"""

import base64
import binascii
import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from math import isfinite
from typing import Annotated, Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter, ValidationError

from ..errors import UsageError
from .policy import POLICIES
from .result import Result
from .state import State as Held
from .target import Target
from .tracker import Tracker

SCHEMA = 1
KEPT_TEMPLATES = 64
"""Templates whose kernels are kept: a host that follows no more targets in turn pays for each template once."""
MAX_NUMBER = 1e7
"""No pixel position or size in a state is larger."""
MAX_TEMPLATE_CHARS = 8 << 20

State = dict[str, Any]
"""What a host keeps of a target; passes through JSON unchanged. Its keys are this file's business."""

_TARGET = TypeAdapter(Target)
_MEMORY = TypeAdapter(tuple[float | None, bool, Annotated[int, Field(ge=0)]])


class Step:
    """Tracks targets whose state the caller keeps, with the first template and without looking for lost ones elsewhere.

    Results equal those of `Tracker(template_rate=0, on_lost="follow")` on these frames.

        step = Step()
        state = step.start(frame, (x, y, w, h))
        results, state = step.run(state, next_frames)       # one frame or hundreds

    `tracker`: whose bundle, backend and hyper-parameters are used; None is `Tracker()`. It serves this step alone.
    Calls may come from any thread: they take turns.
    """

    def __init__(self, tracker: Tracker | None = None):
        self._tracker = tracker or Tracker()
        if self._tracker.template_rate not in (0.0, self._tracker.manifest.template_rate):
            raise UsageError("a state holds one template: give a step a tracker that does not update its own")
        self._tracker.template_rate, self._tracker.policy = 0.0, POLICIES["follow"]
        files = sorted((file.name, file.sha256) for file in self._tracker.manifest.files)
        self._bundle = hashlib.sha256(repr(files).encode()).hexdigest()
        self._kernels: OrderedDict[bytes, Any] = OrderedDict()
        self._lock = threading.Lock()

    def start(self, frame: NDArray[np.uint8], box: Sequence[float]) -> State:
        """Return the state of a target that fills `box` (x, y, w, h) in `frame`. Raises FrameError, BoxError."""
        with self._lock:
            tracker = self._tracker
            tracker.init(frame, box)
            crop, size = tracker.backend.template_crop.copy(), tracker._size.copy()
            assert tracker.state is not None
            self._keep(_key(crop, size), tracker.state.kernels)
            return {
                "schema": SCHEMA,
                "bundle": self._bundle,
                "template": _to_text(crop),
                "size": size[0].tolist(),
                "fill": tracker.state.fill.tolist(),
                **_moving(tracker.state),
            }

    def run(self, state: Mapping[str, Any], frames: Iterable[NDArray[np.uint8]]) -> tuple[list[Result], State]:
        """Return a result for each frame, and the state behind the last one; `state` itself stays good.

        Raises FrameError; UsageError: not a state, or one of another bundle.
        """
        with self._lock:
            tracker = self._tracker
            held, crop, size = self._read(state)
            held.kernels = self._kernels_of(crop, size)
            tracker.state = held
            results = [tracker.update(frame) for frame in frames]
            return results, {**state, **_moving(held)}

    def _kernels_of(self, crop: NDArray[np.uint8], size: NDArray[np.float32]) -> Any:
        key = _key(crop, size)
        kernels = self._kernels.get(key)
        if kernels is None:
            backend = self._tracker.backend
            backend.template_crop[:] = crop
            kernels = backend.template(size, self._tracker._param_arrays[0])
        self._keep(key, kernels)
        return kernels

    def _keep(self, key: bytes, kernels: Any) -> None:
        self._kernels[key] = kernels
        self._kernels.move_to_end(key)
        if len(self._kernels) > KEPT_TEMPLATES:
            self._kernels.popitem(last=False)

    def _read(self, state: Mapping[str, Any]) -> tuple[Held, NDArray[np.uint8], NDArray[np.float32]]:
        """The parts of a state, checked: it may come from anywhere. The kernels are still missing."""
        try:
            if state["schema"] != SCHEMA:
                raise UsageError(f"this state has schema {state['schema']!r}, not {SCHEMA}: start the target anew")
            if state["bundle"] != self._bundle:
                raise UsageError("this state was made with another bundle: start the target anew, or load that bundle")
            target, seen = (_TARGET.validate_python(state[name]) for name in ("target", "seen"))
            recent, lost, scanned = _MEMORY.validate_python([state[name] for name in ("recent", "lost", "scanned")])
            numbers = [number for name in ("target", "seen", "size", "recent") for number in _numbers(state[name])]
            if not all(isfinite(number) and abs(number) <= MAX_NUMBER for number in numbers):
                raise ValueError("a number is not finite, or too large")
            if not all(t.w > 0 and t.h > 0 and t.side > 0 and min(t.first_size) > 0 for t in (target, seen)):
                raise ValueError("a size is not above zero")
            size = np.array([state["size"]], np.float32).reshape(1, 2)
            fill = np.array(state["fill"]).reshape(3)
            if not ((fill >= 0) & (fill <= 255)).all():
                raise ValueError("the fill colour is none")
            crop = _from_text(state["template"], self._tracker.backend.template_crop.shape)
        except (KeyError, TypeError, ValueError, OverflowError, ValidationError) as error:
            what = f"{error} is missing" if isinstance(error, KeyError) else " ".join(str(error).split())[:120]
            raise UsageError(f"this is not a state that Step.start or Step.run returned ({what})") from None
        held = Held(target, None, fill.astype(np.uint8), recent, lost, scanned)
        held.seen = seen
        return held, crop, size


def _key(crop: NDArray[np.uint8], size: NDArray[np.float32]) -> bytes:
    return hashlib.sha256(crop.tobytes() + size.tobytes()).digest()


def _moving(state: Held) -> dict[str, Any]:
    """What a frame changes."""
    return {
        "target": _plain(state.target),
        "seen": _plain(state.seen),
        "recent": state.recent,
        "lost": state.lost,
        "scanned": state.scanned,
    }


def _plain(target: Target) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(target).items()}


def _numbers(value: Any) -> list[float]:
    """All numbers in nested lists and dicts; None is none."""
    if isinstance(value, Mapping):
        return _numbers(list(value.values()))
    if isinstance(value, (list, tuple)):
        return [number for part in value for number in _numbers(part)]
    return [] if value is None else [float(value)]


def _to_text(crop: NDArray[np.uint8]) -> str:
    """The crops [K, T, T, 3] under each other as one PNG, in base64: lossless."""
    tall = crop.reshape(-1, *crop.shape[2:])
    return base64.b64encode(cv2.imencode(".png", tall)[1].tobytes()).decode("ascii")


def _from_text(text: str, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    if not isinstance(text, str) or len(text) > MAX_TEMPLATE_CHARS:
        raise ValueError("the template is no text, or too long")
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("the template is not base64") from error
    # The header's size is looked at first: a small file may unpack to gigabytes.
    wanted = (shape[0] * shape[1], shape[2])
    if data[:8] != b"\x89PNG\r\n\x1a\n" or (_int(data[20:24]), _int(data[16:20])) != wanted:
        raise ValueError(f"the template is not a PNG of {wanted[1]}x{wanted[0]}")
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if image is None or image.shape != (*wanted, 3):
        raise ValueError("the template can't be decoded")
    return np.asarray(image, np.uint8).reshape(shape)


def _int(data: bytes) -> int:
    return int.from_bytes(data, "big")
