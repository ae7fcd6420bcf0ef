"""Many videos: several beside each other, in one process or each in its own; finished ones left out next time."""

import csv
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import redirect_stderr
from glob import glob, has_magic
from io import StringIO
from pathlib import Path
from threading import Lock
from typing import Any

from ..bench.cluster import on_ray
from ..errors import BoxError, TrkError, UsageError
from ..video.source import IMAGE_SUFFIXES
from .command import EXIT_ERROR, EXIT_INTERRUPTED, run
from .job import Job, Outcome, at_work, told_by
from .tables import say

VIDEO_SUFFIXES = frozenset(
    {".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mjpeg", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ts", ".webm"}
)
NAME = "{name}"
"""Stands for the video's name, without suffix, in the name of an output."""
VIDEO_COLUMNS = ("video", "file")
"""Of a file of boxes for several videos: which one a row is for."""

OPTIONS = ("--out", "--sheet", "--boxes")
"""Of outputs."""
CHILD = f"from {__package__}.run import main; main()"
PASSED = ("start", "end", "init_format", "bundle", "preset", "backend", "device", "on_lost", "update_template")


def videos_of(spec: str) -> list[Path]:
    """The videos that a glob or a folder stands for, by name; none where it stands for images, or for one file."""
    path = Path(spec)
    if path.is_dir():
        found = list(path.iterdir())
    elif has_magic(spec) and not path.exists():
        found = [Path(match) for match in glob(spec, recursive=True)]  # noqa: PTH207
    else:
        return []
    if any(file.suffix.lower() in IMAGE_SUFFIXES for file in found):
        return []
    videos = [file for file in found if file.suffix.lower() in VIDEO_SUFFIXES and not file.name.startswith(".")]
    return sorted(video for video in videos if video.is_file())


def run_batch(videos: Sequence[Path], inits: Sequence[str], options: dict[str, Any]) -> int:
    """Track all videos, here or on a Ray cluster; return the exit code. Raises UsageError, BoxError, BackendError."""
    jobs = make_jobs(videos, inits, options)
    waiting = [job for job in jobs if not job.is_done()]
    words = _passed(options)
    failed = 0
    loud = not options["quiet"]
    if options["ray"]:
        found = _on_cluster(waiting, words, options["ray"])
    elif in_one_process(options):
        from .beside import track_beside

        found = track_beside(waiting, options)
    else:
        found = _here(waiting, words, options["jobs"])
    try:
        for job, (code, line) in found:
            failed += code != 0
            if loud or code:
                say(f"{job.video}: {line}")
    except KeyboardInterrupt:
        found.close()
        say("trk-run: interrupted; the same command goes on with the videos that are not finished")
        return EXIT_INTERRUPTED
    if loud:
        done = len(waiting) - failed
        say(f"{len(jobs)} videos: {done} tracked, {len(jobs) - len(waiting)} finished before, {failed} failed")
    return EXIT_ERROR if failed else 0


def in_one_process(options: dict[str, Any]) -> bool:
    """Whether one process is to track all videos: on a GPU, whose memory would else hold a network for each.

    Raises UsageError where it can't.
    """
    asked: bool | None = options["one_process"]
    if asked and options["ray"]:
        raise UsageError("--ray hands every video to a worker of its own: leave --one-process out")
    return (options["device"] == "cuda" or options["backend"] == "tensorrt") if asked is None else asked


def _here(jobs: Sequence[Job], words: Sequence[str], workers: int | None) -> Generator[tuple[Job, Outcome], None, None]:
    """Track each in a process of its own, `workers` of them beside each other."""
    processes = _Processes()
    with ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
        futures = {pool.submit(track_video, job, words, processes.run): job for job in jobs}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            processes.interrupt()
            raise


def _on_cluster(jobs: Sequence[Job], words: Sequence[str], address: str) -> Generator[tuple[Job, Outcome], None, None]:
    """Track each in a worker of a Ray cluster; videos and outputs lie under the same paths on every machine."""
    words = [f"--bundle={Path(word[9:]).absolute()}" if word.startswith("--bundle=") else word for word in words]
    found = on_ray([(track_video, (_from_the_root(job), words)) for job in jobs], address) if jobs else iter(())
    for number, outcome in found:
        yield jobs[number], (EXIT_ERROR, str(outcome)) if isinstance(outcome, TrkError) else outcome


def _from_the_root(job: Job) -> Job:
    """The same job wherever it is run."""
    inits = [str(Path(init).absolute()) if "\n" not in init and Path(init).exists() else init for init in job.inits]
    return Job(job.video.absolute(), inits, [(option, path.absolute()) for option, path in job.outputs])


def make_jobs(videos: Sequence[Path], inits: Sequence[str], options: dict[str, Any]) -> list[Job]:
    """One job a video. Raises UsageError: outputs of two videos in one file; BoxError: a video without a box."""
    outputs = [("--out", options["out"]), ("--sheet", options["sheet"])]
    outputs = [*outputs, *(("--boxes", path) for path in options["boxes"])]
    outputs = [(option, path) for option, path in outputs if path]
    if not outputs:
        raise UsageError(f"{len(videos)} videos and no output: name one, such as --boxes 'results/{NAME}.csv'")
    for option, path in outputs:
        if NAME not in str(path):
            raise UsageError(f"{option} {path} is one file for {len(videos)} videos: put {NAME} into it")
    names: dict[str, Path] = {}
    for video in videos:
        if names.setdefault(video.stem, video) is not video:
            raise UsageError(f"{names[video.stem]} and {video} have one name: their outputs would replace each other")
    rows = {init: _rows_by_video(Path(init)) for init in inits if Path(init).suffix.lower() == ".csv"}
    return [
        Job(
            video,
            [_init_of(video, init, rows.get(init)) for init in inits],
            [(option, Path(str(path).replace(NAME, video.stem))) for option, path in outputs],
        )
        for video in videos
    ]


Rows = list[dict[str, str]]


def _rows_by_video(path: Path) -> Callable[[Path], Rows] | None:
    """What finds a video's rows in a file of boxes; None where the file does not tell videos apart."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = [{(key or "").strip(): value for key, value in row.items()} for row in csv.DictReader(stream)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BoxError(f"{path} can't be read as boxes ({getattr(error, 'strerror', None) or error})") from error
    column = next((name for name in VIDEO_COLUMNS if rows and name in rows[0]), None)
    if column is None:
        return None

    def of(video: Path) -> Rows:
        named = {str(video), video.name, video.stem}
        return [{key: value for key, value in row.items() if key != column} for row in rows if row[column] in named]

    return of


def _init_of(video: Path, init: str, rows: Callable[[Path], Rows] | None) -> str:
    """The value of --init for one video: the same text, or its own rows, as lines that are written out later."""
    if rows is None:
        return init
    mine = rows(video)
    if not mine:
        raise BoxError(f"{init} has no box for {video}: its column {' or '.join(VIDEO_COLUMNS)} names no {video.name}")
    return "\n".join([",".join(mine[0]), *(",".join(value or "" for value in row.values()) for row in mine)])


def _passed(options: dict[str, Any]) -> list[str]:
    words = [f"--{name.replace('_', '-')}={options[name]}" for name in PASSED if options[name] is not None]
    words += [f"--{name}" for name in ("relative", "reverse") if options[name]]
    words += [f"--set={setting}" for setting in options["settings"]]
    # One thread a process: as many processes as cores share them better than threads do.
    return [*words, f"--threads={options['threads'] or 1}"]


def track_video(job: Job, words: Sequence[str], runner: "Runner | None" = None) -> Outcome:
    """Track one video; return its exit code and a line about it."""
    try:
        with at_work(job) as attempt:
            arguments = [str(job.video), *words, *(f"--init={init}" for init in attempt.inits)]
            arguments += [f"{option}={working}" for option, working in attempt.outputs]
            attempt.code, told = (runner or _in_this_process)(arguments)
            lines = told.splitlines() or [""]
            if attempt.code == 0:
                return 0, next((line for line in lines if " frames · " in line), "done")
            return attempt.code, lines[-1].removeprefix("trk-run: ")
    except OSError as error:
        return EXIT_ERROR, told_by(error)


Runner = Callable[[Sequence[str]], tuple[int, str]]
"""Runs trk-run with arguments; its exit code and what it told."""


class _Processes:
    """Processes of trk-run that end together."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[str]] = set()
        self._interrupted = False
        self._lock = Lock()

    def run(self, arguments: Sequence[str]) -> tuple[int, str]:
        """Run trk-run with arguments; return its exit code and what it told."""
        with self._lock:  # one that is just being started is interrupted, too
            if self._interrupted:
                return EXIT_INTERRUPTED, ""
            process = subprocess.Popen(
                [sys.executable, "-c", CHILD, *arguments], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
            )
            self._running.add(process)
        _, told = process.communicate()
        with self._lock:
            self._running.discard(process)
        return process.returncode, told

    def interrupt(self) -> None:
        """Interrupt those that run, and start no more."""
        with self._lock:
            self._interrupted = True
            for process in self._running:
                process.send_signal(signal.SIGINT)


def _in_this_process(arguments: Sequence[str]) -> tuple[int, str]:
    """For a worker of a cluster, which is a process of its own: one more would outlive it where it is ended."""
    from .run import command

    with redirect_stderr(StringIO()) as told:
        code = run(command, arguments)
    return code, told.getvalue()
