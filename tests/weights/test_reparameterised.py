"""LightFC's checkpoints whose branches were merged fill the network that is trained, with the same convolutions."""

from pathlib import Path

import pytest
import torch
from random_networks import network
from torch import Tensor

from trk.errors import CheckpointError
from trk.models.lightfc import BRANCHES, Head, LightFC, RepN33
from trk.models.nanotrack import NanoTrack
from trk.weights.checkpoint import read_checkpoint
from trk.weights.recognise import load_into, recognise
from trk.weights.reparameterised import in_branches

from shared import shared_path


def blocks(net: LightFC) -> dict[str, RepN33]:
    assert isinstance(net.head, Head)
    return {f"head.conv1_{name}": net.head.get_submodule(f"conv1_{name}") for name in BRANCHES}


def deployed(tensors: dict[str, Tensor], merged: dict[str, tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    """Return `tensors` with one convolution, weight and bias, for each block of two branches."""
    kept = {key: value for key, value in tensors.items() if ".rbr_" not in key}
    for block, (weight, bias) in merged.items():
        kept |= {f"{block}.rbr_reparam.weight": weight, f"{block}.rbr_reparam.bias": bias}
    return kept


def test_real_weights_in_deploy_form_are_the_same_bit_for_bit(tmp_path: Path) -> None:
    real = read_checkpoint(shared_path("weights", "lightfc.npz")).tensors
    dense = {block: f"{block}.rbr_dense" for block in blocks(LightFC())}
    merged = {block: (real[f"{name}.conv.weight"], real[f"{name}.bn.bias"]) for block, name in dense.items()}
    tensors = deployed(real, merged)
    assert (len(real), len(tensors)) == (391, 355)
    torch.save({"net": tensors}, tmp_path / "lightfc_deploy.pth")
    read = read_checkpoint(tmp_path / "lightfc_deploy.pth").tensors
    assert read.keys() == real.keys()
    for key, value in read.items():
        assert value.dtype == real[key].dtype, key
        assert torch.equal(value, real[key]), key


def test_any_merged_convolution_is_what_the_filled_network_merges_to(tmp_path: Path) -> None:
    source = network("lightfc")
    assert isinstance(source, LightFC)
    merged = {}
    for name, block in blocks(source).items():
        conv = block.merged()[0]
        merged[name] = conv.weight.detach(), conv.bias.detach()
    torch.save(deployed(source.state_dict(), merged), tmp_path / "lightfc_deploy.pth")
    read = read_checkpoint(tmp_path / "lightfc_deploy.pth")
    assert recognise(read).name == "lightfc/mobilenetv2"
    net = LightFC().eval()
    load_into(net, read)
    for filled in (net, net.tracked()):
        for name, block in blocks(filled).items():
            conv, (weight, bias) = block.merged()[0], merged[name]
            assert torch.equal(conv.weight, weight)
            assert torch.equal(conv.bias, bias)


def test_a_merged_convolution_whose_bias_is_missing_is_told_and_not_filled_up(tmp_path: Path) -> None:
    source = network("lightfc")
    assert isinstance(source, LightFC)
    merged = {name: tuple(block.merged()[0].state_dict().values()) for name, block in blocks(source).items()}
    tensors = deployed(source.state_dict(), merged)
    del tensors["head.conv1_size.rbr_reparam.bias"]
    torch.save(tensors, tmp_path / "half.pth")
    with pytest.raises(CheckpointError, match="keys are missing"):
        load_into(LightFC(), read_checkpoint(tmp_path / "half.pth"))


@pytest.mark.parametrize("build", [LightFC, lambda: NanoTrack(1)])
def test_other_checkpoints_stay_as_they_are(build) -> None:
    tensors = build().state_dict()
    same = in_branches(tensors)
    assert list(same) == list(tensors)
    assert all(same[key] is value for key, value in tensors.items())
