"""Training data made on the spot: textured squares that move over noise."""

from pathlib import Path

import cv2
import numpy as np

from trk.train.layouts import read_got10k
from trk.train.tracks import Track


def moving_squares(folder: Path, tracks: int = 3, frames: int = 4, seed: int = 0) -> list[Track]:
    """Write `tracks` sequences as GOT-10k lays them out and read them back."""
    rng = np.random.default_rng(seed)
    for number in range(tracks):
        place = folder / f"sequence-{number}"
        place.mkdir(parents=True)
        ground = rng.integers(60, 120, (160, 200, 3)).astype(np.uint8)
        patch = np.kron(rng.integers(0, 255, (4, 4, 3)), np.ones((8, 8, 1))).astype(np.uint8)
        lines = []
        for frame in range(frames):
            x, y = 40 + 10 * frame, 50 + 5 * number
            image = ground.copy()
            image[y : y + 32, x : x + 32] = patch
            cv2.imwrite(str(place / f"{frame + 1:08d}.png"), image)
            lines.append(f"{x},{y},32,32")
        (place / "groundtruth.txt").write_text("\n".join(lines) + "\n")
    return read_got10k(folder)
