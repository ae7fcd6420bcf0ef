"""How calm boxes are on a picture that stays the same."""

from itertools import count
from pathlib import Path

import cv2
import numpy as np
import pytest

from trk.bench.still import main, restlessness
from trk.engine.result import Box, Result


class Swaying:
    """Moves its box by `by` pixels to the right and back, and one more at the beginning."""

    def __init__(self, by: float) -> None:
        self.by = by

    def init(self, frame: np.ndarray, box: Box) -> None:
        """Begin at `box`."""
        del frame
        self.box, self.turns = box, count()

    def update(self, frame: np.ndarray) -> Result:
        """Return the box where it is now."""
        del frame
        turn = next(self.turns)
        x, y, w, h = self.box
        return Result(
            (x + self.by * (turn % 2) + (50.0 if turn < 3 else 0.0), y, w, h),
            1.0,
            lost=False,
            frame_index=turn + 1,
            time=0.0,
        )


@pytest.fixture
def still(tmp_path: Path) -> Path:
    """A folder of one sequence."""
    place = tmp_path / "sequences" / "one"
    place.mkdir(parents=True)
    for number in range(2):
        cv2.imwrite(str(place / f"{number:08d}.png"), np.full((60, 80, 3), 99, np.uint8))
    (place / "groundtruth.txt").write_text("10,10,20,20\n10,10,20,20\n")
    return place.parent


@pytest.mark.parametrize("by", [0.0, 2.0])
def test_what_moves_after_settling_is_the_mean_over_corner_and_sides(still: Path, by: float) -> None:
    assert restlessness(Swaying(by), still) == {"one": pytest.approx(by / 4)}


def test_a_line_for_each_bundle(still: Path, tiny_trk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(still), str(tiny_trk)]) == 0
    assert capsys.readouterr().out.startswith(f"{tiny_trk}: ")
    assert main([str(still), "none.trk"]) == 2
    assert "none.trk" in capsys.readouterr().err
