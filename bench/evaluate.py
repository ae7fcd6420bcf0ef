"""Trackers on sequences, in processes, with what is done already taken from the store."""

import signal
from collections.abc import Callable, Iterator
from collections.abc import Sequence as Many
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any, NamedTuple

import cv2

from ..errors import BackendError, TrkError
from ..video.images import read_image
from .cluster import on_ray
from .datasets.sequence import Sequence
from .datasets.varied import varied
from .ope import OnePass, Run, as_run, run
from .peers import Spec, open_peer
from .realtime import run_realtime
from .results import read_results
from .store import Store, key_of


@dataclass(frozen=True, eq=False)
class Job:
    """One tracker on one sequence."""

    spec: Spec
    sequence: Sequence
    key: str
    about: dict[str, Any]


class Done(NamedTuple):
    """What came of a job: a run, or in one line why there is none."""

    job: Job
    run: Run | None
    cached: bool = False
    error: str = ""


@dataclass(frozen=True)
class Protocol:
    """How sequences are run."""

    realtime: float | None = None
    """Frames a second at which frames arrive; None: the tracker is waited for."""
    first_pixel: int = 0
    """Of results that lie ready."""
    runs: int = 1
    """Of each sequence by each tracker: see `datasets.varied`."""

    def about(self) -> dict[str, Any]:
        """Return what a run's name depends on; what it is shown is in the name already."""
        return {"realtime": self.realtime}


def plan(specs: Many[Spec], sequences: Many[Sequence], protocol: Protocol) -> list[Job]:
    """Return the jobs, sequence by sequence within each tracker."""
    jobs = []
    for spec in specs:
        identity = spec.identity()
        for sequence in (one for shown in sequences for one in varied(shown, protocol.runs)):
            about = {"label": spec.label, "tracker": identity, "protocol": protocol.about()}
            jobs.append(Job(spec, sequence, key_of(identity, sequence, protocol.about()), about))
    return jobs


def evaluate(
    jobs: Many[Job], store: Store, protocol: Protocol, workers: int = 1, ray: str | None = None
) -> Iterator[Done]:
    """Yield every job as it gets done, in any order; runs are in the store before they are yielded.

    A job that fails is told and the others go on. `workers`: processes; 1 works in this one. `ray`: address of a
    cluster that does the work instead.
    """
    waiting = []
    for job in jobs:
        found = None if job.spec.is_ready else store.load(job.key, job.sequence)
        if found is not None:
            yield Done(job, found, cached=True)
        else:
            waiting.append(job)
    if ray and waiting:
        found_there = _on_cluster(waiting, protocol, ray)
    elif workers > 1 and len(waiting) > 1:
        found_there = _in_processes(waiting, protocol, workers)
    else:
        found_there = _here(waiting, protocol)
    for done in found_there:
        if done.run is not None and not done.job.spec.is_ready:
            store.save(done.job.key, done.run, done.job.about)
        yield done


def _on_cluster(jobs: Many[Job], protocol: Protocol, address: str) -> Iterator[Done]:
    calls = [(work, (job.spec, job.sequence, protocol)) for job in jobs]
    for number, found in on_ray(calls, address):
        job = jobs[number]
        yield Done(job, None, error=str(found)) if isinstance(found, TrkError) else Done(job, found)


def _here(jobs: Many[Job], protocol: Protocol) -> Iterator[Done]:
    for job in jobs:
        try:
            yield Done(job, work(job.spec, job.sequence, protocol))
        except TrkError as error:
            yield Done(job, None, error=str(error))


def _in_processes(jobs: Many[Job], protocol: Protocol, workers: int) -> Iterator[Done]:
    """A process that dies takes the jobs with it that were handed out; each of them is then tried alone, once."""
    left = list(jobs)
    suspects: list[Job] = []
    yield from _shared(left, suspects, protocol, workers)
    for job in suspects:
        with _pool(1) as pool:
            yield _done(job, pool.submit(work, job.spec, job.sequence, protocol).result)


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    # Ctrl-C reaches every process: workers end without a word, and this one tells.
    pool = ProcessPoolExecutor(workers, get_context("spawn"), signal.signal, (signal.SIGINT, signal.SIG_DFL))
    try:
        yield pool
    except BaseException:
        for child in active_children():  # an interrupted evaluation doesn't wait for what is half done
            child.terminate()
        raise
    finally:
        pool.shutdown()


def _shared(left: list[Job], suspects: list[Job], protocol: Protocol, workers: int) -> Iterator[Done]:
    while left:
        handed: dict[Future[Run], Job] = {}
        with _pool(workers) as pool, suppress(BrokenProcessPool):
            while left or handed:
                while left and len(handed) < workers:
                    handed[pool.submit(work, left[0].spec, left[0].sequence, protocol)] = left[0]
                    left.pop(0)
                for future in wait(handed, return_when=FIRST_COMPLETED).done:
                    broken = future.exception()
                    if isinstance(broken, BrokenProcessPool):
                        raise broken
                    yield _done(handed.pop(future), future.result)
        suspects += handed.values()


def _done(job: Job, result: Callable[[], Run]) -> Done:
    try:
        return Done(job, result())
    except BrokenProcessPool:
        error: TrkError = BackendError(f"{job.spec.label} crashed on {job.sequence.name} and took its process with it")
        return Done(job, None, error=str(error))
    except TrkError as known:
        return Done(job, None, error=str(known))


@cache
def _opened(key: str) -> OnePass:
    return open_peer(_specs[key])


_specs: dict[str, Spec] = {}


def work(spec: Spec, sequence: Sequence, protocol: Protocol) -> Run:
    """Run one job in this process; the tracker stays open for the next one."""
    if spec.is_ready:
        boxes = read_results(Path(spec.target), sequence, protocol.first_pixel)
        height, width = read_image(sequence.images[0], 0).shape[:2]
        frames = len(boxes)
        return as_run(sequence, boxes.tolist(), [0.0] * frames, [0.0] * frames, (width, height))
    threads = spec.options.get("threads")
    if threads:
        cv2.setNumThreads(threads)
    key = repr(spec)
    _specs[key] = spec
    tracker = _opened(key)
    if protocol.realtime:
        return run_realtime(tracker, sequence, protocol.realtime)
    return run(tracker, sequence)
