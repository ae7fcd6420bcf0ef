import pytest

from trk.cli.command import EXIT_ERROR, run
from trk.cli.run import command


def test_pictures_are_written_and_named(clip, tiny_trk, tmp_path, capsys):
    folder = tmp_path / "new" / "why [1]"
    words = [str(clip.folder), "--init", clip.init, "--bundle", str(tiny_trk), "--threads", "1", "--why", str(folder)]
    assert run(command, words) == 0
    (picture,) = folder.iterdir()
    told = capsys.readouterr().err
    assert str(picture) in told.replace("\n", "")
    assert "nowhere did it fall by 30 %" in told


@pytest.mark.parametrize(
    ("extra", "said"),
    [(["--init", "5,5,20,20"], "--why looks at one target"), (["--web"], "leave --init, --reverse, --sheet, --why")],
)
def test_one_target_is_explained_at_a_time(clip, tiny_trk, tmp_path, capsys, extra, said):
    words = [str(clip.folder), "--init", clip.init, "--bundle", str(tiny_trk), "--why", str(tmp_path), *extra]
    assert run(command, words) == EXIT_ERROR
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_place_that_is_a_file_is_told_at_once(clip, tiny_trk, tmp_path, capsys):
    file = tmp_path / "file"
    file.touch()
    words = [str(clip.folder), "--init", clip.init, "--bundle", str(tiny_trk), "--why", str(file / "in")]
    assert run(command, words) == EXIT_ERROR
    assert "Traceback" not in capsys.readouterr().err
