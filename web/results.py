"""What was found so far, as files to download: boxes in every format, and the video with the boxes drawn."""

from pathlib import Path

from ..errors import UsageError
from ..video.boxes import open_sink
from ..video.writer import CONTAINERS
from .outlets import write_video
from .session import Session

DOWNLOADS = ("boxes.csv", "boxes.json", "boxes.jsonl", "boxes.mot.txt", "boxes.coco.json", "video.mp4")


def write_result(session: Session, path: Path) -> Path:
    """Write what was found so far to `path` in the format of its suffix; return the path.

    Raises UsageError: nothing was tracked yet, a video of a stream, or the run was wound back meanwhile; SinkError,
    SourceError.
    """
    if not session.journal:
        raise UsageError("nothing was tracked yet")
    if path.suffix.lower() in CONTAINERS:
        if not session.seekable:
            raise UsageError("a stream can't be read again: no video of it")
        write_video(session.video, session.journal, path)
    else:
        several = len(session.journal.targets()) > 1
        with open_sink(path, about=session.about, several=several) as sink:
            for record in session.journal.records():
                sink.write(record)
    return path
