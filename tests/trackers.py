"""Trackers on another backend than they were loaded with, and what tests ask of backends without a tracker."""

import numpy as np

from trk.engine.bundle import Bundle
from trk.export.write import write_bundle

PARAMS = np.array([0.97, 0.2, 0.3, 1.04], np.float32)
"""Of the tiny bundle's step."""


def on_backend(tracker, backend):
    """`tracker`, a `Tracker` or `MultiTracker`, from now on with `backend`."""
    inner = getattr(tracker, "tracker", tracker)
    inner.backend, inner._cropper = backend, backend.cropper(inner.manifest.geometry.crop)
    return tracker


def track(tracker, frames, box):
    """The results of `frames` but the first, in which the target is `box`."""
    tracker.init(frames[0], box)
    return [tracker.update(frame) for frame in frames[1:]]


def boxes(results):
    return np.array([result.box for result in results])


def changed(path, out, **fields):
    """Another bundle of the same graphs, with other `fields` in its manifest."""
    bundle = Bundle(path)
    files = {file.name: bundle.read(file.name) for file in bundle.manifest.files}
    write_bundle(out, bundle.manifest.model_copy(update=fields), files)
    return out
