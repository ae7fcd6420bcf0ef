"""SiamFC as siamfc-pytorch publishes it. Hyper-parameters: huanglianghua/siamfc-pytorch:siamfc/siamfc.py."""

from functools import partial

from ..published import speeds
from ..row import Checkpoint, Row, SearchSize
from ..scales import ScaleStep
from ..siamfc import SiamFC

_PARAMS = {"scale_penalty": 0.9745, "window_influence": 0.176, "scale_lr": 0.59, "scale_step": 1.0375}


def _step(side: int, search_size: int) -> ScaleStep:
    del search_size
    return ScaleStep(side)


ROWS = (
    Row(
        model="siamfc",
        variant="alexnet",
        title="SiamFC AlexNet, three scales",
        paper="Fully-Convolutional Siamese Networks for Object Tracking, ECCV 2016 workshops",
        source="huanglianghua/siamfc-pytorch",
        family="siamfc",
        build=partial(SiamFC, 1),
        step=_step,
        searches=(SearchSize(255),),
        params=_PARAMS,
        channels="RGB",
        geometry={
            "search_steps": (-1, 0, 1),
            "crop": {"centre_shift": -0.5, "origin_shift": -0.5, "origin_rounding": "half_even", "fill": "round"},
            "limits": {"centre_in_frame": False, "min_size": None, "max_size_frame": False},
        },
        checkpoint=Checkpoint(
            "siamfc_alexnet_e50.pth",
            "Google Drive id 1UdxuBQ1qtisoWYFZxLgMFJ9mJtGVw6n4 (README of huanglianghua/siamfc-pytorch)",
            "none stated (code: MIT)",
        ),
        published=speeds("siamfc", "alexnet"),
    ),
)
