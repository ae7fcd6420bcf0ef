import hashlib
import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from trk.errors import SourceError, UsageError
from trk.video.source import open_source
from trk.weights import clips
from trk.weights.clips import DEMO, SAMPLES, sample


@pytest.mark.parametrize("name", SAMPLES)
def test_every_sample_is_whole_and_its_boxes_lie_in_its_frames(name: str) -> None:
    clip = sample(name)
    with open_source(clip.video) as source:
        width, height = source.size_wh
        frames = sum(1 for _ in source)
    assert clip.init_frame in clip.groundtruth
    assert clip.init_box == clip.groundtruth[clip.init_frame]
    for index, (x, y, w, h) in clip.groundtruth.items():
        assert 0 <= index < frames
        assert w > 0
        assert h > 0
        assert 0 <= x < x + w <= width
        assert 0 <= y < y + h <= height


@pytest.mark.parametrize("name", SAMPLES)
def test_every_sample_says_where_it_is_from(name: str) -> None:
    clip = sample(name)
    readme = (clip.folder / "README.md").read_text()
    assert clip.licence in ("CC0-1.0", "CC-BY-3.0")
    assert clip.licence in readme
    assert clip.attribution
    assert clip.title


def test_the_demo_carries_the_notice_its_licence_asks_for() -> None:
    notice = "(c) copyright Blender Foundation | www.bigbuckbunny.org"
    clip = sample(DEMO)
    assert clip.attribution == notice
    readme = (clip.folder / "README.md").read_text()
    assert notice in readme
    assert hashlib.sha256(clip.video.read_bytes()).hexdigest() in readme, "the clip is not the one the README names"


def test_the_demo_is_annotated_every_tenth_frame() -> None:
    clip = sample("bunny")
    assert sorted(clip.groundtruth) == list(range(0, 131, 10))
    assert not clip.exact


def test_the_tests_clip_has_a_box_at_every_frame_and_stays_small() -> None:
    clip = sample("cat")
    assert sorted(clip.groundtruth) == list(range(150))
    assert clip.exact
    assert sum(path.stat().st_size for path in clip.folder.iterdir()) < 1_500_000


def test_boxes_of_the_exact_clip_fit_what_is_seen() -> None:
    """The disc has a light rim on a darker wall: along the box's middle row its edges are where brightness jumps."""
    clip = sample("cat")
    errors = []
    with open_source(clip.video) as source:
        for frame in itertools.islice(source, 0, 60, 3):
            x, y, w, h = clip.groundtruth[frame.index]
            row = frame.image[int(y + h / 2) - 2 : int(y + h / 2) + 3].astype(float).min(axis=2).mean(axis=0)
            bright = np.nonzero(row[int(x) - 4 : int(x + w) + 5] > 150)[0] + int(x) - 4
            errors += [bright[0] - x, bright[-1] + 1 - (x + w)]
    assert np.abs(np.median(errors)) < 1.5
    assert np.percentile(np.abs(errors), 80) < 4


def test_an_unknown_sample_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"no sample 'dog': choose one of bunny, cat"):
        sample("dog")


def test_a_sample_whose_files_are_missing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clips, "SAMPLES_FOLDER", tmp_path)
    with pytest.raises(SourceError, match="sample bunny is incomplete"):
        sample("bunny")


def test_the_loader_needs_the_standard_library_only() -> None:
    code = "import sys, trk.weights.clips; print([m for m in ('numpy', 'cv2', 'av', 'torch') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
