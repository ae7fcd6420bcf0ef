"""Where SlimFC's trunk begins: ImageNet's blocks, turned towards the teacher's features; a stem that stands for three.

MobileNetV2's blocks add to streams of 24, 32, 64 and 96 channels that no activation cuts. So a stream's basis can be
turned by any invertible matrix without changing what the network computes, if what writes to it and what reads from it
are turned with it. The turn that is wanted is the ridge regression of the teacher's stream on ours.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models.light import Block
from ..models.light import Trunk as ImageNet
from ..models.lightfc import LightFC
from ..models.slimfc import SlimFC
from .distil import crops
from .pairs import PairBatch
from .teacher import Teacher

STREAMS = ((2, 3), (4, 6), (7, 10), (11, 13))
"""First and last block, counted from 1, of each stream."""
RIDGE = 1e-3
FLOOR = 0.2
"""Singular values of a turn are no smaller than this share of their median: it has to be turned back."""
STEM_STEPS, STEM_RATE = 1500, 2e-3


def start_slimfc(
    net: SlimFC,
    imagenet: ImageNet,
    teacher: Teacher,
    batch: Callable[[], PairBatch],
    report: Callable[[int, int], None],
) -> None:
    """Fill the trunk of `net`: blocks from `imagenet`, turned; the stem taught for a minute by the teacher's blocks."""
    lightfc = teacher.net
    assert isinstance(lightfc, LightFC)
    features = lightfc.backbone.features
    sample = torch.cat([lightfc.normalise(crops(batch(), teacher.row, teacher.device)[1]) for _ in range(6)])
    align(imagenet.blocks, _streams(imagenet, sample), _teacher_streams(features, sample))
    for ours, theirs in zip(net.trunk.blocks, list(imagenet.blocks)[3:], strict=True):
        _narrowed(theirs, ours)
    _teach_stem(net, features, teacher, batch, report)


@torch.no_grad()
def _streams(trunk: ImageNet, x: Tensor) -> list[Tensor]:
    x, found = F.relu6(trunk.stem(x)), []
    lasts = {last for _, last in STREAMS}
    for number, block in enumerate(trunk.blocks, start=1):
        x = block(x)
        if number in lasts:
            found.append(x)
    return found


@torch.no_grad()
def _teacher_streams(features: nn.Sequential, x: Tensor) -> list[Tensor]:
    found = []
    for number, layer in enumerate(features):
        x = layer(x)
        if number in {last for _, last in STREAMS}:
            found.append(x)
    return found


@torch.no_grad()
def align(blocks: nn.ModuleList, ours: list[Tensor], theirs: list[Tensor]) -> None:
    """Turn every stream of `blocks`; `ours` and `theirs` are what the streams hold at their ends, [N, C, H, W]."""
    for (first, last), mine, goal in zip(STREAMS, ours, theirs, strict=True):
        turn, shift = regression(mine, goal)
        back = torch.linalg.inv(turn)
        for number in range(first, last + 1):
            block = blocks[number - 1]
            assert isinstance(block, Block)
            if number > first:
                _read(block, back, shift)
            weight = turn @ block.project.weight[:, :, 0, 0].double()
            bias = turn @ block.project.bias.double() + (shift if number == first else 0)  # type: ignore[union-attr]
            block.project.weight.copy_(weight[:, :, None, None])
            block.project.bias.copy_(bias)  # type: ignore[union-attr]
        if last < len(blocks):
            following = blocks[last]
            assert isinstance(following, Block)
            _read(following, back, shift)


def regression(ours: Tensor, theirs: Tensor) -> tuple[Tensor, Tensor]:
    """Return matrix [C, C] and shift [C], double, that bring `ours` nearest to `theirs`, invertible well."""
    x, y = (part.permute(0, 2, 3, 1).reshape(-1, part.shape[1]).double() for part in (ours, theirs))
    mean_x, mean_y = x.mean(0), y.mean(0)
    covariance = (x - mean_x).T @ (x - mean_x)
    ridge = RIDGE * covariance.diagonal().mean() * torch.eye(len(covariance)).to(covariance)
    turn = torch.linalg.solve(covariance + ridge, (x - mean_x).T @ (y - mean_y)).T
    left, values, right = torch.linalg.svd(turn)
    turn = left @ torch.diag(values.clamp(min=FLOOR * float(values.median()))) @ right
    return turn, mean_y - turn @ mean_x


def _read(block: Block, back: Tensor, shift: Tensor) -> None:
    """Let the expansion of `block` read a stream that was turned."""
    assert block.expand is not None
    weight = block.expand.weight[:, :, 0, 0].double() @ back
    block.expand.bias.sub_(weight @ shift)  # type: ignore[union-attr]
    block.expand.weight.copy_(weight[:, :, None, None])


@torch.no_grad()
def _narrowed(theirs: nn.Module, ours: nn.Module) -> None:
    """Copy a block; where `ours` has fewer channels inside, those whose projection is strongest."""
    assert isinstance(theirs, Block)
    assert isinstance(ours, Block)
    assert ours.expand is not None
    assert theirs.expand is not None
    strength = theirs.project.weight.square().sum((0, 2, 3)) * theirs.spatial.weight.square().sum((1, 2, 3))
    kept = strength.topk(ours.spatial.out_channels).indices.sort().values
    for name in ("expand", "spatial"):
        getattr(ours, name).weight.copy_(getattr(theirs, name).weight[kept])
        getattr(ours, name).bias.copy_(getattr(theirs, name).bias[kept])
    ours.project.weight.copy_(theirs.project.weight[:, kept])
    ours.project.bias.copy_(theirs.project.bias)  # type: ignore[arg-type,union-attr]


def _teach_stem(
    net: SlimFC,
    features: nn.Sequential,
    teacher: Teacher,
    batch: Callable[[], PairBatch],
    report: Callable[[int, int], None],
) -> None:
    stem, early = net.trunk.stem, features[:4]
    parameters = list(stem.parameters())
    optimiser = torch.optim.AdamW(parameters, STEM_RATE, weight_decay=0.0)
    variance = None
    for step in range(STEM_STEPS):
        for group in optimiser.param_groups:
            group["lr"] = STEM_RATE * min(1.0, (step + 1) / 50) * (1 - step / STEM_STEPS)
        x = net.normalise(crops(batch(), teacher.row, teacher.device)[step % 2])
        with torch.no_grad():
            goal = early(x)
        if variance is None:
            variance = goal.var((0, 2, 3)).reshape(1, -1, 1, 1)
        loss = ((stem(x) - goal).square() / variance).mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        report(step + 1, STEM_STEPS)
