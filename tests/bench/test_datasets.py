import numpy as np
import pytest
from data_sets import boxes, images, lines, numbered

from trk.bench.datasets import uav
from trk.bench.datasets.layouts import LAYOUTS, open_dataset
from trk.bench.datasets.text import read_boxes
from trk.errors import SourceError, UsageError


def read(folder, layout=None, subset=None):
    found = open_dataset(folder, layout, subset)
    return found.layout.name, {one.name: one.read() for one in found.found}


@pytest.mark.parametrize("separator", [",", "\t", " ", ", ", ";"])
def test_otb_is_read_with_any_separator_and_counts_from_0(tmp_path, separator):
    images(tmp_path / "Boy" / "img", numbered(3))
    lines(tmp_path / "Boy" / "groundtruth_rect.txt", boxes(3), separator)
    layout, found = read(tmp_path)
    assert layout == "otb"
    np.testing.assert_array_equal(found["Boy"].groundtruth, [[9, 19, 5, 6], [10, 19, 5, 6], [11, 19, 5, 6]])
    assert [image.name for image in found["Boy"].images] == ["0001.jpg", "0002.jpg", "0003.jpg"]


def test_otb_has_several_targets_in_a_folder_and_empty_files(tmp_path):
    images(tmp_path / "Jogging" / "img", numbered(3))
    images(tmp_path / "Human4" / "img", numbered(3))
    lines(tmp_path / "Jogging" / "groundtruth_rect.1.txt", boxes(3))
    lines(tmp_path / "Jogging" / "groundtruth_rect.2.txt", boxes(3)[::-1])
    (tmp_path / "Human4" / "groundtruth_rect.1.txt").write_text("\n")
    lines(tmp_path / "Human4" / "groundtruth_rect.2.txt", boxes(3))
    _, found = read(tmp_path)
    assert list(found) == ["Human4", "Jogging-1", "Jogging-2"]
    assert found["Jogging-2"].groundtruth[0, 0] == 11


def test_otb_takes_the_annotated_range_of_david_and_only_where_there_is_more(tmp_path):
    images(tmp_path / "a" / "David" / "img", numbered(770))
    lines(tmp_path / "a" / "David" / "groundtruth_rect.txt", boxes(471))
    images(tmp_path / "b" / "David" / "img", numbered(5))
    lines(tmp_path / "b" / "David" / "groundtruth_rect.txt", boxes(5))
    whole = read(tmp_path / "a")[1]["David"].images
    assert (whole[0].name, whole[-1].name) == ("0300.jpg", "0770.jpg")
    assert len(read(tmp_path / "b")[1]["David"].images) == 5


def test_otb_numbers_that_do_not_begin_with_1_are_no_matter(tmp_path):
    images(tmp_path / "BlurCar1" / "img", numbered(3, start=247))
    lines(tmp_path / "BlurCar1" / "groundtruth_rect.txt", boxes(3))
    assert read(tmp_path)[1]["BlurCar1"].images[0].name == "0247.jpg"


def test_otb_subsets_are_the_benchmarks(tmp_path):
    from trk.bench.datasets.otb_lists import SUBSETS

    # Jogging has two targets in OTB-2013 and TB-100, Skating2 in TB-50 and TB-100.
    assert {name: len(names) for name, names in SUBSETS.items()} == {
        "otb2013": 50,
        "tb50": 49,
        "tb100": 98,
        "otb2015": 98,
    }
    for name in ("Boy", "Biker"):
        images(tmp_path / name / "img", numbered(2))
        lines(tmp_path / name / "groundtruth_rect.txt", boxes(2))
    assert list(read(tmp_path, subset="otb2013")[1]) == ["Boy"]
    assert list(read(tmp_path, subset="tb50")[1]) == ["Biker"]
    with pytest.raises(SourceError, match="no subset 'tb51': it has otb2013"):
        open_dataset(tmp_path, "otb", "tb51")


def test_uav123_parts_begin_where_the_table_says_and_absent_frames_are_nan(tmp_path):
    images(tmp_path / "data_seq" / "UAV123" / "bird1", numbered(800, 6))
    images(tmp_path / "data_seq" / "UAV123" / "bike1", numbered(2, 6))
    lines(tmp_path / "anno" / "UAV123" / "bird1_2.txt", [*boxes(3), ["NaN"] * 4])
    lines(tmp_path / "anno" / "UAV123" / "bike1.txt", boxes(2))
    lines(tmp_path / "anno" / "UAV123" / "att" / "bike1.txt", [[0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]])
    layout, found = read(tmp_path)
    assert layout == "uav123"
    part = found["bird1_2"]
    assert [image.name for image in part.images] == ["000775.jpg", "000776.jpg", "000777.jpg", "000778.jpg"]
    assert part.visible.tolist() == [True, True, True, False]
    assert found["bike1"].attributes == ("ARC", "SOB")


def test_uav123_10fps_has_every_third_image(tmp_path):
    images(tmp_path / "data_seq" / "UAV123_10fps" / "bird1", numbered(300, 6))
    lines(tmp_path / "anno" / "UAV123_10fps" / "bird1_2.txt", boxes(2))
    assert read(tmp_path)[1]["bird1_2"].images[0].name == "000259.jpg"


def test_uav123_table_is_the_one_of_got10k():
    got10k = pytest.importorskip("got10k", reason="got10k is not installed (pip install --no-deps got10k)")
    import json
    from pathlib import Path

    path = Path(next(iter(got10k.__path__))) / "datasets" / "uav123.json"
    if not path.is_file():
        pytest.skip("this got10k came without its tables")
    for name, about in json.loads(path.read_text())["UAV123"].items():
        folder, _, number = name.rpartition("_")
        whole = about["folder_name"] == name
        start = 1 if whole else uav.STARTS[folder][int(number) - 1]
        assert (start, name if whole else folder) == (about["start_frame"], about["folder_name"])


def test_a_missing_image_is_named(tmp_path):
    images(tmp_path / "data_seq" / "UAV123" / "bike1", numbered(2, 6))
    lines(tmp_path / "anno" / "UAV123" / "bike1.txt", boxes(3))
    with pytest.raises(SourceError, match="bike1: image 3 is missing"):
        read(tmp_path)


def nfs_rows(count):
    return [[0, 10 + n, 20, 14 + n, 27, n, int(n == 8), 0, 0, '"ball"'] for n in range(count)]


@pytest.mark.parametrize(("rate", "frames", "count"), [("240", 9, 9), ("240", 9, 10), ("30", 2, 16), ("30", 2, 9)])
def test_nfs_has_corners_and_takes_every_eighth_line_at_30(tmp_path, rate, frames, count):
    images(tmp_path / "ball" / rate / "ball", numbered(frames, 5))
    lines(tmp_path / "ball" / rate / "ball.txt", nfs_rows(count), " ")
    layout, found = read(tmp_path)
    assert layout == "nfs"
    step = 1 if rate == "240" else 8
    np.testing.assert_array_equal(found["ball"].groundtruth[:2], [[10, 20, 4, 7], [10 + step, 20, 4, 7]])
    assert found["ball"].visible.tolist() == [True] * (frames - 1) + [False]  # line 8 says lost


def test_lasot_hides_occluded_frames_and_keeps_to_its_list(tmp_path):
    for name in ("cat-1", "cat-2"):
        images(tmp_path / "cat" / name / "img", numbered(3, 8))
        lines(tmp_path / "cat" / name / "groundtruth.txt", boxes(3))
        lines(tmp_path / "cat" / name / "full_occlusion.txt", [[0, 1, 0]])
        lines(tmp_path / "cat" / name / "out_of_view.txt", [[0, 0, 1]])
    layout, found = read(tmp_path)
    assert (layout, list(found)) == ("lasot", ["cat-1", "cat-2"])
    assert found["cat-1"].visible.tolist() == [True, False, False]
    (tmp_path / "testing_set.txt").write_text("cat-2\n")
    assert list(read(tmp_path)[1]) == ["cat-2"]
    with pytest.raises(SourceError, match=r"no training_set\.txt"):
        open_dataset(tmp_path, "lasot", "train")


def test_got10k_hides_covered_frames_and_the_test_set_has_one_box(tmp_path):
    for part, count in (("val", 3), ("test", 1)):
        images(tmp_path / part / "GOT_1", numbered(3, 8))
        lines(tmp_path / part / "GOT_1" / "groundtruth.txt", boxes(count))
        lines(tmp_path / part / "list.txt", ["GOT_1"])
    lines(tmp_path / "val" / "GOT_1" / "cover.label", [8, 0, 8])
    layout, found = read(tmp_path)
    assert layout == "got10k"
    assert found["GOT_1"].visible.tolist() == [True, False, True]
    withheld = read(tmp_path, subset="test")[1]["GOT_1"]
    assert withheld.withheld
    assert withheld.visible.tolist() == [True, False, False]


def test_trackingnet_sorts_images_as_numbers(tmp_path):
    images(tmp_path / "TEST" / "frames" / "a-0", [f"{number}.jpg" for number in range(12)])
    lines(tmp_path / "TEST" / "anno" / "a-0.txt", boxes(1))
    layout, found = read(tmp_path)
    assert layout == "trackingnet"
    assert [image.stem for image in found["a-0"].images] == [str(number) for number in range(12)]
    assert found["a-0"].withheld


def test_a_folder_of_frames_and_one_sequence_alone(tmp_path):
    images(tmp_path / "one", numbered(3))
    lines(tmp_path / "one" / "groundtruth.txt", [[1, 2, 3, 4], ["nan"] * 4, [5, 6, 0, 8]])
    (tmp_path / "one" / "meta.json").write_text('{"attributes": ["blur"]}')
    layout, found = read(tmp_path)
    assert layout == "folder"
    assert found["one"].visible.tolist() == [True, False, False]
    assert found["one"].attributes == ("blur",)
    assert list(read(tmp_path / "one")[1]) == ["one"]


def test_polygons_become_the_box_around_them(tmp_path):
    lines(tmp_path / "g.txt", [[5, 1, 9, 4, 6, 8, 2, 5]])
    np.testing.assert_array_equal(read_boxes(tmp_path / "g.txt"), [[2, 1, 7, 7]])


BAD = {
    "a line too few": (boxes(2), "one: 3 images and 2 lines"),
    "a line too many": (boxes(4), "one: 3 images and 4 lines"),
    "nothing to start from": ([["nan"] * 4, *boxes(2)], "first box of the ground truth has no area"),
    "a first box of no width": ([[1, 2, 0, 4], *boxes(2)], "first box of the ground truth has no area"),
    "words": ([["x", "y", "w", "h"], *boxes(2)], "line 1: 'x,y,w,h' is not x,y,w,h"),
    "uneven lines": ([[1, 2, 3, 4], [1, 2, 3], [1, 2, 3, 4]], "line 2: 3 numbers, 4 before it"),
    "five numbers": ([[1, 2, 3, 4, 5]] * 3, "5 numbers a line"),
    "nothing": ([], "is empty"),
}


@pytest.mark.parametrize("case", BAD)
def test_spoiled_ground_truth_is_told(tmp_path, case):
    rows, expected = BAD[case]
    images(tmp_path / "one", numbered(3))
    lines(tmp_path / "one" / "groundtruth.txt", rows)
    with pytest.raises(SourceError, match=expected):
        read(tmp_path)


def test_no_images_are_told(tmp_path):
    lines(tmp_path / "one" / "groundtruth.txt", boxes(3))
    with pytest.raises(SourceError, match="holds no images"):
        read(tmp_path)


def test_what_was_looked_for_is_told_where_nothing_is_found(tmp_path):
    with pytest.raises(SourceError, match=r"no sequence in .*groundtruth_rect") as error:
        open_dataset(tmp_path)
    assert all(layout.name in str(error.value) for layout in LAYOUTS)
    with pytest.raises(SourceError, match="no folder"):
        open_dataset(tmp_path / "none")
    with pytest.raises(UsageError, match="no layout 'otb99': there are uav123"):
        open_dataset(tmp_path, "otb99")


def test_a_fingerprint_follows_the_images_and_the_first_box_only(tmp_path):
    place = tmp_path / "one"
    images(place, numbered(3))
    lines(place / "groundtruth.txt", boxes(3))
    before = read(tmp_path)[1]["one"].fingerprint()
    lines(place / "groundtruth.txt", [*boxes(2), [1, 1, 1, 1]])
    assert read(tmp_path)[1]["one"].fingerprint() == before
    lines(place / "groundtruth.txt", boxes(4)[1:])
    assert read(tmp_path)[1]["one"].fingerprint() != before
