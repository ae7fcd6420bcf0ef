"""Checkpoints whose keys another network of ours has under other names."""

import re
from collections.abc import Mapping, Set

from torch import Tensor

# PySOT's two AlexNets: pairs of (number of the convolution in `features`, layer).
_LAYERS = ((0, 1), (4, 2), (8, 3), (11, 4), (14, 5))
_TO_LAYERS = {f"backbone.features.{n + i}.": f"backbone.layer{layer}.{i}." for n, layer in _LAYERS for i in (0, 1)}
_TO_PYSOT = {
    "featureExtract.": "backbone.features.",
    "conv_cls1.": "rpn_head.template_cls_conv.",
    "conv_r1.": "rpn_head.template_loc_conv.",
    "conv_cls2.": "rpn_head.search_cls_conv.",
    "conv_r2.": "rpn_head.search_loc_conv.",
    "regress_adjust.": "rpn_head.loc_adjust.",
}

RENAMES: tuple[tuple[str, dict[str, str]], ...] = (
    ("PySOT's alexnetlegacy to its alexnet", _TO_LAYERS),
    ("PySOT's alexnet to its alexnetlegacy", {new: old for old, new in _TO_LAYERS.items()}),
    ("DaSiamRPN to PySOT's up-channel head", _TO_PYSOT),
    ("PySOT's up-channel head to DaSiamRPN", {new: old for old, new in _TO_PYSOT.items()}),
)
"""What each is for, and the beginnings of keys that it changes."""


def renamed(tensors: Mapping[str, Tensor], wanted: Set[str]) -> dict[str, Tensor]:
    """Return `tensors` under the names that have most in common with `wanted`: their own, if those are as good."""
    versions = [dict(tensors), *(_rename(tensors, table) for _, table in RENAMES)]
    return max(versions, key=lambda version: len(wanted & version.keys()))


def _rename(tensors: Mapping[str, Tensor], table: Mapping[str, str]) -> dict[str, Tensor]:
    pattern = re.compile("^(?:" + "|".join(map(re.escape, table)) + ")")
    return {pattern.sub(lambda match: table[match[0]], key): value for key, value in tensors.items()}
