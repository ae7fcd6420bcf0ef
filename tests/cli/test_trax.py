import sys

import pytest

from trk.cli.command import EXIT_ERROR, run
from trk.cli.trax import command


def test_without_vot_trax_the_extra_is_named(tiny_trk, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "trax", None)
    assert run(command, ["--bundle", str(tiny_trk)]) == EXIT_ERROR
    assert "pip install 'trk-engine[trax]'" in capsys.readouterr().err


@pytest.mark.parametrize(("words", "expected"), [(["--bundle", "none.trk"], "none.trk"), (["--set", "zoom"], "zoom")])
def test_bad_input_is_one_line(words, expected, tiny_trk, capsys):
    assert run(command, [*([] if "--bundle" in words else ["--bundle", str(tiny_trk)]), *words]) == EXIT_ERROR
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("trk-trax: ")
    assert printed.err.count("\n") == 1
    assert expected in printed.err
