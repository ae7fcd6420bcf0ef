import json
from io import StringIO

import pytest
from rich.console import Console
from rich.table import Table

from trk.cli.bench import command
from trk.cli.command import EXIT_ERROR, run
from trk.cli.tables import legible


@pytest.fixture
def words(clip, tiny_trk):
    return [str(clip.video), "--init", clip.init, "--bundle", str(tiny_trk), "--frames", "5", "--warmup", "1"]


def test_sweeps_are_printed_plotted_and_kept(words, tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (trk-engine[eval])")
    words += ["--rounds", "1", "--sweep", "threads", "--sweep", "length", "--length", "20"]
    assert run(command, [*words, "--out", str(tmp_path / "plots"), "--json", "-"]) == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert [one["sweep"] for one in found["sweeps"]] == ["threads", "length"]
    assert found["machine"]["cpu"]
    assert "--sweep threads --sweep length --length 20" in found["command"]
    assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == ["sweep-length.png", "sweep-threads.png"]
    assert "frames of the video" in printed.err


def test_ages_are_printed_and_kept(words, tmp_path, capsys):
    assert run(command, [*words, "--live", "50", "--json", str(tmp_path / "live.json")]) == 0
    (row,) = json.loads((tmp_path / "live.json").read_text())["live"]
    assert row["tracked"] == 5
    assert row["source_fps"] == 50
    assert row["jitter"]["step_px"] >= 0
    assert "age of a result at 50 frames a second" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (["--live", "0"], "--live"),
        (["--sweep", "colour"], "--sweep"),
        (["--live", "30", "--sweep", "size"], "one at a time"),
        (["--live", "30", "--tracker", "stay"], "--tracker belongs to the comparison"),
        (["--sweep", "size", "--markdown", "a.md"], "--markdown belongs to the comparison"),
        (["--sweep", "size", "--targets", "4"], "--targets belongs to the comparison"),
        (["--live", "30", "--frames-on", "device"], "--frames-on belongs to the comparison"),
        (["--sweep", "size", "--backend", "torch", "--backend", "onnxruntime"], "--sweep takes one --backend"),
        (["--sweep", "size", "--threads", "1", "--threads", "2"], "--sweep takes one --threads"),
    ],
)
def test_what_does_not_go_together_is_told(words, extra, said, capsys):
    assert run(command, [*words, *extra]) == EXIT_ERROR
    assert said in capsys.readouterr().err


def test_a_table_too_wide_for_the_terminal_goes_on_below():
    table = Table(title="speed")
    for name in ("run by", "FPS", "median", "p99"):
        table.add_column(name, justify="right")
    table.add_row("onnxruntime", "12.3", "81.25", "91.5")
    table.add_row("a [x]".replace("[", r"\["), "1", "2", "3")
    assert legible(table, 80) == [table]
    first, second = legible(table, 24)
    assert [str(column.header) for column in first.columns] == ["run by", "FPS", "median"]
    assert [str(column.header) for column in second.columns] == ["run by", "p99"]
    out = StringIO()
    for part in legible(table, 20):
        Console(file=out, width=20).print(part)
    printed = out.getvalue()
    assert "…" not in printed
    for cell in ("12.3", "81.25", "91.5", "a [x]"):
        assert cell in printed
