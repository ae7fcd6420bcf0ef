"""How fast PyAV and OpenCV decode a clip to BGR, interleaved: why video/ uses the one it uses.

    python -m trk.bench.decoding [VIDEO] [--rounds 15]

Prints the median milliseconds a frame over the rounds, on the clock and on the processor. The ways take turns, so that
a busy moment of the machine strikes all of them.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import av
import cv2

from ..video.source import open_source
from ..weights.clips import sample

Way = Callable[[Path], int]


def opencv(threads: int) -> Way:
    """cv2.VideoCapture with a number of threads; 0 leaves it to OpenCV."""

    def decode(path: Path) -> int:
        options = [cv2.CAP_PROP_N_THREADS, threads] if threads else []
        capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, options)
        frames = 0
        while capture.read()[0]:
            frames += 1
        return frames

    return decode


def pyav(kind: str, threads: int) -> Way:
    """PyAV as its documentation shows it (`to_ndarray`), with a kind of threads and their number; 0: as it likes."""

    def decode(path: Path) -> int:
        frames = 0
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_type = kind
            stream.codec_context.thread_count = threads
            for frame in container.decode(stream):
                frame.to_ndarray(format="bgr24")
                frames += 1
        return frames

    return decode


def ours(path: Path) -> int:
    """The project's own reader: PyAV, one converter kept, damage looked for."""
    with open_source(path) as source:
        return sum(1 for _ in source)


WAYS: dict[str, Way] = {
    "OpenCV, one thread": opencv(1),
    "OpenCV, its default threads": opencv(0),
    "PyAV to_ndarray, one thread": pyav("NONE", 1),
    "PyAV to_ndarray, frame threads": pyav("AUTO", 0),
    "trk.video (PyAV, its default threads)": ours,
}


def main() -> None:
    """Time every way and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("video", nargs="?", type=Path, default=sample("bunny").video)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    wall: dict[str, list[float]] = {name: [] for name in WAYS}
    processor: dict[str, list[float]] = {name: [] for name in WAYS}
    for turn in range(options.rounds + 1):
        for name, decode in WAYS.items():
            clock, cpu = time.perf_counter(), time.process_time()
            frames = decode(options.video)
            if turn:  # the first round warms the file cache
                wall[name].append((time.perf_counter() - clock) / frames * 1e3)
                processor[name].append((time.process_time() - cpu) / frames * 1e3)
    print(f"{options.video.name}: ms a frame, medians of {options.rounds} rounds (smallest)")
    for name in WAYS:
        medians = [f"{statistics.median(t[name]):5.2f} ({min(t[name]):.2f})" for t in (wall, processor)]
        print(f"{name:40s} clock {medians[0]}   processor {medians[1]}")


if __name__ == "__main__":
    main()
