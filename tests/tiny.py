"""Trackers that export in seconds: random projections of the pixels, matched at three scales (these really track), or
as anchors and points.
"""

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from trk.models import correlation
from trk.models.network import SiameseNet
from trk.models.proposals import anchor_step, point_step
from trk.models.row import Preset, Row, SearchSize
from trk.models.scales import ScaleStep


class TinyNet(SiameseNet):
    kernel_names = ("kernel_zf",)
    map_names = ("score",)

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Conv2d(3, 16, 8, stride=8, bias=False)
        self.correlate = correlation.Full()

    def template(self, z: Tensor) -> tuple[Tensor, ...]:
        """Kernels [N, 1, 16, 15, 15], their mean taken off and of length 1, of crops [N, 3, 127, 127]."""
        features = self.project(z).float()  # squares below: more than FP16 holds
        features = features - features.mean(dim=(2, 3), keepdim=True)
        return ((features / (features.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-6).sqrt()).unsqueeze(1),)

    def search(self, x: Tensor, *kernels: Tensor) -> tuple[Tensor, ...]:
        """Scores [N * 3, 1, 17, 17] of crops [N * 3, 3, 255, 255]."""
        return (self.correlate(self.project(x), kernels[0]),)


def tiny_step(side: int, search_size: int) -> ScaleStep:
    del search_size
    return ScaleStep(side)


TINY = Row(
    model="tiny",
    variant="one",
    title="Tiny, for tests",
    paper="none",
    source="tests/tiny.py",
    family="siamfc",
    build=TinyNet,
    step=tiny_step,
    searches=(SearchSize(255),),
    params={"scale_penalty": 0.97, "window_influence": 0.2, "scale_lr": 0.3, "scale_step": 1.04},
    geometry={"search_steps": (-1, 0, 1)},
    presets={
        "default": Preset(),
        "steady": Preset({"window_influence": 0.4}),
        "wide": Preset({"scale_lr": 0.2}, (SearchSize(287),)),
        "far": Preset({}, None, {"context_amount": 0.6}),
    },
)
"""One search graph; its presets change numbers, the size of the search crop, and the geometry."""

TINY_LONG = replace(
    TINY,
    variant="long",
    searches=(SearchSize(255), SearchSize(383, "lost", {"window_influence": 0.01})),
    geometry={**TINY.geometry, "hysteresis": {"low": 300.0, "high": 500.0}, "limits": {"of": "report"}},
    presets={"default": Preset()},
)
"""Two search graphs that share their weights, and hysteresis, like long-term SiamRPN++."""


class TinyProposals(SiameseNet):
    """Boxes of `anchors` in every cell of `stride` pixels, or of none, as distances from points; a depthwise layer."""

    kernel_names = ("kernel_zf",)
    map_names = ("cls", "loc")

    def __init__(self, anchors: int, stride: int) -> None:
        super().__init__()
        self.points = not anchors
        self.project = nn.Conv2d(3, 16, stride, stride=stride, bias=False)
        self.mix = nn.Conv2d(16, 16, 3, groups=16)
        self.correlate = correlation.Depthwise()
        boxes = max(anchors, 1)
        self.cls, self.loc = nn.Conv2d(16, 2 * boxes, 1), nn.Conv2d(16, 4 * boxes, 1)

    def template(self, z: Tensor) -> tuple[Tensor, ...]:
        """Kernels [N, 16, 3, 3] of crops [N, 3, 127, 127]: the middle of what they become."""
        features = self.mix(self.project(z / 255)).relu()
        first = features.shape[3] // 2 - 1
        return (features[:, :, first : first + 3, first : first + 3],)

    def search(self, x: Tensor, *kernels: Tensor) -> tuple[Tensor, ...]:
        """Maps [N, 2 K, S, S] and [N, 4 K, S, S] of crops [N, 3, 255, 255]."""
        found = self.correlate(self.mix(self.project(x / 255)).relu(), kernels[0])
        loc = self.loc(found)
        return self.cls(found), loc.exp() * 30 if self.points else loc


TINY_ANCHORS = replace(
    TINY,
    variant="anchors",
    family="siamrpn",
    build=partial(TinyProposals, 5, 8),
    step=anchor_step,
    params={"penalty_k": 0.1, "window_influence": 0.4, "lr": 0.3},
    geometry={},
    presets={"default": Preset()},
)
TINY_POINTS = replace(
    TINY_ANCHORS, variant="points", family="nanotrack", build=partial(TinyProposals, 0, 16), step=point_step
)


def seeded(seed: int = 0, row: Row = TINY) -> SiameseNet:
    """A network of a row above with weights from `seed`."""
    torch.manual_seed(seed)
    return row.build().eval()
