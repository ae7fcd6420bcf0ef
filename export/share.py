"""Graphs of one bundle that hold the same weights keep them once, in a file beside them."""

from collections.abc import Mapping
from hashlib import sha256

import onnx

WEIGHTS = "weights.bin"
_SMALLEST = 1024
_ALIGNED = 64


def shared_weights(models: Mapping[str, onnx.ModelProto]) -> dict[str, bytes]:
    """Return the files of `models`, initialisers of a kilobyte or more moved into one weights file, each once.

    The weights file is missing where nothing is that large.
    """
    blob = bytearray()
    places: dict[str, int] = {}
    files: dict[str, bytes] = {}
    for name, model in models.items():
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        for tensor in copy.graph.initializer:
            data = tensor.raw_data
            if len(data) < _SMALLEST:
                continue
            key = sha256(data).hexdigest()
            if key not in places:
                blob.extend(b"\0" * (-len(blob) % _ALIGNED))
                places[key] = len(blob)
                blob.extend(data)
            tensor.ClearField("raw_data")
            tensor.data_location = onnx.TensorProto.EXTERNAL
            for field, value in (("location", WEIGHTS), ("offset", places[key]), ("length", len(data))):
                tensor.external_data.add(key=field, value=str(value))
        files[name] = copy.SerializeToString()
    if blob:
        files[WEIGHTS] = bytes(blob)
    return files
