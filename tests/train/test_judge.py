"""Where a student stands: alone, and its trunk under its teacher's heads."""

from pathlib import Path

import pytest
import torch

from trk.models.registry import find
from trk.train.judge import Under, main
from trk.train.teacher import Teacher


def test_a_trunk_under_its_own_heads_is_the_network_itself() -> None:
    torch.manual_seed(0)
    row = find("slimfc")
    net = row.build().eval()
    z, x = torch.rand(1, 3, 128, 128) * 255, torch.rand(1, 3, 256, 256) * 255
    under = Under(net, Teacher(row, net))
    with torch.no_grad():
        for mine, theirs in zip(under.search(x, *under.template(z)), net.search(x, *net.template(z)), strict=True):
            assert torch.equal(mine, theirs)


def test_a_trunk_under_other_heads_has_their_maps_of_its_features() -> None:
    torch.manual_seed(0)
    student, teacher = find("slimfc").build().eval(), find("lightfc").build().eval()
    z, x = torch.rand(1, 3, 128, 128) * 255, torch.rand(1, 3, 256, 256) * 255
    under = Under(student, Teacher(find("lightfc"), teacher))
    with torch.no_grad():
        found = under.search(x, *under.template(z))
        wanted = teacher.maps(student.features(x), student.features(z))
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(found, wanted, strict=True))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["slimfc", "none", "--init", "none.pt"], "none.pt can't be read"),
        (["slimfcc", "none", "--init", "none.pt"], "did you mean slimfc"),
    ],
)
def test_what_is_not_there_is_told_in_one_line(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    said = capsys.readouterr().err
    assert told in said
    assert said.count("\n") == 1
