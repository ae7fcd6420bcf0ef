"""One video on the page: its current picture, its targets and what was found so far; commands from any thread."""

import threading
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import sleep
from typing import Any

from ..engine.multi import MultiTracker
from ..engine.result import Box
from ..engine.state import State
from ..engine.tracker import Tracker
from ..errors import UsageError
from ..video.ahead import Ahead
from ..video.record import Record
from ..video.source import STDIN, Frame, Image, Position, Source
from ..video.span import open_span

MAX_TARGETS = 64
WAIT_SECONDS = 0.001
SPEED_FRAMES = 30
"""Frames that the shown frames per second are the mean of."""

CHOOSING, RUNNING, PAUSED, DONE, FAILED = "choosing", "running", "paused", "done", "failed"


@dataclass
class Moment:
    """One frame that was tracked: its records by target, and the states to go on from."""

    frame_index: int
    time: float
    records: dict[int, Record]
    states: dict[int, State] = field(repr=False)


class Session:
    """Tracks a video in a thread of its own, as the page says.

    States: choosing (before the first run), running, paused, done (the video has ended), failed (`message` says why).
    `listen` registers a callback for every change. Raises SourceError at once where the video can't be read.
    """

    def __init__(
        self, video: str, tracker: Tracker, start: Position = 0, end: Position | None = None, raw: str | None = None
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
        self.moments: list[Moment] = []
        self.frame: Frame = next(self.source)
        self.first = self.frame.index
        """Number of the first frame that can be tracked."""
        self.picture_number = 0
        """Grows with every picture shown."""
        self._targets = MultiTracker(tracker)
        self._marks: dict[int, Record] = {}
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
            first = since if epoch == self.epoch else 0
            status = {
                "type": "status",
                "state": self.state,
                "message": self.message,
                "frame": self.frame.index,
                "time": round(self.frame.time, 4),
                "fps": None if self.fps is None else round(self.fps, 1),
                "epoch": self.epoch,
                "first": first,
                "targets": [_target(record) for record in self._current().values()],
                "moments": [
                    [m.frame_index, [[r.target, _finite(r.score), int(r.lost)] for r in m.records.values()]]
                    for m in self.moments[first:]
                ],
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
            self._marks[target] = Record(self.frame.index, self.frame.time, (x, y, w, h), 1.0, False, target)
            self._keep(self._current())
            self._tell(new_epoch=True)
            return target

    def remove(self, target: int) -> None:
        """Forget a target, from the current picture on."""
        with self._turn():
            self._targets.remove(target)
            self._marks.pop(target, None)
            if self.moments and self.moments[-1].frame_index == self.frame.index:
                self.moments[-1].records.pop(target, None)
                self.moments[-1].states.pop(target, None)
            self._tell(new_epoch=True)

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
            number = bisect_right([moment.frame_index for moment in self.moments], frame_index) - 1
            if number < 0:
                raise UsageError("nothing was tracked there yet")
            moment = self.moments[number]
            if moment.frame_index == self.frame.index and self.state in (CHOOSING, PAUSED):
                return
            source = open_span(self.video, moment.frame_index, self._span[1])
            self.source.close()
            self.frame, self._read = next(source), None
            self.source = Ahead(source)
            del self.moments[number + 1 :]
            self._targets.restore(moment.states)
            self._marks = {}
            self.state, self.message = PAUSED, ""
            self.picture_number += 1
            self._tell(new_epoch=True)

    def records(self) -> list[Record]:
        """All records so far, in the order of frames, then of targets."""
        with self._turn():
            return [moment.records[target] for moment in self.moments for target in sorted(moment.records)]

    def close(self) -> None:
        """End the thread and close the video."""
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

    def _current(self) -> dict[int, Record]:
        last = self.moments[-1] if self.moments else None
        found = dict(last.records) if last is not None and last.frame_index == self.frame.index else {}
        marked = {t: record for t, record in self._marks.items() if record.frame_index == self.frame.index}
        return dict(sorted({**found, **marked}.items()))

    def _keep(self, records: dict[int, Record]) -> None:
        states = self._targets.snapshot() if self.seekable else {}
        moment = Moment(self.frame.index, self.frame.time, records, states)
        if self.moments and self.moments[-1].frame_index == self.frame.index:
            self.moments[-1] = moment
        else:
            self.moments.append(moment)

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
            self._marks = {}
            self._seconds.append(sum(self._targets.stages))
            self._keep(
                {t: Record(frame.index, frame.time, r.box, r.score, r.lost, t) for t, r in sorted(results.items())}
            )
            self._tell()


def _target(record: Record) -> dict[str, Any]:
    box: Box = record.box
    return {
        "id": record.target,
        "box": [round(value, 2) for value in box],
        "score": _finite(record.score),
        "lost": record.lost,
    }


def _finite(score: float | None) -> float | None:
    return round(score, 4) if score is not None and -1e9 < score < 1e9 else None
