from dataclasses import replace

import cv2
import numpy as np
import pytest
from small_clips import picture

from trk.video.draw import LOST, PALETTE, TRACKED, draw
from trk.video.record import Box, Record


def count_of(image: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((image == np.array(colour, np.uint8)).all(axis=2).sum())


def target(box: Box, number: int = 1, **known: object) -> list[Record]:
    return [replace(Record(12, 0.5, box, target=number), **known)]


@pytest.mark.parametrize("size_wh", [(160, 120), (640, 480), (1280, 720), (720, 1280), (3840, 2160)])
def test_the_box_is_drawn_where_it_is_and_the_frame_stays_as_it_was(size_wh: tuple[int, int]) -> None:
    image = picture(3, size_wh)
    before = image.copy()
    w, h = size_wh
    drawn = draw(image, target((0.3 * w, 0.4 * h, 0.25 * w, 0.3 * h)))
    assert (image == before).all()
    assert drawn.shape == image.shape
    ys, xs = np.nonzero((drawn != image).any(axis=2))
    rim = 4 + min(size_wh) / 100
    assert xs.min() == pytest.approx(0.3 * w, abs=rim)
    assert xs.max() == pytest.approx(0.55 * w, abs=rim)
    assert ys.min() == pytest.approx(0.4 * h, abs=rim)
    assert ys.max() == pytest.approx(0.7 * h, abs=rim)
    inside = (slice(int(0.45 * h), int(0.65 * h)), slice(int(0.35 * w), int(0.5 * w)))
    assert (drawn[inside] == image[inside]).all()


def test_a_lost_target_has_another_colour_and_gaps_in_its_box() -> None:
    image = np.zeros((480, 640, 3), np.uint8)
    box = (200.0, 150.0, 160.0, 120.0)
    found, lost = draw(image, target(box)), draw(image, target(box, lost=True))
    assert count_of(found, TRACKED) > 500
    assert count_of(found, LOST) == 0
    assert count_of(lost, LOST) > 200
    assert count_of(lost, TRACKED) == 0
    assert (found[150, 210:350] == TRACKED).all()
    edge = (lost[270, 205:355] == LOST).all(axis=1)
    assert 0.2 < edge.mean() < 0.8


def test_all_targets_are_drawn_at_once_as_one_after_the_other() -> None:
    image = picture(0, (640, 480))
    before = image.copy()
    first = target((40.0, 150.0, 100.0, 100.0), score=0.5)
    second = target((300.0, 200.0, 90.0, 120.0), 2, score=0.5, lost=True)
    found = draw(image, first + second, numbered=True, fps=30.0, frame_index=12)
    assert (image == before).all()
    once = draw(image, first, numbered=True, fps=30.0, frame_index=12)
    assert (found == draw(once, second, numbered=True)).all()
    assert count_of(draw(image, second), LOST) > count_of(image, LOST)
    assert count_of(draw(image, target((300.0, 200.0, 90.0, 120.0), 2)), PALETTE[1]) > 200


def words_beside(box: Box, monkeypatch: pytest.MonkeyPatch, *, numbered: bool = False, **known: object) -> str:
    written: list[str] = []
    put = cv2.putText
    monkeypatch.setattr(cv2, "putText", lambda image, text, *rest: (written.append(text), put(image, text, *rest))[1])
    draw(picture(0, (640, 480)), target(box, 3, **known), numbered=numbered)
    return written[-1] if written else ""


def test_a_calibrated_target_shows_how_probable_it_is_any_other_its_score(monkeypatch: pytest.MonkeyPatch) -> None:
    box = (200.0, 150.0, 100.0, 100.0)
    assert words_beside(box, monkeypatch) == ""
    assert words_beside(box, monkeypatch, score=0.714) == "0.71"
    assert words_beside(box, monkeypatch, score=0.714, confidence=0.968) == "97%"
    assert words_beside(box, monkeypatch, score=0.714, confidence=0.02, lost=True, numbered=True) == "#3  lost  2%"


def test_words_stand_beside_the_box_and_speed_in_the_corner() -> None:
    image = picture(0, (640, 480))
    one = target((200.0, 150.0, 100.0, 100.0))
    plain = draw(image, one)
    tagged = draw(image, target(one[0].box, score=0.91), numbered=True)
    ys, xs = np.nonzero((tagged != plain).any(axis=2))
    assert ys.max() <= 151
    assert ys.min() > 110
    assert xs.min() >= 195
    status = draw(image, one, fps=57.2, frame_index=12)
    ys, xs = np.nonzero((status != plain).any(axis=2))
    assert ys.max() < 60
    assert xs.max() < 320


@pytest.mark.parametrize(
    "box",
    [
        (-50.0, -50.0, 100.0, 100.0),
        (600.0, 440.0, 100.0, 100.0),
        (-1e9, -1e9, 2e9, 2e9),
        (1e6, 1e6, 10.0, 10.0),
        (10.0, 10.0, 0.0, 0.0),
        (0.0, 0.0, 640.0, 480.0),
        (float("nan"), 1.0, 2.0, 3.0),
    ],
)
@pytest.mark.parametrize("lost", [False, True])
def test_any_box_can_be_drawn(box: Box, lost: bool) -> None:
    one = target(box, score=0.5, lost=lost)
    drawn = draw(picture(0, (640, 480)), one, numbered=True, fps=30.0, frame_index=1)
    assert drawn.shape == (480, 640, 3)


def tag_of(image: np.ndarray, box: Box) -> np.ndarray:
    """Where the tag of a target is, [H, W] bool."""
    return (draw(image, target(box, score=0.5), numbered=True) != draw(image, target(box))).any(axis=2)


def test_a_tag_never_leaves_the_picture() -> None:
    image = np.zeros((480, 640, 3), np.uint8)
    for box in ((630.0, 0.0, 10.0, 480.0), (0.0, 0.0, 640.0, 480.0), (600.0, 470.0, 40.0, 10.0)):
        added = tag_of(image, box)
        reference = tag_of(image, (200.0, 200.0, 100.0, 100.0))
        assert np.ptp(np.nonzero(added)[1]) >= 0.8 * np.ptp(np.nonzero(reference)[1])


@pytest.mark.parametrize("size_wh", [(1, 1), (8, 8), (30, 400), (400, 30)])
def test_tiny_pictures_can_be_drawn_into(size_wh: tuple[int, int]) -> None:
    image = np.zeros((size_wh[1], size_wh[0], 3), np.uint8)
    one = target((0.0, 0.0, 5.0, 5.0), score=1.0)
    assert draw(image, one, numbered=True, fps=1.0, frame_index=0).shape == image.shape


def test_a_frame_that_is_a_view_is_not_written_to() -> None:
    image = picture(0, (640, 480))
    view = image[:, ::-1]
    before = image.copy()
    drawn = draw(view, target((100.0, 100.0, 50.0, 50.0)), numbered=True)
    assert drawn.flags.c_contiguous
    assert (image == before).all()
