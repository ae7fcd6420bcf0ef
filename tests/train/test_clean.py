"""Tracks are kept where a tracker agrees with them, and regions where it finds the way back."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from small_clips import write_clip

from trk.bench.ope import OnePass
from trk.engine.result import Result
from trk.engine.tracker import Tracker
from trk.train.clean import REACH, Pictures, agree, clean_all, cleaned, followed, started
from trk.train.clips import Clip, ClipTrack, main, member
from trk.train.layouts import read_data
from trk.train.tracks import Box, Image

FRAMES, SIDE, JUMP = 14, 32, 9
"""Frames of the clip, the square's side, and the frame from which a detector's boxes are somewhere else."""
SURE = 3
"""The frame that the detector is surest of."""


def _texture(seed: int, width: int, height: int, low: int = 60, high: int = 130) -> Image:
    coarse = np.random.default_rng(seed).integers(low, high, (height // 8, width // 8, 3), np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height)), np.uint8)


def _truth(frame: int) -> Box:
    return 60.0 + 3 * frame, 70.0, SIDE, SIDE


def _square(frame: int) -> Image:
    image = _texture(0, 240, 176)
    x, y = (int(value) for value in _truth(frame)[:2])
    image[y : y + SIDE, x : x + SIDE] = np.kron(_texture(1, 64, 64, 0, 255)[::16, ::16], np.ones((8, 8, 1)))
    return image


def _shard(folder: Path, picture: Callable[[int], Image], frames: int) -> Clip:
    folder.mkdir(exist_ok=True)
    clip = Clip("made.mp4", "made", ((0, frames),))
    with zipfile.ZipFile(clip.shard(folder), "w") as stored:
        for frame in range(frames):
            stored.writestr(member(frame), cv2.imencode(".png", picture(frame))[1].tobytes())
    return clip


def _detected(frames: range, jump: int = FRAMES) -> ClipTrack:
    """Boxes a little larger than the square; from `jump` on they are those of something else."""
    boxes = {}
    for frame in frames:
        x, y, w, h = _truth(frame)
        boxes[frame] = (x - 2, y - 2, w + 4, h + 4) if frame < jump else (10.0, 10.0, w, h)
    return ClipTrack("made.mp4", "thing", boxes, {frame: 0.9 if frame == SURE else 0.5 for frame in frames})


@pytest.fixture(scope="module")
def tracker() -> Tracker:
    return Tracker(threads=1)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    _shard(folder, _square, FRAMES)
    return folder


CLIP = Clip("made.mp4", "made", ((0, FRAMES),))


def test_a_track_that_jumps_is_cut_there_and_has_the_trackers_boxes(shards: Path, tracker: Tracker) -> None:
    given, pictures = _detected(range(FRAMES), JUMP), Pictures(CLIP.shard(shards))
    found = cleaned(given, CLIP, pictures, tracker)
    assert list(found.boxes) == list(range(JUMP))
    start = given.boxes[SURE]
    assert found.boxes[SURE] == start
    after = {frame: box for frame, box, _ in followed(tracker, pictures, SURE, start, range(SURE + 1, JUMP))}
    before = {frame: box for frame, box, _ in followed(tracker, pictures, SURE, start, range(SURE - 1, -1, -1))}
    assert found.boxes == before | {SURE: start} | after
    assert min(agree(box, _truth(frame)) for frame, box in found.boxes.items()) > 0.65
    assert found.scores == {frame: given.scores[frame] for frame in range(JUMP)}


def test_frames_that_a_detector_left_out_stay_out(shards: Path, tracker: Tracker) -> None:
    found = cleaned(_detected(range(1, JUMP, 2)), CLIP, Pictures(CLIP.shard(shards)), tracker)
    assert list(found.boxes) == list(range(1, JUMP, 2))


def test_a_track_ends_with_its_shot(shards: Path, tracker: Tracker) -> None:
    clip = Clip("made.mp4", "made", ((0, 6), (6, FRAMES)))
    found = cleaned(_detected(range(FRAMES)), clip, Pictures(clip.shard(shards)), tracker)
    assert list(found.boxes) == list(range(6))


def test_frames_that_are_not_there_and_boxes_that_hold_nothing_are_left_out(shards: Path, tracker: Tracker) -> None:
    pictures = Pictures(CLIP.shard(shards))
    longer = _detected(range(FRAMES + 10))
    longer.scores[FRAMES + 5] = 1.0
    longer.boxes[0] = (60.0, 70.0, 0.0, 0.0)
    longer.scores[0] = 1.0
    clip = Clip("made.mp4", "made", ((0, FRAMES + 10),))
    assert list(cleaned(longer, clip, pictures, tracker).boxes) == list(range(1, FRAMES))
    gone = ClipTrack("made.mp4", "thing", {FRAMES + 1: _truth(0)}, {FRAMES + 1: 1.0})
    assert cleaned(gone, clip, pictures, tracker).boxes == {}


class Matching:
    """A tracker that goes where the picture of the target fits best; `drift`: pixels that it goes astray, a frame."""

    def __init__(self, drift: int = 0):
        self.drift = drift

    def init(self, frame: Image, box: Box) -> None:
        self.x, self.y, self.w, self.h = (round(value) for value in box)
        self.target = frame[self.y : self.y + self.h, self.x : self.x + self.w].copy()

    def update(self, frame: Image) -> Result:
        fit = cv2.matchTemplate(frame, self.target, cv2.TM_CCOEFF_NORMED)
        _, score, _, (x, y) = cv2.minMaxLoc(fit)
        self.x = self.x + self.drift if self.drift else x
        return Result((self.x, y, self.w, self.h), score, False, 0, 0.0)


def _still(frame: int) -> Image:
    return _texture(0, 240, 176, 0, 255)


def _vanishing(frame: int) -> Image:
    return _still(frame) if frame < 10 else np.full((176, 240, 3), 127, np.uint8)


def _starts(folder: Path, picture: Callable[[int], Image], tracker: OnePass, count: int = 3) -> list[ClipTrack]:
    clip = _shard(folder, picture, REACH + 3)
    return list(started(clip, Pictures(clip.shard(folder)), tracker, np.random.default_rng(0), count))


def test_regions_of_a_scene_that_stays_come_back(tmp_path: Path) -> None:
    found = _starts(tmp_path, _still, Matching())
    assert len(found) == 3
    for track in found:
        assert track.category == "region"
        first = min(track.boxes)
        assert list(track.boxes) == list(range(first, first + REACH + 1))
        assert min(agree(box, track.boxes[first]) for box in track.boxes.values()) > 0.9
        assert set(track.scores) == set(track.boxes)
    assert len({track.boxes[min(track.boxes)] for track in found}) == 3


def test_regions_that_vanish_are_given_up(tmp_path: Path, tracker: Tracker) -> None:
    assert _starts(tmp_path, _vanishing, Matching()) == []
    assert _starts(tmp_path, _vanishing, tracker, 1) == []


def test_regions_that_a_tracker_does_not_come_back_to_are_given_up(tmp_path: Path) -> None:
    assert _starts(tmp_path, _still, Matching(drift=2)) == []


def test_a_shot_that_is_too_short_to_come_back_has_no_starts(shards: Path, tracker: Tracker) -> None:
    assert list(started(CLIP, Pictures(CLIP.shard(shards)), tracker, np.random.default_rng(0), 3)) == []


def test_tracks_that_nothing_is_left_of_are_dropped_and_every_clip_is_told(shards: Path) -> None:
    told: list[tuple[int, int]] = []
    tracks = [_detected(range(FRAMES), JUMP), _detected(range(FRAMES), SURE + 1)]
    other = ClipTrack("other.mp4", "thing", {0: _truth(0)}, {0: 1.0})
    found = clean_all(shards, [CLIP], [*tracks, other], "default", 2, 0, lambda *at: told.append(at))
    assert [list(track.boxes) for track in found] == [list(range(JUMP))]
    assert told == [(1, 1)]


def test_the_command_cleans_the_tracks_and_tells_how_many_are_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "clips", tmp_path / "out"
    folder.mkdir()
    write_clip(folder / "one.mp4", frames=6)
    clip = {"file": "one.mp4", "source": "made", "shots": [[0, 6]]}
    (folder / "clips.json").write_text(json.dumps([clip]))
    ball = [[6.0 + 3 * frame, 46.0, 28.0, 28.0] for frame in range(6)]
    jumps = [*ball[:2], *[[100.0, 80.0, 28.0, 28.0]] * 4]
    listed = [{"clip": "one.mp4", "frames": list(range(6)), "boxes": boxes} for boxes in (ball, jumps)]
    (folder / "tracks.json").write_text(json.dumps(listed))
    assert main([str(folder), str(out)]) == 0
    assert len(read_data([f"shards:{out}"])) == 3
    capsys.readouterr()
    assert main([str(folder), str(out), "--teacher", "default"]) == 0
    assert capsys.readouterr().out == f"2 tracks were given; 1 are kept or found\nwrote {out}\n"
    shot, kept = read_data([f"shards:{out}"])
    assert (shot.source, kept.source) == ("made-shots", "made-objects")
    assert kept.frames[0].box == pytest.approx(ball[0])
    assert kept.frames[5].box != pytest.approx(ball[5])
    assert main([str(folder), str(out), "--teacher", str(tmp_path / "none.trk")]) == 2
    assert "none.trk" in capsys.readouterr().err
