"""Both branches of every network trace, and run in ONNX Runtime as they do in PyTorch."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from random_networks import NETWORKS, crops, network
from torch import Tensor, nn

from trk.models.network import SiameseNet

FAST = {"siamfc"}
"""Others are exported by tests of what is made of them: NanoTrack by those that track with tests/nano.py."""


class Branch(nn.Module):
    """One branch as a module, which is what the exporter takes."""

    def __init__(self, net: SiameseNet, branch: str) -> None:
        super().__init__()
        self.net = net
        self.branch = branch

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        out: tuple[Tensor, ...] = getattr(self.net, self.branch)(*inputs)
        return out


def run(module: nn.Module, inputs: tuple[Tensor, ...], path: Path) -> list[np.ndarray]:
    """Export `module` for these inputs and return what ONNX Runtime makes of them."""
    torch.onnx.export(module.eval(), inputs, path, dynamo=True, verbose=False, external_data=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [i.name for i in session.get_inputs()]
    out: list[np.ndarray] = session.run(None, dict(zip(names, (i.numpy() for i in inputs), strict=True)))
    return out


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("targets", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name not in FAST)) for name in NETWORKS]
)
def test_exported_branches_equal_pytorchs(name: str, targets: int, tmp_path: Path) -> None:
    net = network(name).fused()
    z, x = crops(net, targets)
    with torch.no_grad():
        kernels = net.template(z)
        maps = net.search(x, *kernels)
    for expected, out in (
        (kernels, run(Branch(net, "template"), (z,), tmp_path / "template.onnx")),
        (maps, run(Branch(net, "search"), (x, *kernels), tmp_path / "search.onnx")),
    ):
        for reference, values in zip(expected, out, strict=True):
            scale = float(reference.abs().max())
            np.testing.assert_allclose(values, reference.numpy(), rtol=0, atol=5e-5 * scale)
