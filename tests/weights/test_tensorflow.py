"""SA-Siam's TensorFlow variables become our network's weights: the same convolutions, attention and biases."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from trk.models.sasiam import SASiam
from trk.weights.checkpoint import read_checkpoint
from trk.weights.recognise import load_into, recognise

RNG = np.random.default_rng(0)
LAYERS = {1: (11, 3, 96), 2: (5, 96, 256), 3: (3, 256, 384), 4: (3, 384, 384), 5: (3, 384, 256)}
"""Side, inputs and outputs of each convolution; 2, 4 and 5 come in two halves."""


def random(*shape: int) -> np.ndarray:
    return RNG.normal(0, 0.05, shape).astype(np.float32)


def variables(gamma: bool = True) -> dict[str, np.ndarray]:
    """What tf.train.Saver would list for the official model, trained: shapes as TensorFlow has them."""
    found: dict[str, np.ndarray] = {"global_step": np.array(1000)}
    for layer, (side, inputs, outputs) in LAYERS.items():
        halves = ["/b1", "/b2"] if layer in (2, 4, 5) else [""]
        for half in halves:
            shape = (side, side, inputs // len(halves), outputs // len(halves))
            for branch in ("appearance_net", "semantic_net"):
                scope = f"sa_siam/{branch}/conv{layer}{half}"
                found[f"{scope}/weights"] = random(*shape)
                found[f"{scope}/weights/Momentum"] = random(*shape)
                if branch == "semantic_net" or layer == 5:
                    found[f"{scope}/biases"] = random(shape[3])
                    continue
                for name in ("gamma", "beta", "moving_mean", "moving_variance")[not gamma :]:
                    found[f"{scope}/BatchNorm/{name}"] = np.abs(random(shape[3])) + 0.5
    for layer, channels in ((4, 384), (5, 256)):
        scope = "sa_siam/semantic_net"
        found |= {
            f"{scope}/c1x1_conv{layer}/weights": random(1, 1, channels, 128),
            f"{scope}/c1x1_conv{layer}/biases": random(128),
            f"{scope}/att_fc1_conv{layer}/weights": random(9, 9),
            f"{scope}/att_fc1_conv{layer}/biases": random(9),
            f"{scope}/att_fc2_conv{layer}/weights": random(9, 1),
            f"{scope}/att_fc2_conv{layer}/biases": random(1),
        }
    return found | {"detection/biases_appearance": random(1), "detection/biases_semantic": random(1)}


def loaded(found: dict[str, np.ndarray], net: SASiam, folder: Path) -> SASiam:
    np.savez(folder / "sa_siam.npz", **found)
    checkpoint = read_checkpoint(folder / "sa_siam.npz")
    load_into(net, checkpoint)
    return net.eval()


def test_official_variables_fill_the_whole_network(tmp_path: Path) -> None:
    found = variables()
    net = loaded(found, SASiam(), tmp_path)
    assert recognise(read_checkpoint(tmp_path / "sa_siam.npz")).name == "sasiam/full"
    assert float(net.response_bias["semantic"].detach()) == found["detection/biases_semantic"][0]
    assert np.array_equal(
        net.get_buffer("appearance.conv3.1.running_var"),
        found["sa_siam/appearance_net/conv3/BatchNorm/moving_variance"],
    )


@torch.inference_mode()
def test_halves_of_a_convolution_become_its_groups(tmp_path: Path) -> None:
    found = variables()
    net = loaded(found, SASiam(), tmp_path)
    x = torch.randn(1, 96, 9, 9)
    halves = []
    for half, part in zip(("b1", "b2"), x.chunk(2, 1), strict=True):
        scope = f"sa_siam/semantic_net/conv2/{half}"
        weights = torch.from_numpy(found[f"{scope}/weights"])
        # TensorFlow's convolution, written out: sum over rows, columns and inputs of [h, w, in, out].
        patches = F.unfold(part, 5).reshape(48, 5, 5, -1)
        value = torch.einsum("irsp,rsio->op", patches, weights).reshape(1, 128, 5, 5)
        halves.append(value + torch.from_numpy(found[f"{scope}/biases"])[None, :, None, None])
    torch.testing.assert_close(net.semantic.conv2(x), torch.cat(halves, 1), rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_fully_connected_layers_are_turned(tmp_path: Path) -> None:
    found = variables()
    net = loaded(found, SASiam(), tmp_path)
    maxima = torch.randn(3, 9)
    scope = "sa_siam/semantic_net/att_fc1_conv4"
    expected = maxima @ torch.from_numpy(found[f"{scope}/weights"]) + torch.from_numpy(found[f"{scope}/biases"])
    torch.testing.assert_close(net.attention["conv4"].fc1(maxima), expected)


def test_batch_norm_without_gamma_scales_by_one(tmp_path: Path) -> None:
    net = loaded(variables(gamma=False), SASiam(), tmp_path)
    assert bool((net.appearance.conv2[1].weight == 1).all())


@pytest.mark.parametrize(("branch", "kept"), [("appearance", "appearance_net"), ("semantic", "semantic_net")])
def test_a_branch_trained_alone_brings_its_own_bias(branch: str, kept: str, tmp_path: Path) -> None:
    found = {key: value for key, value in variables().items() if kept in key} | {"detection/biases": np.float32([0.25])}
    net = loaded(found, SASiam(appearance=branch == "appearance", semantic=branch == "semantic"), tmp_path)
    assert float(net.response_bias[branch].detach()) == 0.25
