"""Label from the last frame to the first: python label_backwards.py video.mp4 labels.coco.json --init 120,80,60,40

A target that is small or hidden at first is easier to draw at the end.
"""

import argparse
from pathlib import Path

import trk
from trk import track
from trk.video.boxes import Record, open_sink
from trk.video.source import open_source


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("video")
    parser.add_argument("out", type=Path)
    parser.add_argument("--init", required=True, help="x,y,w,h in the last frame")
    parser.add_argument("--bundle")
    options = parser.parse_args(arguments)
    box = [float(value) for value in options.init.split(",")]
    source = open_source(options.video)
    records = []
    for one in track(source, box, trk.Tracker(options.bundle), reverse=True):
        records.append(Record(one.frame.index, one.frame.time, one.result.box, one.result.score, one.result.lost))
    with open_sink(options.out, about={"video": options.video, "size_wh": list(source.size_wh)}) as sink:
        for record in reversed(records):
            sink.write(record)
    return len(records)


if __name__ == "__main__":
    main()
