"""An evaluation as one HTML file that needs nothing else: tables, plots, and the worst sequences with their frames."""

import base64
from collections.abc import Iterator, Mapping
from collections.abc import Sequence as Many
from html import escape
from typing import Any

import cv2
import numpy as np

from ..video.images import read_image
from .accuracy import OnSequence, OnSet, ahead
from .metrics import FIGURES, intervals

TITLES = ("AUC", "precision at 20 px", "norm. precision", "AO", "SR 0.50", "SR 0.75")
WORST = 8
"""Sequences of a tracker that are shown with frames."""
SHOTS = 5
SHOT_WIDTH = 300
FOUND, TRUTH = (66, 66, 230), (80, 200, 80)
"""BGR of the tracker's box and of the annotated one."""

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 1100px; padding: 0 1rem; color: #222; }
h1 { font-size: 1.6rem; } h2 { margin-top: 2.5rem; } h3 { margin-bottom: .3rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .7rem; text-align: right; border-bottom: 1px solid #ddd; }
th:first-child, td:first-child { text-align: left; } small { color: #666; }
.plots img { width: 49%; vertical-align: top; } .plots img[alt=confidence] { width: 98%; }
.shots { display: flex; gap: 6px; flex-wrap: wrap; }
.shots figure { margin: 0; } .shots img { width: 205px; display: block; } figcaption { font-size: 12px; color: #555; }
details { margin: 1rem 0; } .box { display: inline-block; width: .8em; height: .8em; border: 2px solid; }
"""


def page(sets: Many[OnSet], report: Mapping[str, Any], plots: Mapping[str, bytes]) -> str:
    """Return the page. `report` is what `accuracy_report` returns, `plots` what `draw_plots` does."""
    title = f"Accuracy on {report['data']['folder']}"
    parts = [
        "<!doctype html><html lang=en><head><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><h1>{escape(title)}</h1>",
        *_about(report),
        *_summary(sets),
        "<div class=plots>",
        *(f"<img alt='{escape(name)}' src='{_uri(picture, 'png')}'>" for name, picture in plots.items()),
        "</div>",
    ]
    for one in sets:
        parts += _tracker(one)
    return "\n".join([*parts, "</body></html>\n"])


def _about(report: Mapping[str, Any]) -> Iterator[str]:
    rule, versions = report["convention"], report["versions"]
    yield f"<p>Layout {escape(report['data']['layout'])}, counted as {escape(rule['name'])} ({escape(rule['source'])})."
    if report["realtime_fps"]:
        yield f"Real time: frames arrive at {report['realtime_fps']:g} a second; a late answer counts as the old box."
    processor = str(report["machine"].get("cpu", report["machine"]))
    yield f"<br><small>{escape(processor)} · {escape(', '.join(f'{n} {v}' for n, v in versions.items()))}</small></p>"
    for name, error in report["data"]["left_out"].items():
        yield f"<p><b>Left out {escape(name)}</b>: {escape(error)}</p>"


def _summary(sets: Many[OnSet]) -> Iterator[str]:
    yield "<h2>Trackers</h2><table><tr><th>tracker</th>"
    yield "".join(f"<th>{title}</th>" for title in TITLES) + "<th>FPS</th><th>sequences</th></tr>"
    for one in sets:
        mean = one.mean()
        cells = ["-"] * len(FIGURES)
        if mean is not None:
            spread = intervals(one.scores)
            cells = [
                f"{100 * mean.figures[name]:.1f} <small>{100 * spread[name][0]:.0f}-{100 * spread[name][1]:.0f}</small>"
                for name in FIGURES
            ]
        cells += [_fps(one.fps()), f"{len(one.scores)}" + (f" ({len(one.failed)} failed)" if one.failed else "")]
        yield f"<tr><td>{escape(one.spec.label)}</td>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
    yield "</table><p><small>Percent; small: 95 % interval of a bootstrap over sequences.</small></p>"
    if len(sets) > 1:
        yield from _against_first(sets)


def _against_first(sets: Many[OnSet]) -> Iterator[str]:
    first, *others = sets
    yield f"<table><tr><th>against {escape(first.spec.label)}</th>"
    yield "".join(f"<th>{title}</th>" for title in TITLES) + "</tr>"
    for one in others:
        cells = []
        for found in ahead(one, first).values():
            low, high = found.interval_95
            cells.append(f"{100 * found.mean:+.1f} <small>{100 * low:+.1f} {100 * high:+.1f}</small>")
        yield f"<tr><td>{escape(one.spec.label)}</td>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
    yield "</table><p><small>Paired; where an interval holds 0 the two can't be told apart.</small></p>"


def _tracker(one: OnSet) -> Iterator[str]:
    yield f"<h2>{escape(one.spec.label)}</h2>"
    for name, error in one.failed.items():
        yield f"<p><b>Failed on {escape(name)}</b>: {escape(error)}</p>"
    worst = sorted(one.scored, key=lambda item: item.score.figures["auc"] if item.score else 0.0)
    yield "<details open><summary>Sequences, worst first</summary><table><tr><th>sequence</th>"
    yield "".join(f"<th>{title}</th>" for title in TITLES) + "<th>FPS</th><th>frames</th></tr>"
    for item in worst:
        assert item.score is not None
        cells = [f"{100 * item.score.figures[name]:.1f}" for name in FIGURES]
        cells += [_fps(item.fps), str(len(item.run.boxes))]
        yield f"<tr><td>{escape(item.sequence.name)}</td>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
    yield "</table></details>"
    if worst:
        yield (
            f"<p><span class=box style='color:{_css(FOUND)}'></span> {escape(one.spec.label)} "
            f"<span class=box style='color:{_css(TRUTH)}'></span> annotated</p>"
        )
    for item in worst[:WORST]:
        yield from _shots(item)


def _shots(item: OnSequence) -> Iterator[str]:
    assert item.score is not None
    attributes = ", ".join(item.sequence.attributes)
    yield f"<h3>{escape(item.sequence.name)} <small>AUC {100 * item.score.figures['auc']:.1f}"
    yield f"{' · ' + escape(attributes) if attributes else ''}</small></h3><div class=shots>"
    for number in shots_of(item):
        picture = read_image(item.sequence.images[number], number)
        content = _drawn(picture, item.run.boxes[number], item.sequence.groundtruth[number])
        overlap = item.run.overlaps[number]
        what = f"overlap {overlap:.2f}" if np.isfinite(overlap) else "not annotated"
        yield f"<figure><img alt='frame {number}' src='{_uri(content, 'jpeg')}'>"
        yield f"<figcaption>frame {number} · {what}</figcaption></figure>"
    yield "</div>"


def shots_of(item: OnSequence) -> list[int]:
    """Return the numbers of the frames to show: around the first one that was lost, or spread evenly where none was."""
    last = len(item.run.boxes) - 1
    lost = np.flatnonzero(np.nan_to_num(item.run.overlaps, nan=1.0) <= 0)
    if lost.size:
        first = int(lost[0])
        wanted = [first // 2, first - 5, first, first + 10, (first + last) // 2]
    else:
        wanted = [round(last * (step + 1) / SHOTS) for step in range(SHOTS)]
    return sorted({min(max(number, 0), last) for number in wanted})


def _drawn(image: np.ndarray, box: np.ndarray, truth: np.ndarray) -> bytes:
    """The image with both boxes, SHOT_WIDTH wide, as JPEG."""
    scale = SHOT_WIDTH / image.shape[1]
    small = cv2.resize(image, (SHOT_WIDTH, max(round(image.shape[0] * scale), 1)), interpolation=cv2.INTER_AREA)
    for one, colour in ((truth, TRUTH), (box, FOUND)):
        if np.isfinite(one).all():
            x, y, w, h = one * scale
            cv2.rectangle(small, (round(x), round(y)), (round(x + w), round(y + h)), colour, 2, cv2.LINE_AA)
    return bytes(cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 80])[1])


def _uri(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _css(bgr: tuple[int, int, int]) -> str:
    return f"rgb({bgr[2]},{bgr[1]},{bgr[0]})"


def _fps(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"
