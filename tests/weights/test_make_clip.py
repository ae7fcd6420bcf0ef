"""The committed clip is the one its script makes. Needs scikit-image, which only the script uses."""

import csv
import importlib.util
from pathlib import Path
from types import ModuleType

import av
import cv2
import numpy as np
import pytest

from trk.video.source import open_source
from trk.weights.clips import SAMPLES_FOLDER, sample

skimage = pytest.importorskip("skimage", reason="scikit-image makes the clip: pip install scikit-image")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_clip", SAMPLES_FOLDER / "make_clip.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_committed_boxes_are_the_scripts(script: ModuleType) -> None:
    for index, box in sample("cat").groundtruth.items():
        np.testing.assert_allclose(box, script.box(index), atol=5e-4)


def test_the_committed_frames_are_the_scripts(script: ModuleType) -> None:
    scene = script.paint()
    chosen = {0, 70, 90, 149}
    with open_source(sample("cat").video) as source:
        for frame in source:
            if frame.index in chosen:
                rendered, _ = script.render(scene, frame.index)
                error = np.abs(frame.image.astype(int) - rendered).mean()
                assert error < 6, f"frame {frame.index} is {error:.1f} grey levels off: run make_clip.py and commit"


def test_the_box_is_the_discs_outline_to_half_a_pixel(script: ModuleType) -> None:
    scene = script.paint()
    for number in (0, 33, 57, 71, 120, 149):
        to_picture = script.camera(number) @ script.disc(number) @ scene.face_to_unit
        cover = script.warped(scene.face_cover, to_picture, (script.WIDTH, script.HEIGHT))
        ys, xs = np.nonzero(cover > 0.5)
        x, y, w, h = script.box(number)
        np.testing.assert_allclose((xs.min(), ys.min(), xs.max() + 1, ys.max() + 1), (x, y, x + w, y + h), atol=0.8)


def test_part_of_the_disc_is_hidden_and_never_most_of_it(script: ModuleType) -> None:
    with (SAMPLES_FOLDER / "cat" / "groundtruth.csv").open() as file:
        visible = [float(row["visible"]) for row in csv.DictReader(file)]
    assert min(visible) == pytest.approx(0.47, abs=0.03)
    assert sum(v < 0.95 for v in visible) > 20
    assert visible[:70] == [1.0] * 70


@pytest.mark.slow
def test_the_script_makes_the_same_bytes_again(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readme = (SAMPLES_FOLDER / "cat" / "README.md").read_text()
    for module in (av, cv2, skimage):
        if module.__version__ not in readme:
            pytest.skip(f"made with another {module.__name__} than {module.__version__}")
    monkeypatch.setattr("sys.argv", ["make_clip.py", "--out", str(tmp_path)])
    script.main()
    for name in ("clip.mp4", "groundtruth.csv"):
        assert (tmp_path / name).read_bytes() == (SAMPLES_FOLDER / "cat" / name).read_bytes()
