"""Follow a target on each of several cameras, in one process: python cameras.py 0=200,120,80,80 rtsp://yard/1=40,60,90,50

Every camera at its own rate; one that breaks off is told, and the others go on.
"""

import argparse

import trk
from trk.video.seeds import Seed


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cameras", nargs="+", help="SOURCE=x,y,w,h: a camera's number, a URL or a file, and the box")
    parser.add_argument("--bundle")
    parser.add_argument("--device", choices=("cpu", "cuda"))
    parser.add_argument("--frames", type=int, help="stop after so many of all cameras together")
    options = parser.parse_args(arguments)
    cameras = {}
    for text in options.cameras:
        source, _, box = text.rpartition("=")
        x, y, w, h = (float(value) for value in box.split(","))
        cameras[source] = (source, [Seed((x, y, w, h))])
    count = 0
    for camera, followed, error in trk.follow_all(cameras, trk.MultiTracker(options.bundle, device=options.device)):
        if followed is None:
            print(f"{camera}: {error or 'over'}")
            continue
        x, y, w, h = followed.results[1].box
        print(f"{camera}: {followed.frame.time:8.2f} s  {x:7.1f} {y:7.1f} {w:6.1f} {h:6.1f}")
        count += 1
        if count == options.frames:
            break
    return count


if __name__ == "__main__":
    main()
