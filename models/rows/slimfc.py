"""SlimFC, which trk trains itself. Hyper-parameters: chosen on validation clips (train/LOG.md)."""

from dataclasses import replace

from ..lightfc import CentreStep
from ..row import Row, SearchSize
from ..slimfc import SlimFC

BASE = Row(
    model="slimfc",
    variant="base",
    title="SlimFC (MobileNetV2, trk's own)",
    paper="LightFC (Li et al., KBS 2024), slimmed and taught by it; not a model of the paper",
    source="trk",
    family="centre",
    build=SlimFC,
    step=CentreStep,
    searches=(SearchSize(256),),
    params={"penalty_k": 0.0, "window_influence": 1.0, "lr": 1.0},
    channels="RGB",
    geometry={
        "template_size": 128,
        "exemplar_size": 64,
        "context_amount": 0.0,
        "crop": {"fill": "black", "recentre": True},
        "limits": {"min_size": 4},
    },
)

ROWS = (
    BASE,
    replace(
        BASE,
        variant="small",
        title="SlimFC, small search region (MobileNetV2, trk's own)",
        searches=(SearchSize(192),),
        notes="The weights of the base; it looks three quarters as far, for 0.6 of the work.",
    ),
)
