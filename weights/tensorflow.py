"""SA-Siam's variables, saved from TensorFlow as an .npz, under the names that our network has for them.

Source: microsoft/SA-Siam:embeddings/sa_siam.py, siamese_model.py, inference/inference_wrapper.py. TensorFlow keeps
convolutions as [h, w, in, out] and the two halves of a grouped convolution apart, as b1 and b2.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

APPEARANCE = "appearance_net"
SEMANTIC = "semantic_net"
NORM = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}


def is_tensorflow(tensors: Mapping[str, Tensor]) -> bool:
    """Return whether these are SA-Siam's TensorFlow variables."""
    return any(f"{scope}/conv1/weights" in key for key in tensors for scope in (APPEARANCE, SEMANTIC))


def from_tensorflow(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the variables of either branch, or both, under our keys; optimizer slots and counters are left out."""
    scope = r"^(?:sa_siam/)?"
    variables = {re.sub(scope, "", key).removesuffix(":0"): value for key, value in tensors.items()}
    ours: dict[str, Tensor] = {}
    for layer in range(1, 6):
        _appearance_layer(ours, variables, layer)
        theirs = f"{SEMANTIC}/conv{layer}"
        _put(ours, f"semantic.conv{layer}.weight", _convolution(variables, theirs))
        _put(ours, f"semantic.conv{layer}.bias", _joined(variables, theirs, "biases"))
    for layer in (4, 5):
        fuse = f"{SEMANTIC}/c1x1_conv{layer}"
        _put(ours, f"fuse.conv{layer}.weight", _convolution(variables, fuse))
        _put(ours, f"fuse.conv{layer}.bias", variables.get(f"{fuse}/biases"))
        for step in (1, 2):
            full = f"{SEMANTIC}/att_fc{step}_conv{layer}"
            weights = variables.get(f"{full}/weights")
            _put(ours, f"attention.conv{layer}.fc{step}.weight", None if weights is None else weights.T.contiguous())
            _put(ours, f"attention.conv{layer}.fc{step}.bias", variables.get(f"{full}/biases"))
    _response_biases(ours, variables)
    return ours


def _appearance_layer(ours: dict[str, Tensor], variables: Mapping[str, Tensor], layer: int) -> None:
    theirs, key = f"{APPEARANCE}/conv{layer}", f"appearance.conv{layer}"
    _put(ours, f"{key}.0.weight", _convolution(variables, theirs))
    _put(ours, f"{key}.0.bias", _joined(variables, theirs, "biases"))
    for name, torchs in NORM.items():
        _put(ours, f"{key}.1.{torchs}", _joined(variables, theirs, f"BatchNorm/{name}"))
    if f"{key}.1.bias" in ours and f"{key}.1.weight" not in ours:
        # slim leaves gamma out where it is told not to scale.
        ours[f"{key}.1.weight"] = torch.ones_like(ours[f"{key}.1.bias"])


def _response_biases(ours: dict[str, Tensor], variables: Mapping[str, Tensor]) -> None:
    branches = [name for name in ("appearance", "semantic") if any(key.startswith(f"{name}.") for key in ours)]
    for name in branches:
        bias = variables.get(f"detection/biases_{name}")
        if bias is None and len(branches) == 1:
            bias = variables.get("detection/biases")
        _put(ours, f"response_bias.{name}", bias)


def _joined(variables: Mapping[str, Tensor], scope: str, name: str) -> Tensor | None:
    """Return a variable, or its halves b1 and b2 put together."""
    if f"{scope}/{name}" in variables:
        return variables[f"{scope}/{name}"]
    halves = [variables.get(f"{scope}/{half}/{name}") for half in ("b1", "b2")]
    return None if None in halves else torch.cat([half for half in halves if half is not None], -1)


def _convolution(variables: Mapping[str, Tensor], scope: str) -> Tensor | None:
    weights = _joined(variables, scope, "weights")
    return None if weights is None else weights.permute(3, 2, 0, 1).contiguous()


def _put(ours: dict[str, Tensor], key: str, value: Tensor | None) -> None:
    if value is not None:
        ours[key] = value
