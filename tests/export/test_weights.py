"""Which weights an export takes where none are named."""

import pytest
import torch

from trk import CheckpointError
from trk.engine.bundle import Bundle
from trk.export.weights import choose
from trk.weights.checkpoint import read_checkpoint
from trk.weights.shipped import default_bundle, shipped_weights


def test_weights_that_ship_are_those_of_the_default_bundle():
    row, net, provenance = choose("slimfc", None, None)
    shipped = Bundle(default_bundle()).manifest.weights
    assert (row.model, row.variant) == ("slimfc", "base")
    assert (provenance.origin, provenance.sha256, provenance.licence) == ("shipped", shipped.sha256, shipped.licence)
    tensors = read_checkpoint(shipped_weights(row.shipped).path).tensors
    state = net.state_dict()
    assert tensors
    assert all(torch.equal(state[name], torch.as_tensor(value)) for name, value in tensors.items())


def test_a_model_without_weights_says_where_upstreams_are():
    with pytest.raises(CheckpointError, match=r"upstream publishes siamfc_alexnet_e50\.pth"):
        choose("siamfc", None, None)
