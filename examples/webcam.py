"""Follow a target on a camera or stream: python webcam.py 0 --init 200,120,80,80

Only the newest frame is tracked, so the picture never falls behind. Prints the box and the milliseconds it took.
"""

import argparse
import time

import trk
from trk.video.source import open_source


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", help="number of a camera, an rtsp:// or http:// URL, or a file")
    parser.add_argument("--init", required=True, help="x,y,w,h in the first picture")
    parser.add_argument("--bundle")
    parser.add_argument("--frames", type=int, help="stop after so many")
    options = parser.parse_args(arguments)
    tracker = trk.Tracker(options.bundle)
    count = 0
    with open_source(options.source) as source:
        for frame in source:
            began = time.perf_counter()
            if count == 0:
                tracker.init(frame.image, [float(value) for value in options.init.split(",")])
            else:
                result = tracker.update(frame.image)
                took = (time.perf_counter() - began) * 1e3
                x, y, w, h = result.box
                print(
                    f"{frame.time:8.2f} s  {x:7.1f} {y:7.1f} {w:6.1f} {h:6.1f}  score {result.score:.2f}  {took:.0f} ms"
                )
            count += 1
            if options.frames and count >= options.frames:
                break
    return count


if __name__ == "__main__":
    main()
