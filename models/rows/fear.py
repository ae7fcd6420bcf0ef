"""FEAR-XS. Constants: PinataFarms/FEARTracker: model_training/config/tracker/siam_tracker.yaml."""

from ..fear import Fear, fear_step
from ..row import Checkpoint, Preset, Row, SearchSize
from .licences import mit

_PARAMS = {"penalty_k": 0.062, "window_influence": 0.38, "lr": 0.765, "smooth": 0.0}

ROWS = (
    Row(
        model="fear",
        variant="xs",
        title="FEAR-XS (FBNet-C)",
        paper="FEAR: Fast, Efficient, Accurate and Robust Visual Tracker, ECCV 2022",
        source="PinataFarms/FEARTracker",
        family="fear",
        build=Fear,
        step=fear_step,
        searches=(SearchSize(256),),
        params=_PARAMS,
        channels="RGB",
        geometry={
            "template_size": 128,
            "box_context": {"template": 0.2, "search": 2.0},
            "crop": {
                "origin": "asked",
                "origin_shift": 0.0,
                "origin_rounding": "toward_zero",
                "side_rounding": "toward_zero",
                "scale": "cut",
                "fill": "round",
                "recentre": True,
            },
            "limits": {
                "centre_in_frame": False,
                "min_size": None,
                "max_size_frame": False,
                "in_frame": {"min_side": 3, "beyond": "move"},
                "whole_pixels": True,
            },
        },
        presets={"default": Preset(), "smooth": Preset({"smooth": 1.0})},
        checkpoint=Checkpoint(
            "FEAR-XS-NoEmbs.ckpt",
            "in the repository: evaluate/checkpoints",
            "MIT, (c) 2022 Piñata Farms",
            mit("2022 Piñata Farms"),
        ),
        notes=(
            "As released, `smooth` is off and nothing is penalised, windowed or smoothed; the preset `smooth` switches "
            "all three on with upstream's values. The paper's dynamic template is not in the released code."
        ),
    ),
)
