import pytest
import torch
from torch import nn

from trk import CheckpointError
from trk.models.light import Trunk
from trk.weights.convert_mobilenetv2 import EPSILON, compact, folded, main


def layers():
    """Every convolution of the trunk under the name that torchvision has for it, and that of its batch norm."""
    trunk = Trunk()
    yield "features.0.0", "features.0.1", trunk.stem
    for number, block in enumerate(trunk.blocks, start=1):
        parts = [layer for layer in (block.expand, block.spatial, block.project) if layer is not None]
        for index, layer in enumerate(parts):
            yield f"features.{number}.conv.{3 * index}", f"features.{number}.conv.{3 * index + 1}", layer
    yield f"features.{number + 1}.conv.0", f"features.{number + 1}.conv.1", trunk.last


@pytest.fixture
def weights():
    """Random weights of torchvision's names, batch norms among them."""
    torch.manual_seed(0)
    found = {}
    for conv, norm, layer in layers():
        found[f"{conv}.weight"] = torch.randn_like(layer.weight)
        for part in ("weight", "bias", "running_mean"):
            found[f"{norm}.{part}"] = torch.randn(len(layer.weight))
        found[f"{norm}.running_var"] = torch.rand(len(layer.weight)) + 0.1
    return found


def test_a_folded_layer_gives_what_convolution_and_batch_norm_gave(weights):
    stem = folded(weights).stem
    conv = nn.Conv2d(3, 32, 3, 2, bias=False)
    norm = nn.BatchNorm2d(32, eps=EPSILON).eval()
    conv.load_state_dict({"weight": weights["features.0.0.weight"]})
    norm.load_state_dict(
        {part: weights[f"features.0.1.{part}"] for part in ("weight", "bias", "running_mean", "running_var")},
        strict=False,
    )
    crop = torch.randn(1, 3, 31, 31)
    with torch.no_grad():
        stem.padding = conv.padding
        torch.testing.assert_close(stem(crop), norm(conv(crop)), rtol=1e-4, atol=1e-4)


def test_every_layer_of_the_trunk_is_filled(weights):
    before = {key: value.clone() for key, value in Trunk().state_dict().items()}
    kept = compact(folded(weights))
    assert set(kept) == {f"trunk.{key}" for key in before}
    for _, _, layer in layers():
        assert layer.bias is not None
    for key, value in kept.items():
        assert value.dtype == (torch.float16 if key.endswith("weight") else torch.float32)
        if key.endswith(("weight", "bias")):
            assert not torch.equal(value.float(), before[key.removeprefix("trunk.")])


def test_weights_of_another_network_are_refused_by_name(weights):
    missing = {name: value for name, value in weights.items() if name != "features.3.conv.4.running_var"}
    with pytest.raises(CheckpointError, match=r"features\.3\.conv\.4\.running_var is missing"):
        folded(missing)
    weights["features.1.conv.0.weight"] = torch.zeros(8, 8, 3, 3)
    with pytest.raises(CheckpointError, match=r"features\.1\.conv\.0\.weight is \[8, 8, 3, 3\]"):
        folded(weights)


def test_another_file_than_the_packages_is_refused(weights, tmp_path):
    torch.save(weights, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="another version"):
        main(tmp_path / "other.pt")
