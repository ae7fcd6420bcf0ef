import pytest
import torch
from tiny import TINY, seeded
from torch import nn

from trk.bench.half import BLOCK, half_sums, main, parts, table
from trk.engine.geometry import Geometry
from trk.export.bundle import searches_of
from trk.export.reference import reference_crops


def convolution(**options):
    torch.manual_seed(0)
    return nn.Conv2d(40, 8, 3, **options).eval()


@torch.no_grad()
@pytest.mark.parametrize("options", [{}, {"stride": 2}, {"padding": 2, "dilation": 2}, {"stride": 2, "padding": 1}])
def test_sums_in_fp16_are_the_convolutions_up_to_their_rounding(options):
    conv, x = convolution(**options), torch.randn(2, 40, 11, 12)
    expected = conv(x)
    found = half_sums(nn.Sequential(conv), lambda name: True)(x)
    assert found.shape == expected.shape
    assert not torch.equal(found, expected)
    # 9 * 3 roundings of sums of order 1.
    torch.testing.assert_close(found, expected, rtol=0, atol=27 * 2**-11)


@torch.no_grad()
def test_a_sum_that_leaves_fp16_on_its_way_is_lost_though_its_end_would_fit():
    conv = nn.Conv2d(2 * BLOCK, 1, 1, bias=False)
    conv.weight[:, :BLOCK], conv.weight[:, BLOCK:] = 1.0, -1.0
    x = torch.full((1, 2 * BLOCK, 1, 1), 5000.0)
    assert conv(x).item() == 0.0
    assert not half_sums(nn.Sequential(conv), lambda name: True)(x).isfinite().any()


def test_parts_are_the_first_two_words_of_a_name():
    assert parts(["a.b.c", "a.b.d", "a.e", "f"]) == ["a.b", "a.e", "f"]


def test_table_has_a_row_for_the_whole_and_for_each_part():
    crops = reference_crops(Geometry.model_validate(TINY.geometry), searches_of(TINY, "default"), 1.04)
    rows = table(seeded(), crops, "BGR")
    assert [row.split(" | ")[0] for row in rows[2:]] == ["| everything", "| `project`"]
    whole, part = (row.strip("| ").split(" | ") for row in rows[2:])
    assert whole[2] == part[2]  # there is no other part
    assert float(part[3]) == 0.0
    assert 0 < float(part[2]) < 0.01
    assert float(part[4]) > 0


def test_command_prints_the_table(capsys):
    assert main(["--model", "nanotrack", "--variant", "v2"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("nanotrack/v2\n| part |")
    assert "| `ban_head.tower` |" in printed
