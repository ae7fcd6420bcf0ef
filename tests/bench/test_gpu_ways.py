"""Kernels of a frame as torch.compile writes them, counted without a GPU."""

import re
import shutil

import pytest

from trk.bench.gpu_ways import counted, main
from trk.export.bundle import export_bundle
from trk.models.registry import find

pytestmark = [
    pytest.mark.skipif(
        not (shutil.which("c++") or shutil.which("g++")), reason="torch.compile needs a C++ compiler on a CPU"
    ),
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),  # PyTorch's own
]
UPLOAD_AND_CUT = 2


def test_kernels_are_counted_by_who_makes_them(tiny_bundle, capsys):
    assert main(["--count", "--bundle", str(tiny_bundle)]) == 0
    library, own, fused = map(int, re.findall(r"\d+", capsys.readouterr().out.removeprefix(tiny_bundle.name)))
    assert library > 0
    assert own == 0  # nothing in it is depth-wise
    assert fused > 0


@pytest.mark.slow
@pytest.mark.parametrize(("variant", "before"), [("alexnet", 81), ("mobilenetv2", 181), ("resnet50", 203)])
def test_frame_takes_at_most_half_of_the_kernels_that_operators_one_by_one_took(variant, before, tmp_path):
    export_bundle(find("siamrpnpp", variant), tmp_path / "half.trk", precision="fp16")
    assert sum(counted(tmp_path / "half.trk").values()) + UPLOAD_AND_CUT <= before / 2
