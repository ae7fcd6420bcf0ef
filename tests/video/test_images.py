from pathlib import Path

import cv2
import numpy as np
import pytest
from small_clips import picture

from trk.errors import SourceError
from trk.video.images import natural_key
from trk.video.source import open_source


def write_images(folder: Path, names: list[str]) -> None:
    folder.mkdir(exist_ok=True)
    for number, name in enumerate(names):
        cv2.imwrite(str(folder / name), picture(number))


def test_numbers_in_names_sort_as_numbers() -> None:
    names = ["img10.png", "img2.png", "IMG1.png", "a.png", "img02.png", "img2b.png"]
    assert sorted(names, key=natural_key) == ["a.png", "IMG1.png", "img02.png", "img2.png", "img2b.png", "img10.png"]


def test_a_folder_is_read_in_natural_order(tmp_path: Path) -> None:
    write_images(tmp_path / "shots", [f"frame{number}.png" for number in range(12)])
    (tmp_path / "shots" / "notes.txt").write_text("not a frame")
    (tmp_path / "shots" / "._frame3.png").write_bytes(b"left behind by a copying tool")
    with open_source(tmp_path / "shots") as source:
        assert (source.name, source.size_wh, source.fps, source.count) == ("shots", (160, 120), None, 12)
        for number, frame in enumerate(source):
            assert frame.index == number
            assert frame.time == pytest.approx(number / 25)
            assert (frame.image == picture(number)).all()
    assert number == 11


def test_a_glob_and_a_single_image(tmp_path: Path) -> None:
    write_images(tmp_path, ["a1.png", "a2.png", "b1.png"])
    with open_source(str(tmp_path / "a*.png")) as source:
        assert len(list(source)) == 2
    with open_source(tmp_path / "b1.png") as source:
        assert source.count == 1
        assert (next(source).image == picture(2)).all()


def test_a_folder_whose_name_looks_like_a_glob_is_a_folder(tmp_path: Path) -> None:
    write_images(tmp_path / "take [1]", ["1.png"])
    with open_source(tmp_path / "take [1]") as source:
        assert source.count == 1


def test_grey_deep_and_transparent_images_become_bgr(tmp_path: Path) -> None:
    grey = picture(0)[..., 0]
    cv2.imwrite(str(tmp_path / "1.png"), grey)
    cv2.imwrite(str(tmp_path / "2.png"), grey.astype(np.uint16) * 257)
    cv2.imwrite(str(tmp_path / "3.png"), cv2.cvtColor(grey, cv2.COLOR_GRAY2BGRA))
    with open_source(tmp_path) as source:
        for frame in source:
            assert frame.image.shape == (120, 160, 3)
            assert frame.image.dtype == np.uint8
            assert np.abs(frame.image.astype(int) - grey[..., None]).max() <= 1


def test_an_empty_folder_says_what_it_needs(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("nothing to see")
    with pytest.raises(SourceError, match=r"holds no images: it needs files ending in \.bmp .*\.png"):
        open_source(tmp_path)


def test_a_glob_of_other_files_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("x")
    with pytest.raises(SourceError, match="matches 1 files, none of them an image"):
        open_source(str(tmp_path / "*.mp4"))


def test_an_image_of_another_size_stops_after_those_before_it(tmp_path: Path) -> None:
    write_images(tmp_path, ["1.png", "2.png"])
    cv2.imwrite(str(tmp_path / "3.png"), picture(3, (80, 60)))
    with pytest.raises(SourceError, match=r"3\.png \(frame 2\) is 80x60, the frames before it are 160x120"):
        list(open_source(tmp_path))
    with open_source(tmp_path) as source:
        assert [next(source).index, next(source).index] == [0, 1]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp", ".tiff", ".ppm"])
@pytest.mark.parametrize("kept", [0.02, 0.5, 0.9])
def test_a_cut_image_in_the_middle_is_told(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], suffix: str, kept: float
) -> None:
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}{suffix}"), picture(number))
    whole = (tmp_path / f"1{suffix}").read_bytes()
    (tmp_path / f"1{suffix}").write_bytes(whole[: int(len(whole) * kept)])
    with open_source(tmp_path) as source:
        assert next(source).index == 0
        with pytest.raises(SourceError, match=rf"1\{suffix} \(frame 1\) (is cut off|can't be decoded)"):
            next(source)
    assert capfd.readouterr().err == "", "OpenCV's decoders print lines of their own"


def test_a_jpeg_cut_behind_its_thumbnail_is_told(tmp_path: Path) -> None:
    thumbnail = cv2.imencode(".jpg", picture(0, (32, 24)))[1].tobytes()
    whole = cv2.imencode(".jpg", picture(0))[1].tobytes()
    exif = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    (tmp_path / "whole.jpg").write_bytes(whole[:2] + exif + whole[2:])
    (tmp_path / "cut.jpg").write_bytes((whole[:2] + exif + whole[2:])[:-200])
    with open_source(tmp_path / "whole.jpg") as source:
        assert next(source).image.shape == (120, 160, 3)
    with pytest.raises(SourceError, match="cut off"):
        open_source(tmp_path / "cut.jpg")


def test_a_png_with_altered_bytes_is_told_without_a_second_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = bytearray(cv2.imencode(".png", picture(0))[1].tobytes())
    data[len(data) // 2] ^= 255
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(SourceError, match="is damaged"):
        open_source(tmp_path / "a.png")
    assert capfd.readouterr().err == ""


def test_a_text_file_named_png_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("this is no picture")
    with pytest.raises(SourceError, match="not an image"):
        open_source(tmp_path / "a.png")
