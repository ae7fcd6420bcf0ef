"""Results through Norfair, which smooths them and bridges losses: python to_norfair.py video.mp4 120,80,60,40"""

import argparse

import norfair
import numpy as np

import trk
from trk import follow
from trk.video.seeds import Seed


def main(arguments: list[str] | None = None) -> list[tuple[int, int, list[float]]]:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("video")
    parser.add_argument("boxes", nargs="+", help="x,y,w,h of each target in the first frame")
    parser.add_argument("--bundle")
    options = parser.parse_args(arguments)
    seeds = [Seed(tuple(float(v) for v in text.split(",")), n) for n, text in enumerate(options.boxes, start=1)]
    smoother = norfair.Tracker(distance_function="iou", distance_threshold=0.7, initialization_delay=2)
    found = []
    for one in follow(options.video, seeds, trk.Tracker(options.bundle)):
        detections = [
            norfair.Detection(np.array([[x, y], [x + w, y + h]]), scores=np.full(2, result.score), label=str(target))
            for target, result in one.results.items()
            for x, y, w, h in [result.box]
            if not result.lost
        ]
        for tracked in smoother.update(detections):
            found.append((one.frame.index, tracked.id, tracked.estimate.ravel().tolist()))
    return found


if __name__ == "__main__":
    for frame, identity, corners in main():
        print(frame, identity, *(f"{value:.1f}" for value in corners))
