"""Cut the target out, stabilised: python follow_and_crop.py video.mp4 out.mp4 --init 120,80,60,40

The crop follows a running mean of the box, so that it glides instead of jumping with every pixel.
"""

import argparse

import cv2
import numpy as np

import trk
from trk import track
from trk.video.source import open_source
from trk.video.writer import open_video


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("video")
    parser.add_argument("out")
    parser.add_argument("--init", required=True, help="x,y,w,h in the first frame")
    parser.add_argument("--size", type=int, default=256, help="pixels a side of the new video")
    parser.add_argument("--room", type=float, default=2.0, help="side of the crop, in sides of the target")
    parser.add_argument("--calm", type=float, default=0.85, help="0 follows at once, 0.95 glides slowly")
    parser.add_argument("--bundle")
    options = parser.parse_args(arguments)
    box = [float(value) for value in options.init.split(",")]
    view = None
    source = open_source(options.video)
    with open_video(options.out, (options.size, options.size), source.fps) as writer:
        for one in track(source, box, trk.Tracker(options.bundle)):
            x, y, w, h = one.result.box
            now = np.array([x + w / 2, y + h / 2, options.room * max(w, h)])
            view = now if view is None else options.calm * view + (1 - options.calm) * now
            scale = view[2] / options.size
            matrix = np.array([[scale, 0, view[0] - view[2] / 2], [0, scale, view[1] - view[2] / 2]])
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            crop = cv2.warpAffine(one.frame.image, matrix, (options.size, options.size), flags=flags)
            writer.write(crop, one.frame.time)
        return writer.written


if __name__ == "__main__":
    main()
