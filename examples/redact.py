"""Blur the target in every frame: python redact.py video.mp4 out.mp4 --init 120,80,60,40

A box that is lost stays blurred where it was last seen. Look at the result before you publish it: a tracker may slip.
"""

import argparse

import cv2

import trk
from trk import track
from trk.video.source import open_source
from trk.video.writer import open_video


def blur(image, box, margin=0.15):
    """Pixelate and blur the box and a margin around it, in place."""
    x, y, w, h = box
    left, top = max(0, int(x - margin * w)), max(0, int(y - margin * h))
    part = image[top : int(y + h + margin * h) + 1, left : int(x + w + margin * w) + 1]
    if part.size:
        height, width = part.shape[:2]
        coarse = cv2.resize(part, (max(1, width // 16), max(1, height // 16)), interpolation=cv2.INTER_AREA)
        part[:] = cv2.GaussianBlur(cv2.resize(coarse, (width, height)), (0, 0), 6)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("video")
    parser.add_argument("out")
    parser.add_argument("--init", required=True, help="x,y,w,h in the first frame")
    parser.add_argument("--bundle")
    options = parser.parse_args(arguments)
    box = [float(value) for value in options.init.split(",")]
    source = open_source(options.video)
    with open_video(options.out, source.size_wh, source.fps) as writer:
        for one in track(source, box, trk.Tracker(options.bundle)):
            blur(one.frame.image, one.result.box)
            writer.write(one.frame.image, one.frame.time)
        return writer.written


if __name__ == "__main__":
    main()
