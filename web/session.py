"""One video on the page: its current picture, its targets and what was found so far; commands from any thread."""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import sleep
from typing import Any

from ..engine.multi import MultiTracker
from ..engine.result import Box
from ..engine.tracker import Tracker
from ..errors import UsageError
from ..tracking import as_record
from ..video.ahead import Ahead
from ..video.record import Record
from ..video.source import STDIN, Frame, Image, Position, Source, public_name
from ..video.span import open_span
from .history import History
from .journal import Journal
from .outlets import Outlets
from .timeline import Timeline

MAX_TARGETS = 64
WAIT_SECONDS = 0.001
SPEED_FRAMES = 30
"""Frames that the shown frames per second are the mean of."""

CHOOSING, RUNNING, PAUSED, DONE, FAILED = "choosing", "running", "paused", "done", "failed"


class Session:
    """Tracks a video in a thread of its own, as the page says.

    States: choosing (before the first run), running, paused, done (the video has ended), failed (`message` says why).
    `listen` registers a callback for every change. `outputs`: files that are written along, complete after `finish`.
    What was found is kept on disk, and of the states to go back to a few hundred: memory does not grow with the run.
    Raises SourceError, SinkError at once where the video can't be read or an output not be written.
    """

    def __init__(
        self,
        video: str,
        tracker: Tracker,
        start: Position = 0,
        end: Position | None = None,
        raw: str | None = None,
        outputs: Sequence[Path] = (),
    ):
        self.tracker = tracker
        self.video = video
        self._span = (start, end)
        self.source: Source = open_span(video, start, end, raw=raw)
        self.seekable = not self.source.live and video != STDIN
        self.state = CHOOSING
        self.message = ""
        self.epoch = 0
        """Grows when moments that were told are no longer true."""
        self.journal = Journal()
        """Every record so far."""
        self.frame: Frame = next(self.source)
        self.first = self.frame.index
        """Number of the first frame that can be tracked."""
        self.picture_number = 0
        """Grows with every picture shown."""
        self._targets = MultiTracker(tracker)
        self._now: dict[int, Record] = {}
        """The records of the current picture, by target."""
        self._timeline = Timeline()
        self._history = History()
        try:
            self._outlets = Outlets(outputs, self.journal, self.source, video if self.seekable else None, self.about)
        except BaseException:
            self.source.close()
            raise
        self._seconds: deque[float] = deque(maxlen=SPEED_FRAMES)
        self._listeners: list[Callable[[], None]] = []
        self._changed = threading.Condition(threading.RLock())
        self._count = threading.Lock()
        self._asking = 0
        self._closed = False
        self._read: Frame | None = None
        if not self.source.live:
            self.source = Ahead(self.source)
        self._thread = threading.Thread(target=self._work, name="trk-session", daemon=True)
        self._thread.start()

    @property
    def name(self) -> str:
        """The video's name for a title."""
        return Path(self.video).name if "://" not in self.video else self.source.name

    @property
    def about(self) -> dict[str, object]:
        """What the head of a file of boxes says."""
        manifest = self.tracker.manifest
        return {
            "video": public_name(self.video),
            "model": manifest.model,
            "variant": manifest.variant,
            "weights": manifest.weights.origin,
            "params": dict(self.tracker.params),
            "size_wh": list(self.source.size_wh),
        }

    @property
    def fps(self) -> float | None:
        """Frames per second of tracking alone, all targets together; None before there is any."""
        total = sum(self._seconds)
        return len(self._seconds) / total if total > 0 else None

    def listen(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` (from any thread, and quickly) after every change; returns how to end that."""
        self._listeners.append(callback)
        return lambda: self._listeners.remove(callback)

    def look(self, since: int, epoch: int) -> tuple[dict[str, Any], int, Image]:
        """What the page has to know now, and the picture with its number.

        The moments from number `since` on are told; all of them where `epoch` is not the current one.
        """
        with self._turn():
            points = len(self._timeline.points)
            first = max(0, min(since, points) - 1) if epoch == self.epoch else 0  # the last one may have changed
            status = {
                "type": "status",
                "state": self.state,
                "message": self.message,
                "frame": self.frame.index,
                "time": round(self.frame.time, 4),
                "fps": None if self.fps is None else round(self.fps, 1),
                "epoch": self.epoch,
                "first": first,
                "targets": [_target(self._now[target]) for target in sorted(self._now)],
                "moments": list(self._timeline.told(first)),
            }
            return status, self.picture_number, self.frame.image

    def place(self, box: Sequence[float], target: int | None = None) -> int:
        """Follow what `box` holds in the current picture; return its number. Raises BoxError, UsageError."""
        with self._turn():
            if self.state not in (CHOOSING, PAUSED):
                raise UsageError(f"a box is drawn before the run or while it is paused, not while it is {self.state}")
            if target is not None and target not in self._targets.ids:
                raise UsageError(f"there is no target {target} any more: draw a new one")
            if target is None and len(self._targets.ids) >= MAX_TARGETS:
                raise UsageError(f"{MAX_TARGETS} targets are the most that one page follows")
            target = self._targets.add(self.frame.image, box, target)
            x, y, w, h = (float(value) for value in box)
            self._now[target] = as_record(self.frame, target, self.tracker.given((x, y, w, h)))
            self._change()
            return target

    def remove(self, target: int) -> None:
        """Forget a target, from the current picture on."""
        with self._turn():
            self._targets.remove(target)
            if self._now.pop(target, None) is not None:
                self._change()
            if self.state == RUNNING and not self._targets.ids:
                self.state = PAUSED
                self._tell()

    def run(self) -> None:
        """Begin, or go on. Raises UsageError: no target yet, or nothing left."""
        with self._turn():
            if self.state == DONE:
                raise UsageError("the video has ended: go back on the timeline first")
            if self.state == FAILED:
                raise UsageError(self.message)
            if not self._targets.ids:
                raise UsageError("there is no target yet: draw a box around one")
            self.state, self.message = RUNNING, ""
            self._tell()

    def pause(self) -> None:
        """Stop after the picture that is being tracked; fine in every state."""
        with self._turn():
            if self.state == RUNNING:
                self.state = PAUSED
                self._tell()

    def seek(self, frame_index: int) -> None:
        """Go back to a frame that was tracked, paused; what came after it is forgotten when the run goes on.

        Raises UsageError: a live source, or nothing tracked there; SourceError.
        """
        with self._turn():
            if not self.seekable:
                raise UsageError("a stream can't be wound back")
            number = self.journal.frame_at(frame_index)
            if number is None:
                raise UsageError("nothing was tracked there yet")
            if number == self.frame.index and self.state in (CHOOSING, PAUSED):
                return
            source, frame = self._tracked_again(number)
            self.source.close()
            self.source, self.frame, self._read = Ahead(source), frame, None
            self.journal.cut(number)
            self._history.cut(number)
            self._timeline.cut(number, self.journal.records(self._timeline.begin_of(number)))
            self._now = {record.target: record for record in self.journal.records(number)}
            self.state, self.message = PAUSED, ""
            self.picture_number += 1
            self._tell(new_epoch=True)
            self._outlets.wind_back()

    def records(self) -> list[Record]:
        """All records so far, in the order of frames, then of targets."""
        with self._turn():
            return list(self.journal.records())

    def finish(self) -> list[Path]:
        """End the thread, close the video and complete the outputs; return those that were written.

        Raises SinkError; SourceError: a video that was wound back can't be read again.
        """
        self._stop()
        return self._outlets.close()

    def close(self) -> None:
        """`finish`, and forget everything."""
        try:
            self.finish()
        finally:
            self.journal.close()

    def _stop(self) -> None:
        with self._changed:
            self._closed = True
            self.state = DONE if self.state != FAILED else FAILED
            self._changed.notify_all()
        self.source.close()
        self._thread.join(timeout=2.0)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """The session to oneself. The worker lets whoever asks go first: a lock alone would starve them."""
        with self._count:
            self._asking += 1
        try:
            with self._changed:
                yield
        finally:
            with self._count:
                self._asking -= 1

    def _change(self) -> None:
        """A person has changed the targets of the current picture."""
        records = [self._now[target] for target in sorted(self._now)]
        known = self.journal.last_frame == self.frame.index
        self.journal.cut(self.frame.index - 1)
        self.journal.append(records)
        if self.seekable:
            self._history.add(self.frame.index, self._targets.snapshot(), keep=True)
        self._timeline.cut(self.frame.index, self.journal.records(self._timeline.begin_of(self.frame.index)))
        (self._outlets.change if known else self._outlets.add)(self.frame, records)
        self._tell(new_epoch=True)

    def _tracked_again(self, number: int) -> tuple[Source, Frame]:
        """The video from frame `number` on, that frame, and the targets as they were in it.

        Their states may have been kept of an earlier frame only: from there they are tracked again, to the same end.
        """
        kept, states = self._history.before(number)
        before = self._targets.snapshot()
        source = open_span(self.video, kept, self._span[1])
        try:
            frame = next(source)
            self._targets.restore(states)
            while frame.index < number:
                frame = next(source)
                self._targets.update(frame.image)
        except BaseException:
            source.close()
            self._targets.restore(before)
            raise
        return source, frame

    def _tell(self, *, new_epoch: bool = False) -> None:
        self.epoch += new_epoch
        self._changed.notify_all()
        for listener in list(self._listeners):
            listener()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self.state == RUNNING)
                if self._closed:
                    return
                source, (frame, self._read) = self.source, (self._read, None)
            while self._asking:
                sleep(WAIT_SECONDS)
            try:
                frame = frame or next(source, None)  # outside the lock: a stream may keep us waiting
                self._track(frame, source)
            except Exception as error:  # whatever it is, the page has to say so
                with self._changed:
                    self.state, self.message = FAILED, str(error) or type(error).__name__
                    self._tell()

    def _track(self, frame: Frame | None, source: Source) -> None:
        with self._changed:
            if self._closed or source is not self.source:
                return  # wound back meanwhile
            if self.state != RUNNING:  # paused while the picture was read: it comes next
                self._read = None if source.live else frame
                return
            if frame is None:
                self.state = DONE
                self._tell()
                return
            results = self._targets.update(frame.image)
            self.frame = frame
            self.picture_number += 1
            self._seconds.append(sum(self._targets.stages))
            records = [as_record(frame, target, result) for target, result in sorted(results.items())]
            self._now = {record.target: record for record in records}
            self.journal.append(records)
            if self.seekable:
                self._history.add(frame.index, self._targets.snapshot())
            thinned = self._timeline.add(records)
            self._outlets.add(frame, records)
            self._tell(new_epoch=thinned)


def _target(record: Record) -> dict[str, Any]:
    box: Box = record.box
    return {
        "id": record.target,
        "box": [round(value, 2) for value in box],
        "score": _finite(record.score),
        "confidence": _finite(record.confidence),
        "lost": record.lost,
    }


def _finite(score: float | None) -> float | None:
    return round(score, 4) if score is not None and -1e9 < score < 1e9 else None
