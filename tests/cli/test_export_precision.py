import pytest
from tiny import TINY

from trk.cli.command import run
from trk.cli.export import command
from trk.engine.bundle import Bundle

NANO = ("--model", "nanotrack", "--variant", "v2", "--random")


def test_fp16_bundle_with_its_ranges(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("trk.models.registry.ROWS", (TINY,))
    out = tmp_path / "tiny.trk"
    words = ["--model", "tiny", "--random", "--precision", "fp16", "--ranges", "--out", str(out)]
    assert run(command, words) == 0
    printed = capsys.readouterr()
    manifest = Bundle(out).manifest
    assert manifest.precision == "fp16"
    *rows, path = printed.out.splitlines()
    assert path == str(out)
    named = {row.split()[0] for row in rows[1:]}
    assert named == set(manifest.half.ranges)
    assert "FP16: largest value" in printed.err


@pytest.mark.parametrize(
    ("args", "words"),
    [(["--ranges"], "--precision fp16"), (["--precision", "fp8"], "fp16")],
)
def test_option_that_makes_no_sense(tmp_path, capsys, args, words):
    assert run(command, [*NANO, *args, "--out", str(tmp_path / "b.trk")]) == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1
    assert words in told[0]
    assert list(tmp_path.iterdir()) == []
