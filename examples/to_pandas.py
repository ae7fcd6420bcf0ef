"""Results as a table: python to_pandas.py video.mp4 --init 120,80,60,40"""

import argparse

import pandas as pd

import trk
from trk import track


def table(video, box, bundle=None) -> pd.DataFrame:
    """One row a frame: frame, time, x, y, w, h, score, lost, and the speed of the centre in pixels a second."""
    rows = [
        {"frame": one.frame.index, "time": one.frame.time, **dict(zip("xywh", one.result.box, strict=True)),
         "score": one.result.score, "lost": one.result.lost}
        for one in track(video, box, trk.Tracker(bundle))
    ]  # fmt: skip
    frame = pd.DataFrame(rows).set_index("frame")
    centre = pd.DataFrame({"x": frame.x + frame.w / 2, "y": frame.y + frame.h / 2})
    way = (centre.diff() ** 2).sum(axis=1, min_count=2) ** 0.5
    return frame.assign(speed=way / frame.time.diff())


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("video")
    parser.add_argument("--init", required=True, help="x,y,w,h in the first frame")
    parser.add_argument("--bundle")
    options = parser.parse_args(arguments)
    found = table(options.video, [float(value) for value in options.init.split(",")], options.bundle)
    print(found.describe())
    return len(found)


if __name__ == "__main__":
    main()
