"""Many videos in one process: one loaded network for all of them, one frame of each at a step."""

import os
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import Any

from ..engine.multi import MultiTracker
from ..engine.tracker import Tracker
from ..errors import TrkError
from ..many_videos import Videos
from ..tracking import Followed
from ..video.span import open_span, parse_position
from .batch import OPTIONS
from .command import EXIT_ERROR, EXIT_INTERRUPTED
from .job import Attempt, Job, Outcome, at_work, told_by
from .outputs import Outputs
from .running import Tally, check_outputs, describe, has_several, hushed, open_tracker
from .tables import say
from .values import parse_seeds

FAILURES = (TrkError, OSError)
"""What ends one video and no other."""


def track_beside(jobs: Sequence[Job], options: dict[str, Any]) -> Generator[tuple[Job, Outcome], None, None]:
    """Track `jobs`, as many at once as the option jobs says; yield each with its exit code and a line about it.

    Raises BackendError and the like where there is nothing to track with.
    """
    left = list(jobs)
    running: dict[str, _Running] = {}
    if not left:
        return
    at_once = options["jobs"] or os.cpu_count() or 1
    with hushed(options["quiet"]), ExitStack() as stack:
        tracker = open_tracker(options, several=True)
        if not options["quiet"] and tracker.manifest.weights.origin == "random":
            say("trk-run: this bundle has random weights: it shows speed and tracks nothing", style="yellow")
        videos = stack.enter_context(Videos(MultiTracker(tracker, threads=options["threads"])))
        pool = stack.enter_context(ThreadPoolExecutor(min(at_once, len(left)), "trk-write"))
        stack.callback(_give_up, running)
        while left or running:
            while left and len(running) < at_once:
                job = left.pop(0)
                one = running[str(job.video)] = _Running(job, pool)
                try:
                    one.begin(videos, tracker, options)
                except FAILURES as error:
                    del running[str(job.video)]
                    yield job, one.end(error)
            for name, followed, broke_off in videos.step():
                found = running.get(name)
                if found is None:  # what was found before could not be written
                    continue
                failure = found.write(followed) if followed else broke_off
                if failure or not followed:
                    videos.drop(name)
                    del running[name]
                    yield found.job, found.end(failure)


def _give_up(running: Mapping[str, "_Running"]) -> None:
    for one in running.values():
        one.give_up()


class _Running:
    """One video that is being tracked, and its outputs, which a thread writes while the next frames are searched."""

    def __init__(self, job: Job, pool: ThreadPoolExecutor):
        self.job = job
        self._pool = pool
        self._working, self._open = ExitStack(), ExitStack()
        self._attempt: Attempt | None = None
        self._outputs: Outputs | None = None
        self._pending: Future[None] | None = None
        self._tally = Tally()

    def begin(self, videos: Videos, tracker: Tracker, options: dict[str, Any]) -> None:
        """Open it and its outputs, and follow it with the others. Raises what is in FAILURES."""
        video = str(self.job.video)
        self._attempt = attempt = self._working.enter_context(at_work(self.job))
        seeds = parse_seeds(attempt.inits)
        check_outputs(video, [path for _, path in attempt.outputs])
        start, end = parse_position(options["start"], "--start"), options["end"]
        with ExitStack() as opening:
            source = opening.enter_context(
                open_span(
                    video,
                    start,
                    None if end is None else parse_position(end, "--end"),
                    reverse=options["reverse"],
                    ahead=True,
                )
            )
            about = {**describe(video, seeds, tracker), "size_wh": list(source.size_wh)}
            named = {option: [path for other, path in attempt.outputs if other == option] for option in OPTIONS}
            out, sheet = (next(iter(named[option]), None) for option in ("--out", "--sheet"))
            outputs = Outputs(source, out, named["--boxes"], sheet, about, several=has_several(seeds))
            self._outputs = self._open.enter_context(outputs)
            videos.add(video, source, seeds, options["init_format"], relative=options["relative"])
            opening.pop_all()
        self._tally = Tally()

    def write(self, followed: Followed) -> Exception | None:
        """Draw and write a frame in a thread, once the one before is written; return why that could not be."""
        try:
            self._wait()
        except FAILURES as failure:
            return failure
        self._pending = self._pool.submit(self._write, followed)
        return None

    def end(self, error: Exception | None) -> Outcome:
        """Close the outputs and give them their names; return how it ended."""
        for finish in (self._wait, self._open.close):
            try:
                finish()
            except FAILURES as failure:
                error = error or failure
        self._tally.stop()
        try:
            self._leave(EXIT_ERROR if error else 0)
        except FAILURES as failure:
            error = error or failure
        return (EXIT_ERROR, told_by(error)) if error else (0, self._tally.line())

    def give_up(self) -> None:
        """Close the outputs and remove them: the next run begins anew."""
        for finish in (self._wait, self._open.close, lambda: self._leave(EXIT_INTERRUPTED)):
            with suppress(*FAILURES):
                finish()

    def _leave(self, code: int) -> None:
        if self._attempt is not None:
            self._attempt.code = code
        self._working.close()

    def _write(self, followed: Followed) -> None:
        assert self._outputs is not None
        self._tally.add(followed, *self._outputs.add(followed))

    def _wait(self) -> None:
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()
