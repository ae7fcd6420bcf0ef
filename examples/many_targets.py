"""Follow several targets: python many_targets.py video.mp4 boxes.csv 120,80,60,40 300,90,50,50"""

import argparse
from pathlib import Path

import trk
from trk import follow
from trk.video.boxes import open_sink
from trk.video.seeds import Seed


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("video")
    parser.add_argument("out", type=Path, help=".csv, .json, .jsonl, .mot.txt or .coco.json")
    parser.add_argument("boxes", nargs="+", help="x,y,w,h of each target in the first frame")
    parser.add_argument("--bundle")
    options = parser.parse_args(arguments)
    seeds = []
    for number, text in enumerate(options.boxes, start=1):
        x, y, w, h = (float(value) for value in text.split(","))
        seeds.append(Seed((x, y, w, h), target=number))
    frames = 0
    with open_sink(options.out, several=True) as sink:
        for one in follow(options.video, seeds, trk.Tracker(options.bundle)):
            for record in one.records():
                sink.write(record)
            frames += 1
    return frames


if __name__ == "__main__":
    main()
