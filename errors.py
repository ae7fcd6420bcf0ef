"""The errors of trk. Each message says what was seen, what is allowed and what to do next.

TrkError
├── UsageError        an option or argument that makes no sense
├── BundleError       a bundle is missing, damaged or not what its manifest says
├── CheckpointError   a checkpoint can't be read or does not fit the model
├── ModelError        no such model, variant or preset
├── ExportError       the exported graphs disagree with PyTorch
├── SourceError       a video, image folder or stream can't be read
├── SinkError         a result can't be written
├── BoxError          a box is malformed or outside the frame
├── FrameError        a frame has the wrong type, shape or size
└── BackendError      a runtime or device that was asked for is not usable here
"""


class TrkError(Exception):
    """Base of every error that trk raises on purpose."""


class UsageError(TrkError):
    """An option or argument that makes no sense."""


class BundleError(TrkError):
    """A bundle is missing, damaged or not what its manifest says."""


class CheckpointError(TrkError):
    """A checkpoint can't be read or does not fit the model."""


class ModelError(TrkError):
    """No such model, variant or preset."""


class ExportError(TrkError):
    """The exported graphs disagree with PyTorch."""


class SourceError(TrkError):
    """A video, image folder or stream can't be read."""


class SinkError(TrkError):
    """A result can't be written."""


class BoxError(TrkError):
    """A box is malformed or outside the frame."""


class FrameError(TrkError):
    """A frame has the wrong type, shape or size."""


class BackendError(TrkError):
    """A runtime or device that was asked for is not usable here."""
