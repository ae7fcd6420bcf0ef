"""Tracks that a teacher agrees with: a detector's, followed anew, and starts of our own that come back.

A detector's boxes are loose and its links switch between persons. Each of its tracks is followed by a tracker from its
surest frame, forwards and backwards; what stays is where both agree, with the tracker's box. Other targets are any
regions that the tracker follows for two seconds and, from there, back to where it began.

Source: forward-backward error (Kalal et al., ICPR 2010).
"""

import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..bench.metrics import overlap
from ..bench.ope import OnePass
from ..engine.tracker import Tracker
from .clips import SHORTEST, Clip, ClipTrack, member
from .pairs import random_region
from .tracks import Box, Image, decoded, usable

AGREED = 0.5
"""Overlap of tracker and detector from which a frame is kept."""
RETURNED = 0.6
"""Overlap of a start with what came back to it."""
REACH = 25
"""Frames for which a start is followed: two seconds of 12.5 a second."""
SURE = 0.25
"""Score below which a start is given up."""


class Pictures:
    """The frames of one clip, from its shard."""

    def __init__(self, shard: Path):
        self._stored = zipfile.ZipFile(shard)

    def __len__(self) -> int:
        return len(self._stored.namelist())

    def __getitem__(self, frame: int) -> Image:
        return decoded(self._stored.read(member(frame)), f"{self._stored.filename} frame {frame}")

    def close(self) -> None:
        """Close the shard."""
        self._stored.close()


def cleaned(track: ClipTrack, clip: Clip, pictures: Pictures, tracker: OnePass) -> ClipTrack:
    """Return `track` with the tracker's boxes, where both agree, in the shot of the surest frame."""
    given = {frame: box for frame, box in track.boxes.items() if frame < len(pictures) and usable(box)}
    track = replace(track, boxes=given)
    if not given:
        return track
    start = max(given, key=lambda frame: track.scores[frame])
    first, last = clip.shot(start)
    boxes: dict[int, Box] = {start: track.boxes[start]}
    for frames in (range(start + 1, last), range(start - 1, first - 1, -1)):
        boxes |= {
            frame: box
            for frame, box, _ in followed(tracker, pictures, start, track.boxes[start], _known(frames, track))
            if frame in track.boxes and agree(box, track.boxes[frame]) >= AGREED
        }
    kept = dict(sorted(boxes.items()))
    return ClipTrack(track.clip, track.category, kept, {frame: track.scores[frame] for frame in kept})


def started(
    clip: Clip, pictures: Pictures, tracker: OnePass, rng: np.random.Generator, count: int
) -> Iterator[ClipTrack]:
    """Yield tracks of regions of `clip` that are followed and come back; `count` are tried in every shot."""
    for first, last in clip.shots:
        last = min(last, len(pictures))
        for _ in range(count if last - first > REACH else 0):
            start = int(rng.integers(first, last - REACH))
            box = random_region(pictures[start], rng)
            found = list(followed(tracker, pictures, start, box, range(start + 1, start + REACH + 1)))
            if any(score < SURE for *_, score in found):
                continue
            end, there, _ = found[-1]
            *_, (_, returned, _) = followed(tracker, pictures, end, there, range(end - 1, start - 1, -1))
            if agree(returned, box) >= RETURNED:
                boxes = {start: box} | {frame: where for frame, where, _ in found}
                yield ClipTrack(clip.file, "region", boxes, {start: 1.0} | {frame: score for frame, _, score in found})


def followed(
    tracker: OnePass, pictures: Pictures, start: int, box: Box, frames: Sequence[int]
) -> Iterator[tuple[int, Box, float]]:
    """Yield frame, box and score of each of `frames`, from `box` in the frame `start`."""
    tracker.init(pictures[start], box)
    for frame in frames:
        result = tracker.update(pictures[frame])
        yield frame, result.box, result.score


def agree(one: Box, other: Box) -> float:
    """Return the overlap of two boxes."""
    return float(overlap(np.array([one]), np.array([other]))[0])


def _known(frames: range, track: ClipTrack) -> range:
    """Return the part of `frames` that the track reaches."""
    ends = min(track.boxes), max(track.boxes)
    return (
        range(frames.start, min(frames.stop, ends[1] + 1))
        if frames.step > 0
        else range(frames.start, max(frames.stop, ends[0] - 1), -1)
    )


def clean_all(
    shards: Path,
    clips: Sequence[Clip],
    tracks: Sequence[ClipTrack],
    teacher: str,
    starts: int,
    seed: int,
    report: Callable[[int, int], None],
) -> list[ClipTrack]:
    """Return the cleaned tracks of all clips, and the starts. `shards` holds the pictures, `teacher` is a bundle."""
    tracker = Tracker(teacher, threads=1)
    found: list[ClipTrack] = []
    for number, clip in enumerate(clips):
        pictures = Pictures(clip.shard(shards))
        kept = [cleaned(track, clip, pictures, tracker) for track in tracks if track.clip == clip.file]
        found += [track for track in kept if len(track.boxes) >= SHORTEST]
        found += started(clip, pictures, tracker, np.random.default_rng([seed, number]), starts)
        pictures.close()
        report(number + 1, len(clips))
    return found
