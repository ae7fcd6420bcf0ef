import zipfile

import numpy as np
import pytest
from data_sets import boxes, images, lines, numbered

from trk.bench.datasets import folder as plain
from trk.bench.ope import run_sequence
from trk.bench.peers import Stay
from trk.bench.results import FORMATS, format_of, read_results, write_results
from trk.errors import SourceError


@pytest.fixture
def runs(tmp_path):
    found = []
    for name in ("one", "two"):
        images(tmp_path / "data" / name, numbered(3))
        lines(tmp_path / "data" / name / "groundtruth.txt", boxes(3))
        found.append(run_sequence(Stay(), tmp_path / "data" / name))
    return found


@pytest.mark.parametrize("form", [row.name for row in FORMATS])
@pytest.mark.parametrize("first_pixel", [0, 1])
def test_what_was_written_is_read_back(tmp_path, runs, form, first_pixel):
    place = tmp_path / "out" / "tracker"
    write_results(place, format_of(form), runs, first_pixel)
    sequence = plain.read(tmp_path / "data" / "two")
    np.testing.assert_allclose(read_results(place, sequence, first_pixel), runs[1].boxes, atol=5e-4)


def test_flat_files_have_a_line_per_image_and_count_as_the_benchmark_does(tmp_path, runs):
    write_results(tmp_path / "t", format_of("flat"), runs, 1)
    assert (tmp_path / "t" / "one.txt").read_text() == "11.000,21.000,5.000,6.000\n" * 3
    assert len((tmp_path / "t" / "times" / "one_time.txt").read_text().splitlines()) == 3


def test_got10k_is_a_folder_per_sequence_and_a_zip_of_them(tmp_path, runs):
    archive = write_results(tmp_path / "t", format_of("got10k"), runs)
    assert archive == tmp_path / "t.zip"
    names = {"one/one_001.txt", "one/one_time.txt", "two/two_001.txt", "two/two_time.txt"}
    with zipfile.ZipFile(archive) as file:
        assert set(file.namelist()) == names
        assert file.read("one/one_001.txt") == b"10.000,20.000,5.000,6.000\n" * 3
    assert {str(path.relative_to(tmp_path / "t")) for path in (tmp_path / "t").rglob("*.txt")} == names


def test_got10k_reads_what_we_write(tmp_path, runs):
    """Its report refuses shapes that are not the annotation's, and takes boxes and times from these names."""
    pytest.importorskip("got10k.experiments", reason="got10k is not installed (trk-engine[dev])")
    import got10k.experiments.got10k as official

    write_results(tmp_path / "results" / "GOT-10k" / "tracker", format_of("got10k"), runs)
    root = tmp_path / "set" / "val"
    lines(root / "list.txt", ["one", "two"])
    for name in ("one", "two"):
        images(root / name, numbered(3))
        lines(root / name / "groundtruth.txt", boxes(3))
        (root / name / "meta_info.ini").write_text("[METAINFO]\nresolution: (16, 16)\n")
        for label in ("cover", "absence", "cut_by_image"):
            lines(root / name / f"{label}.label", [8, 8, 8])
    experiment = official.ExperimentGOT10k(
        str(tmp_path / "set"), "val", str(tmp_path / "results"), str(tmp_path / "reports")
    )
    experiment.plot_curves = lambda *_: None
    found = experiment.report(["tracker"])["tracker"]
    assert set(found["seq_wise"]) == {"one", "two"}
    assert found["overall"]["speed_fps"] > 0


def test_trackingnet_is_a_flat_zip_and_a_part_of_the_set_makes_none(tmp_path, runs):
    archive = write_results(tmp_path / "t", format_of("trackingnet"), runs)
    with zipfile.ZipFile(archive) as file:
        assert set(file.namelist()) == {"one.txt", "two.txt"}
    assert write_results(tmp_path / "t", format_of("trackingnet"), runs[:1], complete=False) == tmp_path / "t"
    assert not archive.exists()


@pytest.mark.parametrize("name", ["Jogging.1", "jogging_1", "Jogging-1"])
def test_names_are_matched_as_the_tools_write_them(tmp_path, name):
    images(tmp_path / "Jogging-1", numbered(3))
    lines(tmp_path / "Jogging-1" / "groundtruth.txt", boxes(3))
    lines(tmp_path / "results" / f"{name}.txt", boxes(3), "\t")
    found = read_results(tmp_path / "results", plain.read(tmp_path / "Jogging-1"))
    np.testing.assert_array_equal(found, boxes(3))


def test_missing_and_short_results_are_told(tmp_path, runs):
    sequence = plain.read(tmp_path / "data" / "one")
    with pytest.raises(SourceError, match="no results of one in"):
        read_results(tmp_path, sequence)
    lines(tmp_path / "one.txt", boxes(2))
    with pytest.raises(SourceError, match="has 2 lines, one has 3 images"):
        read_results(tmp_path, sequence)
