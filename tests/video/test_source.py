import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from trk.errors import SourceError
from trk.video.source import open_source
from trk.weights.clips import sample


def test_a_source_imports_neither_pyav_nor_torch_before_a_video_is_opened() -> None:
    code = "import sys, trk.video.source, trk.video.boxes, trk.video.writer, trk.video.draw, trk.video.sheet\n"
    code += "print([m for m in ('av', 'torch', 'onnxruntime', 'trk.engine') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_frames_are_numbered_timed_and_yours_to_keep() -> None:
    with open_source(sample("cat").video) as source:
        assert (source.name, source.size_wh, source.fps, source.count) == ("clip.mp4", (480, 360), 25.0, 150)
        frames = list(source)
    assert [frame.index for frame in frames] == list(range(150))
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(150) / 25)
    for frame in frames:
        assert frame.image.shape == (360, 480, 3)
        assert frame.image.dtype == np.uint8
        assert frame.image.flags.c_contiguous
        assert frame.image.flags.writeable
    frames[0].image[:] = 7
    assert frames[1].image.std() > 10


def test_a_source_is_read_once() -> None:
    with open_source(sample("cat").video) as source:
        assert sum(1 for _ in source) == 150
        assert list(source) == []


def test_a_closed_source_gives_nothing_more() -> None:
    source = open_source(sample("cat").video)
    next(source)
    source.close()
    source.close()
    assert list(source) == []


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("", "no file or folder ''"),
        ("nowhere.mp4", "no file or folder 'nowhere.mp4'"),
        ("nowhere/clip.mp4", "nor a folder nowhere"),
        ("nowhere/*.png", "matches no file"),
        ("x" * 5000, "can't be opened"),
        ("a\0b", "no file or folder"),
    ],
    ids=["empty", "file", "folder", "glob", "too-long", "nul"],
)
def test_what_is_not_there_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: str, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError) as caught:
        open_source(spec)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["clip.mp4", "frame.png"])
def test_an_empty_file_is_told(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(SourceError, match=r"is empty \(0 bytes\)"):
        open_source(tmp_path / name)


@pytest.mark.parametrize("name", ["clip.mp4", "frame.png"])
def test_a_git_lfs_pointer_is_named_with_the_cure(tmp_path: Path, name: str) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 1055736\n"
    (tmp_path / name).write_text(pointer)
    with pytest.raises(SourceError, match=r"Git LFS pointer.*git lfs pull"):
        open_source(tmp_path / name)
