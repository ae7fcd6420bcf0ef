"""A tracker that exports in seconds and still tracks: random projections of the pixels, matched at three scales."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from trk.models import correlation
from trk.models.network import SiameseNet
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


def seeded(seed: int = 0) -> TinyNet:
    """A network of the rows above with weights from `seed`."""
    torch.manual_seed(seed)
    return TinyNet().eval()
