import io

import pytest
from rich.console import Console

from trk.cli import tables
from trk.cli.bench import command as bench
from trk.cli.command import run
from trk.cli.eval import command as evaluate

NAME = "clip [red] [1]"


def test_a_name_with_brackets_stands_beside_the_bar_as_it_is():
    progress = tables.progress_bar(True)
    progress.add_task(NAME, total=3)
    out = io.StringIO()
    Console(file=out, width=120).print(progress.get_renderable())
    assert NAME in out.getvalue()


@pytest.mark.parametrize("command", ["bench", "eval"])
def test_commands_print_names_with_brackets_whole(command, clip, tiny_trk, tmp_path, monkeypatch, capsys):
    sequence = tmp_path / "data" / NAME
    sequence.parent.mkdir()
    sequence.symlink_to(clip.folder)
    bundle = tmp_path / f"{NAME}.trk"
    bundle.symlink_to(tiny_trk)
    if command == "bench":
        words = [str(sequence), "--init", clip.init, "--frames", "4", "--warmup", "1", "--rounds", "1"]
        assert run(bench, [*words, "--bundle", str(bundle)]) == 0
    else:
        (tmp_path / "one" / NAME).mkdir(parents=True)
        for image in clip.folder.iterdir():
            (tmp_path / "one" / NAME / image.name).symlink_to(image)
        truth = "\n".join(",".join(map(str, box)) for box in clip.boxes)
        (tmp_path / "one" / NAME / "groundtruth.txt").write_text(truth)
        out = str(tmp_path / "out [2]")
        assert run(evaluate, [str(tmp_path / "one"), "--bundle", str(bundle), "--sequences", "--out", out]) == 0
    printed = capsys.readouterr()
    assert NAME in printed.out + printed.err
    if command == "eval":
        assert "out [2]" in printed.err
