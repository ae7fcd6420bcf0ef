"""Answers a TraX client, such as the VOT toolkit: targets and frames come in, boxes with their scores go out.

Protocol: Čehovin, TraX: The visual Tracking eXchange protocol and library (Neurocomputing, 2017), spoken by the package
vot-trax. Standard output belongs to it.
"""

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..engine.result import Box
from ..errors import BackendError, SourceError, TrkError
from ..video.images import read_image
from ..video.source import Image
from .ope import OnePass
from .peers_trax import MISSING, box_of


def serve(tracker: OnePass, name: str, description: str) -> int:
    """Answer requests until the client leaves; return the number of frames.

    Raises BackendError without vot-trax or where the client stops speaking TraX; SourceError for an image that can't be
    read, and BoxError for a target outside the frame: the client is told, too.
    """
    try:
        import trax
        from trax import TraxStatus
        from trax.server import Server
    except ImportError:
        raise BackendError(f"trk-trax: {MISSING}") from None
    frames = 0
    try:
        server = Server(["rectangle", "polygon"], ["path", "memory", "buffer"], ["color"], name, description, "Siamese")
    except trax.TraxException as error:
        raise BackendError(f"no TraX client answers: {error}; the VOT toolkit starts this command itself") from None
    try:
        while True:
            try:
                request = server.wait()
            except trax.TraxException:
                if not frames:
                    raise
                return frames  # the client left without a word
            if request.type not in (TraxStatus.INITIALIZE, TraxStatus.FRAME):
                return frames
            image = _image(request.image["color"], frames)
            if request.type == TraxStatus.INITIALIZE:
                box, score = _target(request.objects), 1.0
                tracker.init(image, box)
            else:
                box, score = tracker.update(image)[:2]
            frames += 1
            server.status([_answer(box, score)])
    except trax.TraxException as error:
        raise BackendError(f"the TraX client stopped speaking: {error}") from None
    except TrkError as error:
        server.quit(str(error))
        raise
    finally:
        if server._handle is not None:
            server.quit()


def _target(objects: Any) -> Box:
    if len(objects) != 1:
        raise SourceError(f"the TraX client asks for {len(objects)} targets: one is tracked at a time")
    return box_of(objects[0][0])


def _answer(box: Box, score: float) -> tuple[Any, dict[str, float]]:
    from trax.region import Rectangle

    return Rectangle.create(*box), {"confidence": score}


def _image(image: Any, number: int) -> Image:
    """The image as uint8 [H, W, 3] BGR, from whatever the client sent: a file's name, its bytes, or RGB pixels."""
    kind = image.type()
    if kind == "path":
        return read_image(Path(image.path()), number)
    pixels = (
        cv2.imdecode(np.frombuffer(image.buffer(), np.uint8), cv2.IMREAD_COLOR) if kind == "buffer" else image.array()
    )
    if pixels is None or pixels.dtype != np.uint8:
        raise SourceError(f"frame {number} of the TraX client can't be decoded")
    if kind == "memory":
        channels = pixels.shape[2]
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR if channels == 3 else cv2.COLOR_GRAY2BGR)
    return np.ascontiguousarray(pixels, dtype=np.uint8)
