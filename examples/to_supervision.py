"""Results drawn by supervision: python to_supervision.py video.mp4 out.mp4 120,80,60,40 300,90,50,50"""

import argparse

import numpy as np
import supervision as sv

import trk
from trk.tracking import Followed, follow
from trk.video.seeds import Seed
from trk.video.source import open_source
from trk.video.writer import open_video


def detections(one: Followed) -> sv.Detections:
    """The targets of one frame, their numbers as tracker ids."""
    boxes = np.array([result.box for result in one.results.values()], np.float32)
    boxes[:, 2:] += boxes[:, :2]  # supervision has corners
    return sv.Detections(
        xyxy=boxes,
        confidence=np.array([result.score for result in one.results.values()], np.float32),
        class_id=np.zeros(len(boxes), int),
        tracker_id=np.array(list(one.results)),
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("video")
    parser.add_argument("out")
    parser.add_argument("boxes", nargs="+", help="x,y,w,h of each target in the first frame")
    parser.add_argument("--bundle")
    options = parser.parse_args(arguments)
    seeds = [Seed(tuple(float(v) for v in text.split(",")), n) for n, text in enumerate(options.boxes, start=1)]
    annotators = (sv.BoxAnnotator(), sv.TraceAnnotator())
    source = open_source(options.video)
    with open_video(options.out, source.size_wh, source.fps) as writer:
        for one in follow(source, seeds, trk.Tracker(options.bundle)):
            image, found = one.frame.image, detections(one)
            for annotator in annotators:
                image = annotator.annotate(image, found)
            writer.write(image, one.frame.time)
        return writer.written


if __name__ == "__main__":
    main()
