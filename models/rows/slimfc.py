"""SlimFC, which trk trains itself. Hyper-parameters: chosen on validation clips (train/LOG.md)."""

from dataclasses import replace

from ..row import Row, SearchSize
from ..slimfc import SlimFC, slimfc_step

BASE = Row(
    model="slimfc",
    variant="base",
    title="SlimFC (MobileNetV2, trk's own)",
    paper="LightFC (Li et al., KBS 2024), slimmed and taught by it; not a model of the paper",
    source="trk",
    family="centre",
    build=SlimFC,
    step=slimfc_step,
    searches=(SearchSize(256),),
    params={"penalty_k": 0.0, "window_influence": 1.0, "lr": 0.8},
    channels="RGB",
    shipped="slimfc.safetensors",
    geometry={
        "template_size": 128,
        "exemplar_size": 64,
        "context_amount": 0.0,
        "crop": {"fill": "black", "recentre": True},
        "limits": {"min_size": 4},
    },
    template_rate=0.1,
    on_lost="search",
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
