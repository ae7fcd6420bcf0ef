"""Frames from standard input: any container, MJPEG, or bare pictures of a known size."""

import re

import av

from ..errors import SourceError
from .files import ContainerSource
from .source import Source

RAW = re.compile(r"(\d{1,5})[xX](\d{1,5})(?::([a-z0-9]+))?(?::(\d+(?:\.\d+)?))?")
MAX_SIDE = 32767

OPEN_SECONDS = 30.0
"""How long the first bytes may take."""


def open_pipe(descriptor: int = 0, raw: str | None = None) -> Source:
    """Frames that arrive at a file descriptor, in order and none left out.

    `raw`: `WIDTHxHEIGHT[:FORMAT[:FPS]]` for pictures without any header; FORMAT is FFmpeg's name, bgr24 if not given.
    Raises SourceError: not a video, nothing in it, or a `raw` that makes no sense.
    """
    kind, options = (None, {}) if raw is None else ("rawvideo", raw_options(raw))
    try:
        container = av.open(f"pipe:{descriptor}", format=kind, options=options, timeout=(OPEN_SECONDS, None))
    except (av.error.FFmpegError, OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        hint = "" if raw is not None else "; bare pictures need --raw WIDTHxHEIGHT"
        raise SourceError(f"standard input is not a video that FFmpeg can read ({why}){hint}") from error
    return ContainerSource(container, "standard input")


def raw_options(raw: str) -> dict[str, str]:
    """FFmpeg's options for `WIDTHxHEIGHT[:FORMAT[:FPS]]`. Raises SourceError."""
    found = RAW.fullmatch(raw.strip())
    sides = [int(side) for side in found.groups()[:2]] if found else []
    if found is None or not all(1 <= side <= MAX_SIDE for side in sides):
        raise SourceError(f"--raw {raw!r} is not WIDTHxHEIGHT[:FORMAT[:FPS]], such as 640x480 or 640x480:gray:30")
    form = found[3] or "bgr24"
    try:
        av.VideoFormat(form)
    except ValueError:
        raise SourceError(
            f"--raw {raw!r}: FFmpeg has no pixel format {form!r}: try bgr24, rgb24, gray, yuv420p"
        ) from None
    return {"video_size": f"{sides[0]}x{sides[1]}", "pixel_format": form, "framerate": found[4] or "25"}
