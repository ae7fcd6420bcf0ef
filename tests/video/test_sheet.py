from pathlib import Path

import cv2
import numpy as np
import pytest
from small_clips import picture

from trk.errors import SinkError
from trk.video.draw import TRACKED
from trk.video.record import Record
from trk.video.sheet import ContactSheet


def flat(number: int, of: int) -> np.ndarray:
    return np.full((90, 160, 3), 30 + 200 * number // of, np.uint8)


def tiles_of(path: Path, rows: int, columns: int) -> np.ndarray:
    """The grey level in the middle of each tile."""
    sheet = cv2.imread(str(path))
    height, width = sheet.shape[:2]
    levels = [
        [sheet[int((r + 0.5) * height / rows), int((c + 0.5) * width / columns)] for c in range(columns)]
        for r in range(rows)
    ]
    return np.array(levels)[..., 1].reshape(-1).astype(float)


@pytest.mark.parametrize("frames", [12, 47, 48, 49, 150, 1000])
def test_tiles_are_spread_evenly_over_all_frames(tmp_path: Path, frames: int) -> None:
    with ContactSheet(tmp_path / "sheet.png", tiles=12, columns=4) as sheet:
        for number in range(frames):
            sheet.add(number, flat(number, frames))
    shown = (tiles_of(tmp_path / "sheet.png", 3, 4) - 30) / 200
    assert shown[0] == pytest.approx(0, abs=0.01)
    assert shown[-1] > 0.9
    steps = np.diff(shown)
    assert steps.min() > 0.5 / 12
    assert steps.max() < 1.7 / 11


def test_a_short_run_shows_every_frame_once(tmp_path: Path) -> None:
    with ContactSheet(tmp_path / "sheet.png", tiles=12, columns=4) as sheet:
        for number in range(3):
            sheet.add(number, flat(number, 3))
    np.testing.assert_allclose(tiles_of(tmp_path / "sheet.png", 1, 3), [30, 96, 163], atol=1)


def test_boxes_are_scaled_with_the_tiles(tmp_path: Path) -> None:
    with ContactSheet(tmp_path / "sheet.png", tiles=1) as sheet:
        sheet.add(0, np.zeros((720, 1280, 3), np.uint8), [Record(0, 0.0, (640.0, 360.0, 320.0, 180.0), 0.9)])
    image = cv2.imread(str(tmp_path / "sheet.png"))
    ys, xs = np.nonzero((image == np.array(TRACKED)).all(axis=2))
    scale = (image.shape[1] - 32) / 1280
    assert xs.min() - 16 == pytest.approx(640 * scale, abs=3)
    assert xs.max() - 16 == pytest.approx(960 * scale, abs=3)
    assert ys.max() - 16 == pytest.approx(540 * scale, abs=3)


def test_portrait_video_makes_a_sheet_too(tmp_path: Path) -> None:
    with ContactSheet(tmp_path / "sheet.jpg") as sheet:
        for number in range(20):
            sheet.add(number, picture(number, (90, 160)))
    image = cv2.imread(str(tmp_path / "sheet.jpg"))
    assert image.shape[0] > 1000


def test_ctrl_c_leaves_the_sheet_of_the_frames_so_far(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), ContactSheet(tmp_path / "sheet.png", tiles=4) as sheet:
        add_until_ctrl_c(sheet)
    assert cv2.imread(str(tmp_path / "sheet.png")) is not None
    assert len(list(tmp_path.iterdir())) == 1


def add_until_ctrl_c(sheet: ContactSheet) -> None:
    for number in range(9):
        sheet.add(number, flat(number, 9))
    raise KeyboardInterrupt


def test_no_frame_means_no_file(tmp_path: Path) -> None:
    with ContactSheet(tmp_path / "sheet.png"):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "says"), [("sheet.gif", "name a file that ends in .png"), ("nowhere/sheet.png", "no folder")]
)
def test_a_place_that_cannot_be_written_is_told_at_once(tmp_path: Path, name: str, says: str) -> None:
    with pytest.raises(SinkError, match=says):
        ContactSheet(tmp_path / name)
