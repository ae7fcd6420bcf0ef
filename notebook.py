"""`preview`: results shown live in a Jupyter notebook, while they pass through to whoever reads them."""

import base64
from collections.abc import Iterable, Iterator
from time import monotonic
from typing import Any, TypeVar

import cv2
import numpy as np

from .errors import UsageError
from .tracking import Followed, Tracked
from .video.draw import draw
from .video.source import Image

One = TypeVar("One", Tracked, Followed)

JPEG_QUALITY = 82


def preview(results: Iterable[One], *, width: int = 640, fps: float = 10.0) -> Iterator[One]:
    """Yield what `trk.track` or `trk.follow` yields, and show its frames with their boxes under the notebook's cell.

        for frame, result, *_ in trk.preview(trk.track("video.mp4", box)):
            ...

    The picture is replaced in place, at most `fps` times a second and at most `width` pixels wide, so that showing it
    costs tracking little; the first and the last frame are always shown, also after the cell was interrupted. A saved
    notebook keeps the last one. Raises UsageError outside a notebook.
    """
    display = _display()

    def shown() -> Iterator[One]:
        handle: Any = None
        waiting: One | None = None
        at = -1 / fps
        try:
            for one in results:
                waiting = one
                if monotonic() - at >= 1 / fps:
                    handle, at, waiting = _show(display, handle, one, width), monotonic(), None
                yield one
        finally:
            if waiting is not None:
                _show(display, handle, waiting, width)

    return shown()


def _display() -> Any:
    try:
        from IPython import get_ipython
        from IPython.display import display
    except ImportError:
        raise UsageError("preview shows frames in a Jupyter notebook, and IPython is not installed") from None
    if get_ipython() is None:
        raise UsageError("preview shows frames in a Jupyter notebook; elsewhere trk-run VIDEO --web shows them")
    return display


def _show(display: Any, handle: Any, one: Tracked | Followed, width: int) -> Any:
    """Show one frame in the place of `handle`, or in a new one; return the place."""
    image = _drawn(one)
    height = max(1, round(image.shape[0] * width / image.shape[1]))
    if image.shape[1] > width:
        image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()
    data = {"image/jpeg": base64.b64encode(jpeg).decode(), "text/plain": f"frame {one.frame.index}"}
    if handle is None:
        return display(data, raw=True, display_id=True)
    handle.update(data, raw=True)
    return handle


def _drawn(one: Tracked | Followed) -> Image:
    if isinstance(one, Tracked):
        one = Followed(one.frame, {1: one.result}, one.decode, one.stages)
    seconds = sum(one.stages)
    speed = 1 / seconds if seconds > 0 else None
    numbered = len(one.results) > 1
    return draw(one.frame.image, one.records(), numbered=numbered, fps=speed, frame_index=one.frame.index)
