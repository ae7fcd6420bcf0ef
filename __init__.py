"""trk: Siamese visual object tracking in real time. `Tracker` is the way in."""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import (
    BackendError,
    BoxError,
    BundleError,
    CheckpointError,
    ExportError,
    FrameError,
    ModelError,
    SinkError,
    SourceError,
    TrkError,
    UsageError,
)

if TYPE_CHECKING:
    from .engine.multi import MultiTracker
    from .engine.result import Result
    from .engine.tracker import Tracker
    from .many_videos import follow_all
    from .notebook import preview
    from .tracking import follow, track
    from .weights.shipped import default_bundle

# ONNX Runtime 1.29 and later tell its maker of every session, unless this is set before it is loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"

__all__ = [
    "BackendError",
    "BoxError",
    "BundleError",
    "CheckpointError",
    "ExportError",
    "FrameError",
    "ModelError",
    "MultiTracker",
    "Result",
    "SinkError",
    "SourceError",
    "Tracker",
    "TrkError",
    "UsageError",
    "default_bundle",
    "follow",
    "follow_all",
    "preview",
    "track",
]

# Loaded when first asked for: `import trk` costs nothing, and `trk.models` never drags in the engine.
_LAZY = {
    "MultiTracker": ".engine.multi",
    "Result": ".engine.result",
    "Tracker": ".engine.tracker",
    "default_bundle": ".weights.shipped",
    "follow": ".tracking",
    "follow_all": ".many_videos",
    "preview": ".notebook",
    "track": ".tracking",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
