"""How calm boxes are where nothing moves: the first frame of each sequence, shown again and again.

    python -m trk.bench.still validation default small lightfc.trk

Prints by how many pixels corners and sides move from frame to frame, mean over sequences and the most, after the frames
in which a box settles.
"""

import argparse
import sys
from itertools import islice
from pathlib import Path

import numpy as np

from ..engine.tracker import Tracker
from ..errors import TrkError
from .datasets import folder as plain
from .ope import OnePass, first_box, images, sequences

SETTLING, FRAMES = 10, 40


def restlessness(tracker: OnePass, folder: Path) -> dict[str, float]:
    """Return the mean change of x, y, w, h, in pixels a frame, on the still first frame of each sequence of `folder`.

    Raises SourceError: no sequence, or one that can't be read.
    """
    found = {}
    for path in sequences(folder):
        sequence = plain.read(path)
        (frame,) = islice(images(sequence), 1)
        tracker.init(frame, first_box(sequence))
        boxes = np.array([tracker.update(frame).box for _ in range(FRAMES)])
        found[sequence.name] = float(np.abs(np.diff(boxes[SETTLING:], axis=0)).mean())
    return found


def main(arguments: list[str] | None = None) -> int:
    """Print a line for each bundle."""
    parser = argparse.ArgumentParser(prog="python -m trk.bench.still", description="How calm boxes are.")
    parser.add_argument("folder", type=Path, help="folder of sequences")
    parser.add_argument("bundles", nargs="+", help="bundles, or the names of those that ship")
    options = parser.parse_args(arguments)
    try:
        for named in options.bundles:
            found = restlessness(Tracker(named, threads=1), options.folder)
            worst = max(found, key=lambda name: found[name])
            mean = np.mean(list(found.values()))
            print(f"{named}: {mean:.3f} px a frame, at most {found[worst]:.3f} ({worst})")
    except TrkError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
