"""What was found, as files: boxes in every format, and the video with the boxes drawn."""

from pathlib import Path

from ..errors import UsageError
from ..video.boxes import open_sink
from ..video.draw import PALETTE, draw
from ..video.record import Record
from ..video.source import Frame, Image, public_name
from ..video.span import open_span
from ..video.writer import CONTAINERS, open_video
from .session import Session

DOWNLOADS = ("boxes.csv", "boxes.json", "boxes.jsonl", "boxes.mot.txt", "boxes.coco.json", "video.mp4")


def write_result(session: Session, path: Path) -> Path:
    """Write what was found so far to `path` in the format of its suffix; return the path.

    Raises UsageError: nothing was tracked yet, or a video of a stream; SinkError, SourceError.
    """
    records = session.records()
    if not records:
        raise UsageError("nothing was tracked yet")
    if path.suffix.lower() in CONTAINERS:
        _write_video(session, records, path)
    else:
        manifest = session.tracker.manifest
        about = {
            "video": public_name(session.video),
            "model": manifest.model,
            "variant": manifest.variant,
            "weights": manifest.weights.origin,
            "params": dict(session.tracker.params),
            "size_wh": list(session.source.size_wh),
        }
        several = len({record.target for record in records}) > 1
        with open_sink(path, about=about, several=several) as sink:
            for record in records:
                sink.write(record)
    return path


def _write_video(session: Session, records: list[Record], path: Path) -> None:
    """Read the video again and draw: what was corrected meanwhile is in it."""
    if not session.seekable:
        raise UsageError("a stream can't be read again: no video of it")
    by_frame: dict[int, list[Record]] = {}
    for record in records:
        by_frame.setdefault(record.frame_index, []).append(record)
    with (
        open_span(session.video, min(by_frame), max(by_frame)) as source,
        open_video(path, source.size_wh, source.fps) as writer,
    ):
        for frame in source:
            writer.write(_drawn(frame, by_frame.get(frame.index, [])), frame.time)


def _drawn(frame: Frame, records: list[Record]) -> Image:
    image = frame.image
    for number, record in enumerate(records):
        image = draw(
            image,
            record.box,
            label=f"#{record.target}",
            score=record.score,
            lost=record.lost,
            frame_index=None if number else frame.index,
            colour=PALETTE[(record.target - 1) % len(PALETTE)],
        )
    return image
