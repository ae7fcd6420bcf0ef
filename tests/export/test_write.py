import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from trk import BundleError, ExportError, TrkError, UsageError
from trk.engine.bundle import Bundle
from trk.export.exchange import exchange
from trk.export.write import check_target, write_bundle


@pytest.fixture(scope="module")
def contents(tiny_bundle):
    """A manifest and its files."""
    return manifest_and_files(tiny_bundle)


@pytest.fixture(scope="module")
def other(long_bundle):
    """Those of another bundle."""
    return manifest_and_files(long_bundle)


def manifest_and_files(path):
    bundle = Bundle(path)
    return bundle.manifest, {file.name: bundle.read(file.name) for file in bundle.manifest.files}


def held(folder):
    return sorted(path.name for path in folder.iterdir())


def holds(path, contents):
    return manifest_and_files(path) == contents


@pytest.mark.parametrize("name", ["bundle", "bundle.trk"])
def test_bundle_is_read_as_it_was_written(contents, tmp_path, name):
    out = tmp_path / "a" / "b" / name
    write_bundle(out, *contents)
    assert holds(out, contents)
    assert held(out.parent) == [name]


@pytest.mark.parametrize("name", ["bundle", "bundle.trk"])
def test_bundle_replaces_another_whole(contents, other, tmp_path, name):
    for written in (other, contents, other):
        write_bundle(tmp_path / name, *written)
        assert holds(tmp_path / name, written)
        assert held(tmp_path) == [name]


def test_same_bundle_gives_the_same_file(contents, tmp_path):
    for name in ("a.trk", "b.trk"):
        write_bundle(tmp_path / name, *contents)
    assert (tmp_path / "a.trk").read_bytes() == (tmp_path / "b.trk").read_bytes()


def test_damaged_bundle_is_replaced(contents, tmp_path):
    out = tmp_path / "bundle"
    write_bundle(out, *contents)
    (out / "search.onnx").unlink()
    (out / "bundle.json").write_text("{")
    write_bundle(out, *contents)
    assert holds(out, contents)


def test_an_empty_folder_becomes_the_bundle(contents, tmp_path):
    (tmp_path / "bundle").mkdir()
    write_bundle(tmp_path / "bundle", *contents)
    assert holds(tmp_path / "bundle", contents)


@pytest.mark.parametrize(
    "names", [["notes.txt"], ["bundle.json", "notes.txt"], ["bundle.json", "src"], ["search.onnx"]]
)
def test_folder_that_holds_other_things_is_left_alone(contents, tmp_path, names):
    out = tmp_path / "folder"
    out.mkdir()
    for name in names:
        (out / name).mkdir() if name == "src" else (out / name).write_text("mine")
    with pytest.raises(UsageError, match=r"holds .+, which is no part of a bundle"):
        write_bundle(out, *contents)
    assert held(out) == sorted(names)
    assert held(tmp_path) == ["folder"]


def test_a_file_is_not_replaced_by_a_folder_nor_a_folder_by_a_file(tmp_path):
    (tmp_path / "film.mp4").write_text("mine")
    (tmp_path / "folder.trk").mkdir()
    with pytest.raises(UsageError, match="is a file"):
        check_target(tmp_path / "film.mp4")
    with pytest.raises(UsageError, match="is a folder"):
        check_target(tmp_path / "folder.trk")


@pytest.mark.parametrize(
    "place", ["{tmp}/file/bundle", "{tmp}/file/deep/er.trk", "/proc/nowhere/bundle", "{tmp}/" + "n" * 300]
)
def test_place_where_nothing_can_be_written(tmp_path, place):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UsageError) as caught:
        check_target(Path(place.format(tmp=tmp_path)))
    assert "no bundle can be written to" in str(caught.value)
    assert held(tmp_path) == ["file"]


def test_folder_without_permission_to_write(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    tmp_path.chmod(0o500)
    with pytest.raises(UsageError, match="no bundle can be written to"):
        check_target(tmp_path / "bundle")


def test_checking_a_place_creates_nothing(tmp_path):
    check_target(tmp_path / "a" / "b" / "bundle")
    assert held(tmp_path) == []


STEPS = (
    (os, "fsync"),
    (os, "rename"),
    (os, "replace"),
    (os, "mkdir"),
    (os, "chmod"),
    (Path, "open"),
    (Path, "rename"),
    (Path, "replace"),
    (Path, "chmod"),
    (Path, "read_bytes"),
)
"""What touches the disk while a bundle is written."""


class FailsAt:
    """Makes the nth step on the disk fail."""

    def __init__(self, monkeypatch, number, error):
        self.number, self.error, self.done = number, error, 0
        for owner, name in STEPS:
            monkeypatch.setattr(owner, name, self._counted(getattr(owner, name)))

    def _counted(self, step):
        def counted(*args, **kwargs):
            self.done += 1
            if self.done == self.number:
                raise self.error
            return step(*args, **kwargs)

        return counted


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=["full", "Ctrl-C"])
@pytest.mark.parametrize("name", ["bundle", "bundle.trk"])
@pytest.mark.parametrize("before", [False, True], ids=["nothing before", "a bundle before"])
@pytest.mark.parametrize("swaps", [True, False], ids=["", "in two steps"])
def test_failure_at_any_step_leaves_the_old_bundle_or_the_new_and_nothing_else(
    contents, other, tmp_path, error, name, before, swaps, monkeypatch
):
    if not swaps:  # as on systems where names can't be exchanged
        monkeypatch.setattr("trk.export.write.exchange", lambda *_: False)
    out, number, failed = tmp_path / name, 0, 0
    while True:
        number += 1
        if before:
            write_bundle(out, *other)
        with pytest.MonkeyPatch.context() as monkeypatch:
            steps = FailsAt(monkeypatch, number, error)
            try:
                write_bundle(out, *contents)
            except (TrkError, KeyboardInterrupt) as raised:
                failed += 1
                refusal = raised
            else:
                refusal = None
        assert held(tmp_path) in ([name], [])
        if refusal is None:  # some steps may fail without harm
            assert holds(out, contents)
        elif before:
            assert holds(out, other) or holds(out, contents)
        else:
            assert not out.exists() or holds(out, contents)
        if steps.done < number:
            break
    assert failed >= 5


def test_bundle_that_can_not_be_read_back_is_not_left(contents, tmp_path, monkeypatch):
    read = Path.read_bytes

    def damaged(path):
        data = read(path)
        return data[:-1] + b"?" if path.name == "search.onnx" else data

    monkeypatch.setattr(Path, "read_bytes", damaged)
    with pytest.raises(BundleError, match="SHA-256"):
        write_bundle(tmp_path / "bundle", *contents)
    assert held(tmp_path) == []


def test_full_disk_is_told_in_one_line(contents, tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ExportError, match="No space left on device"):
        write_bundle(tmp_path / "bundle", *contents)


WRITER = """
import sys
from pathlib import Path
from trk.engine.bundle import Bundle
from trk.export.write import write_bundle

out = Path(sys.argv[1])
bundles = [Bundle(Path(path)) for path in sys.argv[2:]]
while True:
    for bundle in bundles:
        write_bundle(out, bundle.manifest, {f.name: bundle.read(f.name) for f in bundle.manifest.files})
        print("written", flush=True)
"""


@pytest.mark.parametrize("name", ["bundle", "bundle.trk"])
def test_writer_that_is_killed_leaves_a_whole_bundle_or_none(tiny_bundle, long_bundle, contents, other, tmp_path, name):
    out = tmp_path / name
    command = [sys.executable, "-c", WRITER, str(out), str(tiny_bundle), str(long_bundle)]
    for rounds in (1, 4, 9):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            for _ in range(rounds):
                assert writer.stdout.readline() == "written\n"
            writer.send_signal(signal.SIGKILL)
        if not out.exists() and name == "bundle" and not exchanges(tmp_path):
            continue  # killed between the two renames of a folder
        assert holds(out, contents) or holds(out, other)


def exchanges(folder):
    """Whether the file system of `folder` can exchange names."""
    paths = folder / "one", folder / "other"
    for path in paths:
        path.mkdir(exist_ok=True)
    return exchange(*paths)


def test_exchanged_names_stand_for_each_others_files(tmp_path):
    if not exchanges(tmp_path):
        pytest.skip("this system can't exchange names")
    (tmp_path / "one" / "a").write_text("a")
    (tmp_path / "file").write_text("file")
    assert exchange(tmp_path / "one", tmp_path / "file")
    assert (tmp_path / "file" / "a").read_text() == "a"
    assert (tmp_path / "one").read_text() == "file"


def test_names_that_can_not_be_exchanged_stay(tmp_path):
    (tmp_path / "file").write_text("file")
    assert not exchange(tmp_path / "file", tmp_path / "none")
    assert held(tmp_path) == ["file"]


def test_a_link_to_a_bundle_is_replaced_and_what_it_led_to_stays(contents, other, tmp_path):
    write_bundle(tmp_path / "first", *contents)
    (tmp_path / "bundle").symlink_to("first")
    write_bundle(tmp_path / "bundle", *other)
    assert holds(tmp_path / "bundle", other)
    assert holds(tmp_path / "first", contents)
    assert held(tmp_path) == ["bundle", "first"]


@pytest.mark.parametrize("name", ["bundle", "bundle.trk"])
def test_two_writers_of_one_place_leave_one_of_their_bundles_whole(
    tiny_bundle, long_bundle, contents, other, tmp_path, name
):
    out = tmp_path / name
    code = WRITER.replace("while True:", "for _ in range(12):")
    words = [sys.executable, "-c", code, str(out)]
    both = [
        subprocess.Popen([*words, str(bundle)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for bundle in (tiny_bundle, long_bundle)
    ]
    for one in both:
        _, told = one.communicate(timeout=120)
        assert one.returncode == 0, told
    assert holds(out, contents) or holds(out, other)
    assert held(tmp_path) == [name]
