"""LightFC. Constants: LiYunfengLYF/LightFC: experiments/lightfc/baseline.yaml, lib/test/tracker/lightfc.py."""

from ..lightfc import CentreStep, LightFC
from ..row import Checkpoint, Row, SearchSize
from .licences import mit

ROWS = (
    Row(
        model="lightfc",
        variant="mobilenetv2",
        title="LightFC (MobileNetV2)",
        paper="Lightweight Full-Convolutional Siamese Tracker, Knowledge-Based Systems 2024",
        source="LiYunfengLYF/LightFC",
        family="centre",
        build=LightFC,
        step=CentreStep,
        searches=(SearchSize(256),),
        params={"penalty_k": 0.0, "window_influence": 1.0, "lr": 1.0},
        channels="RGB",
        geometry={
            "template_size": 128,
            "exemplar_size": 64,  # the root of its area is half of the template's side, a quarter of the search crop's
            "context_amount": 0.0,
            "crop": {
                "origin_shift": 0.0,
                "origin_rounding": "half_even",
                "side_rounding": "up",
                "scale": "cut",
                "fill": "black",
                "unseen_edge": 1,
            },
            "limits": {
                "centre_in_frame": False,
                "min_size": None,
                "max_size_frame": False,
                "in_frame": {"min_side": 2},
            },
        },
        checkpoint=Checkpoint(
            "LightFC_ep0400.pth.tar",
            "Google Drive (README of LiYunfengLYF/LightFC)",
            "MIT, (c) 2023 LiYunfengLYF",
            mit("2023 LiYunfengLYF"),
        ),
        notes=(
            "Upstream has neither penalty nor smoothing: penalty_k 0, window_influence 1 and lr 1 are what it computes."
            " Its merging of the head's first convolutions forgets their biases; so does this one, or its boxes would "
            "not be upstream's."
        ),
    ),
)
