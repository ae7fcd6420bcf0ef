"""Checkpoints of re-parameterised blocks whose branches were merged, in the form that is trained.

A block of LightFC's head is two convolutions with batch norms in training and one convolution after. The first of the
two becomes the merged one, its batch norm an identity, and the other one nothing.

Source: LiYunfengLYF/LightFC:lib/models/lightfc (RepN33, switch_to_deploy).
"""

from collections.abc import Mapping

import torch
from torch import Tensor

MERGED, BIAS = ".rbr_reparam.weight", ".rbr_reparam.bias"
EPS = 1e-5
"""Of batch norms. The variance that makes one an identity is 1 - EPS: in float32 their sum is 1."""


def in_branches(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return `tensors`, every whole merged block as its two branches; the same where there is none."""
    branched = dict(tensors)
    for key in tensors:
        block = key.removesuffix(MERGED)
        if block == key or f"{block}{BIAS}" not in tensors:
            continue
        weight, bias = branched.pop(key), branched.pop(f"{block}{BIAS}")
        for branch, kernel, shift in (("dense", weight, bias), ("3x3", weight * 0, bias * 0)):
            name = f"{block}.rbr_{branch}"
            branched |= {f"{name}.conv.weight": kernel, f"{name}.conv.bias": bias * 0}
            norm = {"weight": bias * 0 + 1, "bias": shift, "running_mean": bias * 0, "running_var": bias * 0 + 1 - EPS}
            branched |= {f"{name}.bn.{part}": value for part, value in norm.items()}
            branched[f"{name}.bn.num_batches_tracked"] = torch.tensor(0)
    return branched
