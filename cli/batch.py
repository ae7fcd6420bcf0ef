"""Many videos at once: each in a process of its own, several beside each other, finished ones left out next time."""

import csv
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from glob import glob, has_magic
from pathlib import Path
from typing import Any

from ..errors import BoxError, UsageError
from ..video.source import IMAGE_SUFFIXES
from .command import EXIT_ERROR, EXIT_INTERRUPTED
from .tables import say

VIDEO_SUFFIXES = frozenset(
    {".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mjpeg", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ts", ".webm"}
)
NAME = "{name}"
"""Stands for the video's name, without suffix, in the name of an output."""
VIDEO_COLUMNS = ("video", "file")
"""Of a file of boxes for several videos: which one a row is for."""

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


@dataclass
class Job:
    """One video, the boxes it begins with, and its outputs by option."""

    video: Path
    inits: list[str]
    outputs: list[tuple[str, Path]]
    made: list[Path] = field(default_factory=list)
    """Files to be removed when the job is over."""

    def is_done(self) -> bool:
        """Whether an earlier run finished it: outputs get their names only then."""
        return all(path.exists() for _, path in self.outputs)


def run_batch(videos: Sequence[Path], inits: Sequence[str], options: dict[str, Any]) -> int:
    """Track all videos, `options["jobs"]` at a time; return the exit code. Raises UsageError, BoxError."""
    jobs = make_jobs(videos, inits, options)
    waiting = [job for job in jobs if not job.is_done()]
    words = _passed(options)
    running: set[subprocess.Popen[str]] = set()
    failed = 0
    loud = not options["quiet"]
    workers = options["jobs"] or os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        futures = {pool.submit(_track, job, words, running): job for job in waiting}
        try:
            for future in as_completed(futures):
                code, line = future.result()
                failed += code != 0
                if loud or code:
                    say(f"{futures[future].video}: {line}")
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in list(running):
                process.send_signal(signal.SIGINT)
            say("trk-run: interrupted; the same command goes on with the videos that are not finished")
            return EXIT_INTERRUPTED
    if loud:
        done = len(waiting) - failed
        say(f"{len(jobs)} videos: {done} tracked, {len(jobs) - len(waiting)} finished before, {failed} failed")
    return EXIT_ERROR if failed else 0


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


def _track(job: Job, words: Sequence[str], running: set[subprocess.Popen[str]]) -> tuple[int, str]:
    """Track one video; return its exit code and a line about it. Outputs get their names when all of it is done."""
    arguments = [str(job.video), *words]
    moves = []
    try:
        for number, init in enumerate(job.inits):
            if "\n" in init:
                path = _beside(job.outputs[0][1], f"init{number}.csv")
                path.write_text(init + "\n", encoding="utf-8")
                job.made.append(path)
                init = str(path)
            arguments.append(f"--init={init}")
        for option, path in job.outputs:
            working = _beside(path, path.name)
            arguments.append(f"{option}={working}")
            job.made.append(working)
            moves.append((working, path))
        process = subprocess.Popen(
            [sys.executable, "-c", CHILD, *arguments], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        running.add(process)
        _, told = process.communicate()
        running.discard(process)
        lines = told.splitlines() or [""]
        if process.returncode == 0:
            for working, path in moves:
                working.replace(path)
            return 0, next((line for line in lines if " frames · " in line), "done")
        if process.returncode == EXIT_ERROR:  # what was found before the error is kept, under a name that is not done
            for working, path in moves:
                if working.exists():
                    working.replace(path.with_name(f"incomplete.{path.name}"))
        return process.returncode, lines[-1].removeprefix("trk-run: ")
    except OSError as error:
        return EXIT_ERROR, f"{error.filename or 'the system'}: {error.strerror or error}"
    finally:
        for path in job.made:
            path.unlink(missing_ok=True)


def _beside(path: Path, name: str) -> Path:
    """A hidden name in the same folder, which is made where it is not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f".{path.stem}.{os.getpid()}.{name}")
